"""What a result says as HL7 observations: the values, codes and groups of the structured report, one an OBX.

References
----------
HL7 v2.5.1 Section 7.4.2 (OBX), Tables 0078 (abnormal flags), 0085 (result status), 0396 (coding systems);
IHE RAD TF-2 Table 4.7-7 (the study by 113014^DICOM Study^DCM).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from wetread.records import Code, Finding, ModelIdentity, Refusal, Region, Unread
from wetread.report import codes
from wetread.report.context import NOTICE, Context, explained, instance_uid, left_out, place_of
from wetread.report.elements import get
from wetread.report.words import circumstances, decimal, measured, name, omitted, percent, plain, reduction, statements
from wetread.uids import derive

#: PS3.16 Section 8 -> HL7 Table 0396, where they differ.
_SYSTEMS = {"ICD10": "I10", "NCIt": "NCI"}
PRELIMINARY = "P"
#: Of what only names something: Table 0085, order detail without a result.
DETAIL = "O"
ABNORMAL, NORMAL, VERY_ABNORMAL = "A", "N", "AA"


@dataclass(frozen=True, slots=True)
class Observation:
    """One OBX."""

    type: str  # OBX-2
    code: Code  # OBX-3
    value: Any  # OBX-5, as `wetread.wire.hl7.encode` takes it
    group: str = ""  # OBX-4 behind that of the film or series; "" belongs to all of it
    unit: Code | None = None  # OBX-6
    range: str = ""  # OBX-7
    flag: str = ""  # OBX-8
    status: str = PRELIMINARY  # OBX-11
    model: ModelIdentity | None = None  # OBX-17 and OBX-18
    notes: tuple[str, ...] = field(default=())  # NTE behind it


def coded(code: Code) -> tuple[str, str, str]:
    """Write a code as CE or CWE: identifier, text, coding system."""
    return code.value, code.meaning, _SYSTEMS.get(code.scheme, code.scheme)


def _text(code: Code, value: str) -> Observation:
    return Observation("ST", code, value)


def _choice(code: Code, value: Code) -> Observation:
    return Observation("CWE", code, coded(value))


def _amount(code: Code, value: str, unit: Code) -> Observation:
    return Observation("NM", code, plain(value), unit=unit)  # NM knows no exponent: Section 2.A.47


def _grouped(group: str, model: ModelIdentity | None, made: Iterator[Observation]) -> Iterator[Observation]:
    return (replace(one, group=group, model=model) for one in made)


def observations(context: Context, base: str = "") -> Iterator[Observation]:
    """Say a result, read or refused; groups are numbered as the measurement groups of its SR.

    Parameters
    ----------
    base
        Where /dicomweb of this node can be reached; "" leaves links out.
    """
    result = context.result
    yield Observation("TX", codes.FINDINGS_TEXT, lines(context))
    yield from _named(context, base)
    if result.refusal is not None:
        yield _choice(codes.READING_STATE, codes.NOT_READ)
        yield from _reason(result.refusal)
        return
    group = 0
    for finding in result.findings:
        group += 1
        yield from _grouped(str(group), finding.model, _finding(context, finding))
    for region in result.regions if context.source.referable else ():
        group += 1
        yield from _grouped(str(group), region.model, _region(context, region))
    for step in result.reduced:
        yield _choice(codes.REDUCED, codes.STEPS[step])
    for number_, unread in enumerate(result.not_read, 1):
        yield from _grouped(f"N{number_}", None, _unread(unread))
    for number_, model in enumerate(result.models, 1):
        yield from _grouped(f"A{number_}", model, _algorithm(model))


def critical(context: Context, finding: Finding, base: str, link: str) -> Iterator[Observation]:
    """Say one finding of a result as a critical one, in a group of its own: the result itself comes too.

    Parameters
    ----------
    link
        Where it is acknowledged; "" says nothing of it.
    """
    line = next(one.line for one in statements(context.result) if one.finding is finding)
    yield Observation("TX", codes.FINDINGS_TEXT, [f"CRITICAL: {line}", NOTICE], "C", flag=VERY_ABNORMAL)
    yield from _named(context, base)
    if link:
        yield Observation("RP", codes.ACKNOWLEDGE, (link, "WETREAD", "AP", "HTML"), "C", status=DETAIL)
    for one in _grouped("C", finding.model, _finding(context, finding)):
        yield replace(one, flag=VERY_ABNORMAL) if one.code == finding.code else one


def lines(context: Context) -> list[str]:
    """Say a result in words, a line each."""
    result = context.result
    said = [NOTICE, *(f"{one}." for one in circumstances(result))]
    if result.refusal is not None:
        said.append(f"NOT READ. {result.refusal.sentence} {result.refusal.detail}".strip())
        return said
    said += (one.line for one in statements(result))
    said += (one.sentence for one in result.explanations)
    said += (omitted(one) for one in result.not_read)
    said += (
        f"{region.label}, {name(one.code.meaning).lower()}: {measured(one)}"
        for region in result.regions
        for one in region.measurements
    )
    return [*said, *([f"Image {reduced}."] if (reduced := reduction(result.image)) else [])]


def _named(context: Context, base: str) -> Iterator[Observation]:
    """Name the study, its accession number, the series that was read, and our SR."""
    source = context.source
    report, series = instance_uid(context, "SR"), derive(context.fingerprint, "SR", "series")
    named = [
        (codes.STUDY, source.study_uid),
        (codes.ACCESSION, accession(context)),
        (codes.SERIES_UID, source.series_uid),
        (codes.IMAGING_MEASUREMENT_REPORT, report),
    ]
    for code, value in named:
        if value:
            yield replace(_text(code, value), status=DETAIL)
    if base:
        study = f"{base.rstrip('/')}/dicomweb/studies/{source.study_uid}"
        for link in (study, f"{study}/series/{series}/instances/{report}"):
            yield Observation("RP", codes.WADO, (link, "WETREAD", "AP", "DICOM"), status=DETAIL)


def accession(context: Context) -> str:
    """Return the accession number: that of the order, else that of the image."""
    order = context.result.order
    return (order.accession.value if order is not None else "") or str(get(context.source.modules, "AccessionNumber"))


def _tracking(identifier: str, unique: str) -> Iterator[Observation]:
    yield _text(codes.TRACKING_ID, identifier)
    yield _text(codes.TRACKING_UID, unique)


def _finding(context: Context, finding: Finding) -> Iterator[Observation]:
    presence = codes.PRESENT if finding.present else codes.ABSENT
    yield replace(_choice(finding.code, presence), flag=ABNORMAL if finding.present else NORMAL)
    yield from _tracking(finding.tracking_id, finding.tracking_uid)
    site = place_of(context, finding)
    if site is not None:
        yield _choice(codes.FINDING_SITE, site)
    threshold = percent(finding.threshold)
    yield replace(_amount(codes.PROBABILITY, percent(finding.probability), codes.PERCENT), range=f"<{threshold}")
    yield _amount(codes.THRESHOLD, threshold, codes.PERCENT)
    for explanation in explained(context.result, finding):
        yield _choice(codes.TRUST, codes.TRUSTED if explanation.trustworthy else codes.NOT_TRUSTED)
        inside = codes.INSIDE_SHARE if explanation.organ == "lungs" else codes.INSIDE_BODY
        yield _amount(inside, percent(explanation.inside_share), codes.PERCENT)
        first = explanation is context.result.explanations[0] and context.source.referable
        if first and not left_out(context.result, "PM"):
            yield replace(_text(codes.VISUAL_EXPLANATION, instance_uid(context, "PM")), status=DETAIL)


def _region(context: Context, region: Region) -> Iterator[Observation]:
    yield from _tracking(region.tracking_id, region.tracking_uid)
    yield replace(_text(codes.REFERENCED_SEGMENT, instance_uid(context, "SEG")), status=DETAIL)
    yield _choice(codes.FINDING_CATEGORY, region.category)
    yield _choice(codes.FINDING, region.type)
    site = place_of(context, region)
    if site is not None:
        yield _choice(codes.FINDING_SITE, site)
    if region.laterality is not None:
        yield _choice(codes.LATERALITY, region.laterality)
    for one in region.measurements:
        yield _amount(one.code, decimal(one.value), one.unit)


def _unread(unread: Unread) -> Iterator[Observation]:
    for about in unread.about:
        yield replace(_choice(about, codes.NOT_READ), notes=(omitted(unread),))
    yield from _reason(unread.refusal)


def _reason(refusal: Refusal) -> Iterator[Observation]:
    yield _choice(codes.NOT_READ_REASON, codes.private(refusal.code, refusal.sentence))


def _algorithm(model: ModelIdentity) -> Iterator[Observation]:
    yield _text(codes.ALGORITHM_NAME, model.id)
    yield _text(codes.ALGORITHM_VERSION, f"{model.version}+{model.build}")
    yield _text(codes.DEVICE_UID, model.device_uid)
    yield _text(codes.MODEL_DIGEST, model.sha256)
