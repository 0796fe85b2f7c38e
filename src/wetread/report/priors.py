"""What reports of earlier studies say of what is followed, to stand beside the new values.

An earlier report counts only as we wrote it: same patient (Patient ID and issuer), same modality and body part, an
earlier study.  Which finding or structure it is about is told by the Tracking Unique Identifier, which stays the same
on a patient's follow-ups.  Values are the digits that the report prints; nothing is concluded from them.

References
----------
DICOM PS3.16 TID 1500, TID 1501 and 1411 (measurement groups), TID 1502 (time point context), TID 1600 (image library);
PS3.3 Sections C.7.2.1 (Study Date) and C.17.2.3 (Pertinent Other Evidence Sequence).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from wetread.records import Code, Followed, Measurement, Prior, Result
from wetread.report import codes
from wetread.report.context import KINDS
from wetread.report.elements import Item, decode, get, sequence
from wetread.report.equipment import MANUFACTURER, MODEL_NAME
from wetread.report.identity import text_of
from wetread.report.revision import PREDECESSORS, listed
from wetread.report.tree import Key, key, key_of, named
from wetread.report.values import fault_of

_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
#: Stands for the algorithm where a person outlined what was measured.
PERSON = "a person"
_MADE = frozenset(KINDS[kind].sop_class_uid for kind in ("SEG", "PM"))


@dataclass(frozen=True, slots=True)
class Reported:
    """One report of ours about an earlier study, with what tells whose it is and of what."""

    prior: Prior
    patient: tuple[str, str]  # Patient ID and its issuer
    about: tuple[Key, Key]  # modality and target region, as its image library codes them
    sop_instance_uid: str
    replaced: frozenset[str]  # SOP Instance UIDs of the reports that it replaces
    moment: str  # Content Date and Time
    verified: bool  # by a person


def reported(files: Iterable[bytes]) -> Iterator[Reported]:
    """Read reports; those that are not ours or name what no new document may repeat are left out.

    Raises
    ------
    DocumentError
        A file is not in Explicit VR Little Endian.
    """
    for data in files:
        _, read = decode(data)
        ours = (get(read, "Manufacturer"), get(read, "ManufacturerModelName")) == (MANUFACTURER, MODEL_NAME)
        if ours and get(read, "SOPClassUID") == KINDS["SR"].sop_class_uid and (made := _reported(read)) is not None:
            yield made


def _reported(read: Item) -> Reported | None:
    children = sequence(read, "ContentSequence")
    groups = [
        made
        for measured in named(children, codes.IMAGING_MEASUREMENTS)
        for group in named(sequence(measured, "ContentSequence"), codes.MEASUREMENT_GROUP)
        if (made := _followed(sequence(group, "ContentSequence"))) is not None
    ]
    prior = Prior(
        get(read, "StudyInstanceUID", ""),
        get(read, "StudyDate", ""),
        get(read, "StudyTime", ""),
        _images(read),
        tuple(groups),
    )
    uids = (prior.study_uid, *(uid for image in prior.images for uid in image), *(one.tracking_uid for one in groups))
    if not prior.images or not prior.date or fault_of("DA", prior.date):
        return None
    if not all(uids) or any(fault_of("UI", uid) for uid in uids):  # our checker would let no document name them
        return None
    library = [
        node
        for one in named(children, codes.IMAGE_LIBRARY)
        for group in named(sequence(one, "ContentSequence"), codes.IMAGE_LIBRARY_GROUP)
        for node in sequence(group, "ContentSequence")
    ]
    modality, region = (
        next((key_of(node, "ConceptCodeSequence") for node in named(library, concept)), ("", ""))
        for concept in (codes.MODALITY, codes.TARGET_REGION)
    )
    return Reported(
        prior,
        (get(read, "PatientID", "").strip(), get(read, "IssuerOfPatientID", "").strip()),
        (modality, region),
        get(read, "SOPInstanceUID", ""),
        frozenset(get(one, "ReferencedSOPInstanceUID", "") for one in listed(read, PREDECESSORS)),
        get(read, "ContentDate", "") + get(read, "ContentTime", ""),
        get(read, "VerificationFlag") == "VERIFIED",
    )


def _followed(group: list[Item]) -> Followed | None:
    """Read one measurement group."""
    texts = {
        concept: next((get(node, "TextValue", "") for node in named(group, concept)), "")
        for concept in (codes.TRACKING_ID, codes.ALGORITHM_NAME, codes.ALGORITHM_VERSION)
    }
    if named(group, codes.PERSON_NAME):  # who outlined it; no build compares with that
        texts |= {codes.ALGORITHM_NAME: PERSON}
    unique = next((get(node, "UID", "") for node in named(group, codes.TRACKING_UID)), "")
    finding = next((_code(node, "ConceptCodeSequence") for node in named(group, codes.FINDING)), None)
    numbers = [node for node in group if get(node, "ValueType") == "NUM"]
    chosen = named(numbers, codes.PROBABILITY) or numbers
    values = tuple(made for node in chosen if (made := _measurement(node)) is not None)
    if finding is None or not values or not unique or not texts[codes.TRACKING_ID]:
        return None
    if not all(_build(texts)) and texts[codes.ALGORITHM_NAME] != PERSON:
        return None
    verdicts = [node for node in group if get(node, "ValueType") == "CODE" and key_of(node) == key(finding)]
    said = [key_of(node, "ConceptCodeSequence") == key(codes.PRESENT) for node in verdicts]
    return Followed(unique, texts[codes.TRACKING_ID], finding, values, said[0] if said else None, *_build(texts))


def _build(texts: dict[Code, str]) -> tuple[str, str]:
    return texts[codes.ALGORITHM_NAME], texts[codes.ALGORITHM_VERSION]


def _code(node: Item, keyword: str) -> Code | None:
    for one in sequence(node, keyword):
        (scheme, value), meaning = key_of(node, keyword), get(one, "CodeMeaning", "")
        return Code(value, scheme, meaning) if value and scheme and meaning else None
    return None


def _measurement(node: Item) -> Measurement | None:
    code = _code(node, "ConceptNameCodeSequence")
    for measured in sequence(node, "MeasuredValueSequence"):
        unit = _code(measured, "MeasurementUnitsCodeSequence")
        try:
            value = float(get(measured, "NumericValue", ""))
        except ValueError:
            return None
        return None if code is None or unit is None else Measurement(code, value, unit)
    return None


def _images(read: Item) -> tuple[tuple[str, str, str], ...]:
    """Series, class and instance of each image that a report rests on."""
    return tuple(
        (get(series, "SeriesInstanceUID", ""), class_uid, get(one, "ReferencedSOPInstanceUID", ""))
        for study in sequence(read, _EVIDENCE)
        for series in sequence(study, "ReferencedSeriesSequence")
        for one in sequence(series, "ReferencedSOPSequence")
        if (class_uid := get(one, "ReferencedSOPClassUID", "")) not in _MADE
    )


def priors(result: Result, known: Sequence[Reported], most: int, days: int = 0) -> tuple[Prior, ...]:
    """Choose the priors whose values stand beside those of a result, the newest first.

    Of several reports about one study the last one counts that says something of what is followed; of those of one
    moment what a person verified, else what rests on more images.

    Parameters
    ----------
    most
        Studies.
    days
        No older than so many days before this study; 0: of any age.
    """
    header = result.header
    followed = {(one.tracking_uid, True) for one in result.findings}
    followed |= {(one.tracking_uid, False) for one in result.regions}
    if header is None or not followed or not text_of(header, "PatientID").strip():
        return ()
    patient = (text_of(header, "PatientID").strip(), text_of(header, "IssuerOfPatientID").strip())
    about = _about(text_of(header, "Modality"), text_of(header, "BodyPartExamined"))
    now = (text_of(header, "StudyDate"), text_of(header, "StudyTime"))
    superseded = {uid for one in known for uid in one.replaced}
    newest: dict[str, Prior] = {}
    for one in sorted(known, key=_rank):
        if (one.patient, one.about) != (patient, about) or one.sop_instance_uid in superseded:
            continue
        groups = tuple(
            group for group in one.prior.groups if (group.tracking_uid, group.present is not None) in followed
        )
        if groups and one.prior.study_uid != result.study_uid and _before(one.prior, now, days):
            newest[one.prior.study_uid] = replace(one.prior, groups=groups)
    order = sorted(newest.values(), key=lambda one: (one.date, one.time, one.study_uid), reverse=True)
    return tuple(order[:most])


def _rank(one: Reported) -> tuple[str, bool, int, str]:
    """Order the reports about one study: the last counts."""
    return one.moment, one.verified, len(one.prior.images), one.sop_instance_uid


def _about(modality: str, body_part: str) -> tuple[Key, Key]:
    """Code a modality and a body part as the image library does."""
    one = codes.MODALITIES.get(modality)
    region = codes.BODY_PARTS.get(body_part)
    return key(one[0]) if one else ("", ""), key(region) if region else ("", "")


def _before(prior: Prior, now: tuple[str, str], days: int) -> bool:
    """Whether a prior is of an earlier day within the limit, or of an earlier time of the same day."""
    same_day = bool(prior.time) and prior.time < now[1]
    if fault_of("DA", now[0]) or not (prior.date < now[0] or (prior.date == now[0] and same_day)):
        return False
    return not days or (_day(now[0]) - _day(prior.date)).days <= days


def _day(text: str) -> date:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:  # such as February 30
        return date.min
