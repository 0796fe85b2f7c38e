"""The name of what a result says, from which the UIDs of its documents are derived.

The same input read by the same builds gives the same instances, so that a study
read twice (a restart, a retry) lies once in the PACS.  Everything that can change
a document goes into the name, so that two different documents never share a UID.
"""

from __future__ import annotations

import hashlib

from wetread import __version__
from wetread.records import Result

_SEPARATOR = "\x1f"


def fingerprint_of(result: Result, sop_uid: str, institution: str) -> str:
    """Name what a result's documents say, except its timings, as a SHA-256 in hex.

    Floating-point values count with the digits that the documents print.
    """
    parts = [__version__, institution, result.study_uid, sop_uid, result.digest]
    for model in result.models:
        parts += (model.id, model.version, model.build, model.sha256, model.device_uid, model.recipe)
        parts += (model.engine, model.engine_version, model.device)
    for finding in result.findings:
        parts += (finding.code.scheme, finding.code.value, finding.tracking_uid, str(finding.present))
        parts += (f"{finding.probability:.4f}", f"{finding.threshold:.4f}")
    for region in result.regions:
        parts += (region.label, region.tracking_uid)
        parts += (f"{one.code.value} {one.value:.6g} {one.unit.value}" for one in region.measurements)
    for explanation in result.explanations:
        parts += (explanation.finding.value, explanation.method, explanation.sentence)
        parts.append(f"{explanation.inside_share:.4f}")
    for unread in result.not_read:
        parts += (unread.model.sha256, unread.refusal.code, unread.refusal.detail)
    for prior in result.priors:
        parts += (f"prior {prior.study_uid}", prior.date, prior.time, *(uid for image in prior.images for uid in image))
        for group in prior.groups:
            parts += (group.tracking_uid, group.algorithm, group.version, str(group.present))
            parts += (f"{one.code.value} {one.value:.6g} {one.unit.value}" for one in group.values)
    parts += (f"reduced {step}" for step in result.reduced)
    if result.revision is not None:
        parts += (f"late {result.revision.late}", *(one.sop_instance_uid for one in result.revision.replaced))
    if result.refusal is not None:
        parts += (result.refusal.code, result.refusal.detail)
    return hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()
