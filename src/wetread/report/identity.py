"""Whose image this is: what the documents take over from the header of the source.

References
----------
DICOM PS3.3 Sections C.7.1.1 (patient), C.7.2.1 (study), C.7.2.2 (patient study),
C.7.1.3 (clinical trial), C.12.1 (SOP common).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from wetread.lossy import METHODS, was_lossy
from wetread.report import values
from wetread.report.characters import CHARACTER_VRS, codecs_of, fits
from wetread.report.elements import (
    CHARACTER_SET,
    Item,
    entry_of,
    get,
    item,
    sequence,
    walk,
)

#: Axis of the patient (x, y, z) -> where a direction against it runs to, and one along it.
_ENDS = ("RL", "AP", "FH")
#: Direction cosines up to this are not named: 6 degrees.
_ALONG = 0.1
#: Modalities whose images are slices; of a film only Patient Orientation counts.
_SLICES = ("CT", "MR", "PT")
#: Type 2 attributes: always there, empty when the source has none.
REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
#: Taken over when the source has a value.
OPTIONAL = (
    "TimezoneOffsetFromUTC",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "PatientBirthTime",
    "EthnicGroup",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "QualityControlSubject",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "ReferringPhysicianIdentificationSequence",
    "PhysiciansOfRecord",
    "ConsultingPhysicianName",
    "AdmittingDiagnosesDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientSexNeutered",
    "AdmissionID",
    "Occupation",
    "AdditionalPatientHistory",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)
_TRIAL = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_ANIMAL = (
    "PatientSexNeutered",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsibleOrganization",
)
#: What makes some of those Type 2 too.
_DEMANDING = {
    "ClinicalTrialProtocolID": _TRIAL,
    "PatientSpeciesDescription": _ANIMAL,
    "PatientSpeciesCodeSequence": _ANIMAL,
}
#: Where the date of our content comes from, best first: see `moment`.
_MOMENTS = (
    ("ContentDate", "ContentTime"),
    ("AcquisitionDate", "AcquisitionTime"),
    ("SeriesDate", "SeriesTime"),
    ("StudyDate", "StudyTime"),
    ("InstanceCreationDate", "InstanceCreationTime"),
)
#: A DT to the day at least, without its offset from UTC.
_STAMP = re.compile(r"(\d{8})([\d.]*)(?:[+-]\d{4})?", re.ASCII)
#: Stands where no date is known at all, but one must be there.
UNKNOWN_MOMENT = ("19000101", "000000")
#: What a report must have to be found under its patient and study, beside `REQUIRED` and `_MOMENTS`.
_IDENTIFYING = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "IssuerOfAccessionNumberSequence",
)
_TEXTS = CHARACTER_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
#: Characters of a value whose length 16 bits can hold in any character set; no VR of 16 bits allows as many.
_LONGEST = 16_000
#: What of a request a report repeats.
_REQUESTED = ("AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription")


@dataclass(frozen=True, slots=True)
class Source:
    """The source instance, as the documents name it."""

    modules: Item  # patient, study, patient study, clinical trial; with its character set
    study_uid: str
    series_uid: str  # "" when the header has none; then nothing refers to the instance
    sop_uid: str  # of a series that of its first slice
    sop_uids: tuple[str, ...]  # every instance, in slice order
    sop_class_uid: str
    moment: tuple[str, str]  # DA, TM
    timed: bool  # whether the time of day is the source's; else it stands for that of a day
    modality: str
    body_part: str
    laterality: str
    orientation: str  # Patient Orientation, as it travels; of a slice by its Image Orientation (Patient)
    frame_of_reference: str
    position_reference: str  # Position Reference Indicator
    procedures: tuple[Item, ...]  # valid items of the source's Procedure Code Sequence
    requests: tuple[Item, ...]  # Request Attributes of the source
    lossy: Item  # Lossy Image Compression and its ratio and method, when the source is lossy

    @property
    def uids(self) -> frozenset[str]:
        """The UIDs that documents repeat from the source."""
        given = {get(one, "StudyInstanceUID", "") for one in self.requests}
        return frozenset(
            {self.study_uid, self.series_uid, *self.sop_uids, self.sop_class_uid, self.frame_of_reference} | given
        )

    @property
    def asked(self) -> list[dict[str, str]]:
        """What a report repeats of each request, by keyword, each once; what does not fit there is left out.

        Without Request Attributes the accession number alone tells of one.
        """
        accession = get(self.modules, "AccessionNumber", "")
        made: list[dict[str, str]] = []
        for request in self.requests or ({},):
            told = {keyword: get(request, keyword, "") for keyword in _REQUESTED}
            told["AccessionNumber"] = told["AccessionNumber"] or accession
            one = {keyword: values.fitting(keyword, value) for keyword, value in told.items()}
            one["StudyInstanceUID"] = get(request, "StudyInstanceUID") or self.study_uid
            made += [] if one in made else [one]
        return made

    @property
    def dated(self) -> bool:
        """Whether the source tells when it was made."""
        return self.moment != UNKNOWN_MOMENT

    @property
    def referable(self) -> bool:
        """Whether an evidence sequence can name the instance."""
        return bool(self.series_uid and self.sop_uid and self.sop_class_uid)


def text_of(header: Any, keyword: str) -> str:
    """Give the value of a source attribute as it travels, "" when absent or no text."""
    element = header.get(entry_of(keyword)[0])
    return "" if element is None else _plain(element.value)


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, (list, tuple, MultiValue)):
        return "\\".join(_plain(one) for one in value)
    return str(value).rstrip(" \0")


def _first(header: Any, keyword: str) -> str:
    """Give what an attribute of one value says: of several, which are wrong there, the one by which it was read."""
    return text_of(header, keyword).partition("\\")[0].rstrip(" ")


def _lossy(header: Any) -> Item:
    """Say whether the source was ever compressed with loss, how, and how much (PS3.3 Section C.7.6.1.1.5).

    Old films do not say that they were, or name a ratio without a method; their own encoding tells both.
    """
    syntax = str(getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", ""))
    if not was_lossy(text_of(header, "LossyImageCompression"), syntax):
        return item(LossyImageCompression="00")
    made = item(LossyImageCompression="01")
    ratio = values.numbers(text_of(header, "LossyImageCompressionRatio"))
    method = text_of(header, "LossyImageCompressionMethod") or METHODS.get(syntax, "")
    if not (ratio and values.fitting("LossyImageCompressionMethod", method)):
        return made
    return made | item(LossyImageCompressionRatio=ratio, LossyImageCompressionMethod=method)


def _modules(header: Any) -> Item:
    """Copy patient, study and clinical trial; what is Type 2 there is empty where the source has no value."""
    taken = _taken(header, REQUIRED + OPTIONAL)
    demanded = [*REQUIRED]
    for keyword, others in _DEMANDING.items():
        demanded += others if entry_of(keyword)[0] in taken else ()
    return item(**{one: [] if one.endswith("Sequence") else "" for one in demanded}) | taken


def _taken(header: Any, keywords: Iterable[str]) -> Item:
    """Copy attributes, in depth, from a pydicom data set."""
    made: Item = {}
    for keyword in keywords:
        element = header.get(entry_of(keyword)[0])
        if element is not None and not element.is_empty:
            made |= _copied(element)
    return made


def _copied(element: Any) -> Item:
    """Copy an attribute; one of text under another VR, as an ID that was stored as a number, gets its own."""
    vr = str(element.VR)
    allowed = values.vrs_of(int(element.tag)) or (vr,)
    if vr == "SQ" and "SQ" in allowed:
        children = []
        for child in element.value:
            copied: Item = {}
            for one in child:
                copied |= _copied(one)
            children += [copied] if copied else []  # an item without attributes says nothing, and none may be so
        return {int(element.tag): ("SQ", children)} if children else {}
    own = vr if vr in allowed else allowed[0]
    if element.tag.is_private or vr == "SQ" or not (own in CHARACTER_VRS or {vr, own} <= _TEXTS):
        return {}
    text = _plain(element.value)
    if not text and not {vr, own} <= _TEXTS:
        return {}
    if len(text) > _LONGEST or not (own in CHARACTER_VRS or text.isascii()):
        return {}
    return {int(element.tag): (own, text)}


def moment(header: Any) -> tuple[str, str]:
    """Give the date and time of our content: those of the image.

    The content is a pure function of the image and the build, so it carries the
    image's own moment, and two readings give the same bytes.  When it was read is
    said by the page, the JSON and the audit trail.
    """
    date, time = _told(header)
    return (date, time or UNKNOWN_MOMENT[1]) if date else UNKNOWN_MOMENT


def _told(header: Any) -> tuple[str, str]:
    """Give the moment of the image as far as it is told: "" for a time of day, or both, that nobody knows.

    A day without its time has the next time that is told of the same day.
    """
    told = [tuple(text_of(header, keyword) for keyword in pair) for pair in _MOMENTS]
    stamp = _STAMP.fullmatch(text_of(header, "AcquisitionDateTime"))
    told += [stamp.groups("")] if stamp else []
    moments = [(day, values.current("TM", time)) for date, time in told if (day := _day(date))]
    first = moments[0][0] if moments else ""
    return first, next((time for day, time in moments if day == first and time), "")


def _day(text: str) -> str:
    """Give a date as DA, "" where it is none, or of no year in which an image was made."""
    day = values.current("DA", text)
    return day if day[:1] in ("1", "2") else ""


def character_set(header: Any, texts: Iterable[str]) -> str:
    """Choose the Specific Character Set: the source's own if it fits all texts, else UTF-8.

    A term of code extensions that stands alone, as some devices write it, is none: PS3.3 Section C.12.1.1.2.
    """
    declared = text_of(header, "SpecificCharacterSet")
    codecs = () if declared.startswith("ISO 2022") and "\\" not in declared else codecs_of(declared)
    return declared if codecs and all(fits(text, codecs) for text in texts) else "ISO_IR 192"


def _valid_code(code: Item) -> bool:
    """Whether our checker would let a report repeat a code, and HL7 has a place for it."""
    return bool(get(code, "CodeValue")) and not any(values.problems(item(ProcedureCodeSequence=code), {}))


def _turned(header: Any) -> str:
    r"""Give the Patient Orientation of a slice by its Image Orientation (Patient): ``L\PF``, "" of a film.

    References
    ----------
    DICOM PS3.3 Section C.7.6.1.1.1.
    """
    cosines = values.numbers(text_of(header, "ImageOrientationPatient")).split("\\")
    if text_of(header, "Modality") not in _SLICES or len(cosines) != 6:
        return ""
    row, column = (_letters([float(one) for one in part]) for part in (cosines[:3], cosines[3:]))
    return f"{row}\\{column}" if row and column else ""


def _letters(direction: Sequence[float]) -> str:
    """Name where a direction runs to, what it runs to most first."""
    along = sorted(range(3), key=lambda axis: -abs(direction[axis]))
    return "".join(_ENDS[axis][direction[axis] > 0] for axis in along if abs(direction[axis]) > _ALONG)


def bare(header: Any) -> Dataset:
    """Leave of a header what names patient, study and image, and nothing that describes them."""
    made = Dataset()
    keywords = (*REQUIRED, *_IDENTIFYING, *(keyword for pair in _MOMENTS for keyword in pair))
    for tag in sorted({entry_of(keyword)[0] for keyword in keywords}):
        if tag in header:
            made[tag] = header[tag]
    return made


def identify(header: Any, study_uid: str = "", texts: Iterable[str] = ()) -> Source | None:
    """Take over the identity of a source.

    Parameters
    ----------
    header
        A pydicom data set, or None.
    study_uid
        Stands in where the header has no Study Instance UID.
    texts
        Further texts that the documents will hold; they decide the character set.

    Returns
    -------
    Source or None
        None when there is no header or no Study Instance UID.
    """
    study_uid = study_uid if header is None else text_of(header, "StudyInstanceUID") or study_uid
    if header is None or not study_uid:
        return None
    modules = _modules(header) | item(StudyInstanceUID=study_uid)
    requests = sequence(_taken(header, ("RequestAttributesSequence",)), "RequestAttributesSequence")
    frame = text_of(header, "FrameOfReferenceUID")
    position = values.fitting("PositionReferenceIndicator", text_of(header, "PositionReferenceIndicator"))
    copied = [entry[1] for _, _, entry in walk(modules) if entry[0] in CHARACTER_VRS]
    copied += [entry[1] for one in requests for _, _, entry in walk(one) if entry[0] in CHARACTER_VRS]
    declared = character_set(header, [*copied, position, *texts])
    if declared:
        modules[CHARACTER_SET] = ("CS", declared)
    return Source(
        modules=modules,
        study_uid=study_uid,
        series_uid=text_of(header, "SeriesInstanceUID"),
        sop_uid=text_of(header, "SOPInstanceUID"),
        sop_uids=(text_of(header, "SOPInstanceUID"),),
        sop_class_uid=text_of(header, "SOPClassUID"),
        moment=moment(header),
        timed=bool(_told(header)[1]),
        modality=_first(header, "Modality"),
        body_part=values.fitting("BodyPartExamined", _first(header, "BodyPartExamined")),
        laterality=text_of(header, "Laterality") or text_of(header, "ImageLaterality"),
        orientation=_turned(header) or text_of(header, "PatientOrientation"),
        frame_of_reference=frame if frame.isascii() else "",
        position_reference=position,
        procedures=tuple(one for one in sequence(modules, "ProcedureCodeSequence") if _valid_code(one)),
        requests=tuple(requests),
        lossy=_lossy(header),
    )
