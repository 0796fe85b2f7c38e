"""The result for machines: one JSON object without patient identifiers.

The only identifiers are the UIDs of the study, the series and the instances, and
the digest of the source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wetread import __version__
from wetread.records import (
    Code,
    Explanation,
    Finding,
    Measurement,
    ModelIdentity,
    Prior,
    Refusal,
    Region,
    Result,
    Revision,
    Unread,
)
from wetread.report.context import NOTICE
from wetread.report.identity import text_of
from wetread.report.previous import difference


def _code(code: Code | None) -> dict[str, str] | None:
    return None if code is None else {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def _model(model: ModelIdentity) -> dict[str, Any]:
    return {
        "id": model.id,
        "version": model.version,
        "build": model.build,
        "sha256": model.sha256,
        "device_uid": model.device_uid,
        "manufacturer": model.manufacturer,
        "family": _code(model.family),
        "engine": model.engine,
        "engine_version": model.engine_version,
        "device": model.device,
        "recipe": model.recipe,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": _code(finding.code),
        "site": _code(finding.site),
        "probability": round(finding.probability, 6),
        "threshold": round(finding.threshold, 6),
        "present": finding.present,
        "slices": list(finding.slices),
        "peak_slice": finding.peak,
        "model": finding.model.id,
        "tracking_uid": finding.tracking_uid,
        "tracking_id": finding.tracking_id,
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    return {
        "code": _code(measurement.code),
        "value": float(f"{measurement.value:.6g}"),
        "unit": _code(measurement.unit),
        "site": _code(measurement.site),
        "laterality": _code(measurement.laterality),
    }


def _region(region: Region) -> dict[str, Any]:
    return {
        "label": region.label,
        "category": _code(region.category),
        "type": _code(region.type),
        "laterality": _code(region.laterality),
        "model": region.model.id,
        "tracking_uid": region.tracking_uid,
        "tracking_id": region.tracking_id,
        "measurements": [_measurement(one) for one in region.measurements],
    }


def _explanation(explanation: Explanation) -> dict[str, Any]:
    return {
        "finding": _code(explanation.finding),
        "method": explanation.method,
        "inside_share": round(explanation.inside_share, 6),
        "bound": explanation.bound,
        "trustworthy": explanation.trustworthy,
        "sentence": explanation.sentence,
        "organ": explanation.organ,
        "slice": explanation.slice,
        "model": explanation.model.id,
    }


def _refusal(refusal: Refusal) -> dict[str, str]:
    return {"code": refusal.code, "sentence": refusal.sentence, "detail": refusal.detail}


def _unread(unread: Unread) -> dict[str, Any]:
    return {
        "about": [_code(code) for code in unread.about],
        "refusal": _refusal(unread.refusal),
        "model": _model(unread.model),
    }


def _image(result: Result) -> dict[str, Any]:
    header, image = result.header, result.image
    made: dict[str, Any] = {
        "study_uid": result.study_uid,
        "series_uid": "" if header is None else text_of(header, "SeriesInstanceUID"),
        "sop_uids": list(result.sop_uids) or ([] if header is None else [text_of(header, "SOPInstanceUID")]),
        "digest": result.digest,
    }
    if image is not None:
        made |= {"series_uid": image.series_uid, "sop_uids": list(image.sop_uids)}
        made |= {"modality": image.modality, "body_part": image.body_part, "view": image.view}
        made |= {"instance_numbers": list(image.numbers)} if image.numbers else {}
        made |= {"frame_numbers": list(image.frames)} if image.frames else {}
        made |= {"decoded_at": f"1/{image.reduction}"} if image.reduction > 1 else {}
        made |= {"shape": list(image.pixels.shape), "spacing_mm": image.spacing_mm and list(image.spacing_mm)}
    return made


def _prior(result: Result, prior: Prior) -> dict[str, Any]:
    values = [
        {
            "tracking_uid": group.tracking_uid,
            "tracking_id": group.tracking_id,
            "finding": _code(group.finding),
            "present": group.present,
            "code": _code(one.code),
            "value": float(f"{one.value:.6g}"),
            "unit": _code(one.unit),
            "difference": difference(result, group, one),
            "model": group.algorithm,
            "version": group.version,
        }
        for group in prior.groups
        for one in group.values
    ]
    return {"study_uid": prior.study_uid, "study_date": prior.date, "values": values}


def _revision(revision: Revision | None) -> dict[str, Any] | None:
    if revision is None:
        return None
    replaced = [{"kind": one.kind, "sop_instance_uid": one.sop_instance_uid} for one in revision.replaced]
    return {"late": revision.late, "replaces": replaced}


def summary(result: Result) -> dict[str, Any]:
    """Give a result as plain values that JSON can hold.

    Parameters
    ----------
    result
        Read or refused.

    Returns
    -------
    dict
        Probabilities and shares are 0..1; measurements carry a UCUM unit, and so do priors' values
        (probabilities in %) with the difference from them, null where another build gave them; slices are
        counted from 0 in the order of their place, as `sop_uids`, `instance_numbers` and `frame_numbers` are
        (the latter two only where they are told); times are milliseconds by stage.
    """
    refusal = result.refusal
    return {
        "notice": NOTICE,
        "wetread": __version__,
        "read_at": result.read_at,
        "state": "read" if refusal is None else "not read",
        "refusal": None if refusal is None else _refusal(refusal),
        "not_read": [_unread(one) for one in result.not_read],
        "reduced": list(result.reduced),
        "revision": _revision(result.revision),
        "image": _image(result),
        "findings": [_finding(one) for one in result.findings],
        "regions": [_region(one) for one in result.regions],
        "priors": [_prior(result, one) for one in result.priors],
        "explanations": [_explanation(one) for one in result.explanations],
        "models": [_model(one) for one in result.models],
        "timings_ms": {one.stage: round(one.ms, 3) for one in result.timings},
    }


def encoded(result: Result, failed: Mapping[str, str] | None = None) -> bytes:
    """Encode the summary as UTF-8 JSON; `failed` is what did not pass our checker, by kind with the reason, if any."""
    said = summary(result) | ({"failed": dict(failed)} if failed else {})
    return (json.dumps(said, ensure_ascii=False, indent=2) + "\n").encode()
