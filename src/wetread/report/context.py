"""What all DICOM documents of one result share: identity, equipment, series, moment.

References
----------
DICOM PS3.3 Sections C.7.3.1 (general series), C.12.1 (SOP common), 10.3
(SOP instance reference macro).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from wetread.records import Code, Explanation, Finding, Region, Result
from wetread.report import codes
from wetread.report.elements import Item, item
from wetread.report.equipment import MANUFACTURER, contributing, contributors, equipment
from wetread.report.fingerprint import fingerprint_of
from wetread.report.identity import Source, identify
from wetread.settings import LEFT_OUT
from wetread.uids import derive

NOTICE = "Decision support for research and evaluation; not a medical device."


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of DICOM document."""

    sop_class_uid: str
    modality: str  # "" stands for that of the source
    series_number: int
    description: str


KINDS = {
    "SEG": Kind("1.2.840.10008.5.1.4.1.1.66.4", "SEG", 9901, "AI regions (not a medical device)"),
    "PM": Kind("1.2.840.10008.5.1.4.1.1.30", "", 9902, "AI visual explanation (not a medical device)"),
    "SR": Kind("1.2.840.10008.5.1.4.1.1.88.34", "SR", 9903, "AI findings (not a medical device)"),
    "SC": Kind("1.2.840.10008.5.1.4.1.1.7", "OT", 9904, "AI picture (not a medical device)"),
    "KOS": Kind("1.2.840.10008.5.1.4.1.1.88.59", "KO", 9905, "AI key images (not a medical device)"),
    "GSPS": Kind("1.2.840.10008.5.1.4.1.1.11.1", "PR", 9906, "AI outlines (not a medical device)"),
    "PDF": Kind("1.2.840.10008.5.1.4.1.1.104.1", "DOC", 9907, "AI page (not a medical device)"),
    "LABELMAP": Kind("1.2.840.10008.5.1.4.1.1.66.7", "SEG", 9908, "AI label map (not a medical device)"),
}


#: Where rows and columns run to: PS3.3 Section C.7.6.1.1.1.
_ORIENTED = re.compile(r"[LRAPHF]{1,3}\\[LRAPHF]{1,3}")
#: Body parts (PS3.16 Annex L) of which there is one.
_UNPAIRED = (
    "ABDOMEN",
    "BRAIN",
    "CHEST",
    "CSPINE",
    "HEAD",
    "HEART",
    "LSPINE",
    "NECK",
    "PELVIS",
    "SKULL",
    "SPINE",
    "THORAX",
)


@dataclass(frozen=True, slots=True)
class Context:
    """One result with everything its documents share."""

    result: Result
    source: Source
    institution: str
    fingerprint: str  # hex; names the content of all documents


def left_out(result: Result, kind: str) -> bool:
    """Whether a kind of document is not made, as the node is behind its deadlines."""
    return any(kind in LEFT_OUT.get(step, ()) for step in result.reduced)


def _texts(result: Result, institution: str) -> list[str]:
    """Every text of a result that may stand in a DICOM document."""
    texts = [institution]
    for model in result.models:
        texts += (model.id, model.version, model.build, model.manufacturer, model.family.meaning)
    for finding in result.findings:
        texts += (finding.tracking_id, finding.code.meaning, finding.site.meaning if finding.site is not None else "")
    for region in result.regions:
        texts += (region.label, region.tracking_id, region.category.meaning, region.type.meaning)
        texts += (one.code.meaning for one in region.measurements)
    for explanation in result.explanations:
        texts += (explanation.method, explanation.sentence)
    for unread in result.not_read:
        texts += (unread.model.id, unread.model.version, unread.refusal.detail, *(one.meaning for one in unread.about))
    for prior in result.priors:
        for group in prior.groups:
            texts += (group.tracking_id, group.finding.meaning, group.algorithm, group.version)
            texts += (meaning for one in group.values for meaning in (one.code.meaning, one.unit.meaning))
    if result.refusal is not None:
        texts += (result.refusal.sentence, result.refusal.detail)
    return texts


def context_of(result: Result, institution: str) -> Context | None:
    """Gather what the documents share, or None when no study can be named."""
    source = identify(result.header, result.study_uid, _texts(result, institution))
    if source is None:
        return None
    instances = result.image.sop_uids if result.image is not None else result.sop_uids
    if instances:
        source = replace(source, sop_uids=instances)
    if result.image is not None and len(result.image.sop_uids) > 1:  # the header is that of one slice
        source = replace(source, laterality=result.image.laterality)
    return Context(result, source, institution, fingerprint_of(result, source.sop_uid, institution))


def instance_uid(context: Context, kind: str) -> str:
    """Give the SOP Instance UID of a kind of document of this result."""
    return derive(context.fingerprint, kind, "instance")


def place_of(context: Context, one: Finding | Region) -> Code | None:
    """Say where in the body something is: an anatomical structure is its own place, of others model or header tell."""
    own = one.site if isinstance(one, Finding) else one.type
    if isinstance(one, Region) and one.category.value != codes.ANATOMY.value:
        own = None
    return own or codes.BODY_PARTS.get(context.source.body_part)


def explained(result: Result, finding: Finding) -> list[Explanation]:
    """Return the explanations of a finding: another model may have found the same."""
    about = (finding.code, finding.model)
    return [one for one in result.explanations if (one.finding, one.model) == about]


def beginning(context: Context, kind: str) -> Item:
    """Make the modules that every document begins with."""
    facts, source = KINDS[kind], context.source
    date, time = source.moment
    made = dict(source.modules)
    made |= item(
        SOPClassUID=facts.sop_class_uid,
        SOPInstanceUID=instance_uid(context, kind),
        Modality=facts.modality or source.modality or "OT",
        SeriesInstanceUID=derive(context.fingerprint, kind, "series"),
        SeriesNumber=str(facts.series_number),
        SeriesDescription=facts.description,
        ContentDate=date,
        ContentTime=time,
        InstanceNumber="1",
    )
    if source.dated:
        made |= item(SeriesDate=date, SeriesTime=time)
    made |= equipment(context.result.models, context.institution)
    return made | contributing(contributors(context.result.models))


def reference(sop_class_uid: str, sop_uid: str) -> Item:
    """Make an item of the SOP instance reference macro."""
    return item(ReferencedSOPClassUID=sop_class_uid, ReferencedSOPInstanceUID=sop_uid)


def body_part(source: Source, sided: bool = False) -> Item:
    """Make Body Part Examined and Laterality.

    Laterality is 2C: there with its value when the source knows it; there and empty,
    in the kinds whose IOD asks for it (`sided`), when the part may be a paired one.  Of a part of
    which there is one, it must not be there, whatever the source says.
    """
    made = item(BodyPartExamined=source.body_part) if source.body_part else {}
    if source.body_part in _UNPAIRED:
        return made
    if source.laterality in ("L", "R"):
        return made | item(Laterality=source.laterality)
    return made | item(Laterality="") if sided else made


def orientation(source: Source) -> Item:
    """Make Patient Orientation (2C): by it a viewer marks the sides of a picture, which has no plane orientation.

    It is empty where the source has other letters, or not two values.
    """
    return item(PatientOrientation=source.orientation if _ORIENTED.fullmatch(source.orientation) else "")


def image_pixel(rows: int, columns: int, bits: int) -> Item:
    """Make the attributes of an unsigned greyscale pixel grid."""
    return item(
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=rows,
        Columns=columns,
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
    )


def labelled(label: str, description: str) -> Item:
    """Make the content identification macro (PS3.3 Table 10-12)."""
    return item(ContentLabel=label, ContentDescription=description, ContentCreatorName=f"{MANUFACTURER}^")
