"""Results from which each kind of document is made: films read whole and in part, a revision, a series, a refusal.

No two sources have a value in common, so that what a document copies can be told from what is always the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset

from wetread.errors import REFUSALS
from wetread.records import (
    FULL_SCALE,
    Code,
    Explanation,
    Finding,
    Followed,
    Image,
    Mask,
    Measurement,
    ModelIdentity,
    Picture,
    Predecessor,
    Prior,
    Refusal,
    Region,
    Result,
    Revision,
    Unread,
)
from wetread.report.codes import ARTIFICIAL_INTELLIGENCE, PERCENT, PROBABILITY
from wetread.report.context import KINDS
from wetread.uids import derive

INSTITUTION = "Specimen Hospital"
_FINDINGS = (Code("233604007", "SCT", "Pneumonia"), Code("36118008", "SCT", "Pneumothorax"))
_ORGANS = (Code("39607008", "SCT", "Lung"), Code("10200004", "SCT", "Liver"))
_CATEGORIES = (
    Code("123037004", "SCT", "Anatomical Structure"),
    Code("49755003", "SCT", "Morphologically Altered Structure"),
)
_SIDES = (Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right"))
_SIZES = (
    (Code("42798000", "SCT", "Area"), Code("cm2", "UCUM", "square centimeter")),
    (Code("118565006", "SCT", "Volume"), Code("mL", "UCUM", "milliliter")),
)


def specimens() -> Iterator[Result]:
    """Yield results that differ in all that decides which attributes a document has."""
    told = _told()
    rich = _result(1, _header(1, "DX", told), (0.2, 0.2))
    yield rich
    earlier = tuple(
        Predecessor(kind, derive(kind, "series"), KINDS[kind].sop_class_uid, derive(kind, "instance"))
        for kind in ("PDF", "SR")
    )
    yield replace(rich, revision=Revision(1, earlier))
    yield replace(rich, priors=(_prior(rich, 8), _prior(rich, 9)))
    yield _result(2, _header(2, "CR", Dataset()), None)
    yield _result(3, _header(3, "CT", Dataset()), (0.7, 0.7), slices=3)
    refusal = Refusal("WRONG-BODY-PART", REFUSALS["WRONG-BODY-PART"], "expected CHEST, got HAND")
    unread = (Unread(_model("unread", 1), (_FINDINGS[0],), refusal),)
    yield replace(rich, findings=(), explanations=(), not_read=unread, reduced=("builds",))
    yield Result(derive("study", "4"), "specimen", "d", _header(4, "DX", Dataset()), None, refusal=refusal)


def _told() -> Dataset:
    """What a source may say and need not."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.AccessionNumber, made.StudyID, made.StudyDescription = "A-1", "S-1", "Thorax"
    made.PatientBirthDate, made.PatientSex, made.PatientAge = "19700102", "F", "050Y"
    made.IssuerOfPatientID, made.TimezoneOffsetFromUTC = "HOSPITAL", "+0100"
    made.ReferringPhysicianName = "Referrer^Rita"
    made.BodyPartExamined, made.Laterality, made.PatientOrientation = "LUNG", "L", ["L", "F"]
    made.LossyImageCompression, made.LossyImageCompressionRatio = "01", "12.5"
    made.LossyImageCompressionMethod = "ISO_10918_1"
    made.WindowCenter, made.WindowWidth = "2000", "3000"
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = "1", "1", "US"
    made.ProcedureCodeSequence = [_coded("399208008", "Plain chest X-ray")]
    made.RequestAttributesSequence = [Dataset()]
    made.RequestAttributesSequence[0].RequestedProcedureID = "RP-1"
    return made


def _prior(result: Result, number: int) -> Prior:
    """What an earlier report said of the same finding and the same part."""
    found, part = result.findings[0], result.regions[0]
    by = (found.model.id, f"{found.model.version}+{found.model.build}")
    share = Measurement(PROBABILITY, 30.0 + number, PERCENT)
    groups = (
        Followed(found.tracking_uid, found.tracking_id, found.code, (share,), False, *by),
        Followed(part.tracking_uid, part.tracking_id, part.type, part.measurements, None, *by),
    )
    study = derive("study", str(number))
    image = (derive("series", str(number)), result.header.SOPClassUID, derive("instance", str(number)))
    return Prior(study, f"2025010{number}", f"1{number}0000", (image,), groups)


def _coded(value: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, "SCT", meaning
    return made


def _header(number: int, modality: str, told: Dataset) -> Dataset:
    made = Dataset()
    made.update(told)
    kind = {"DX": "1.1", "CR": "1", "CT": "2"}[modality]
    made.SOPClassUID, made.Modality = f"1.2.840.10008.5.1.4.1.1.{kind}", modality
    made.StudyInstanceUID, made.SeriesInstanceUID = derive("study", str(number)), derive("series", str(number))
    made.SOPInstanceUID = derive("instance", str(number), "0")
    made.PatientName, made.PatientID = f"Specimen^{number}", f"ID-{number}"
    made.StudyDate, made.StudyTime = f"2026010{number}", f"1{number}0000"
    made.ContentDate, made.ContentTime = f"2026020{number}", f"1{number}3000"
    if modality == "CT":
        made.FrameOfReferenceUID, made.PositionReferenceIndicator = derive("frame", str(number)), "SN"
    made.Rows, made.Columns = 40 + number, 48 - number
    return made


def _image(number: int, header: Dataset, spacing: tuple[float, float] | None, slices: int) -> Image:
    shape = (slices, header.Rows, header.Columns)
    pixels = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    series = slices > 1
    return Image(
        pixels=pixels,
        spacing_mm=(4.0 + number, *spacing) if spacing else None,
        pixel_aspect=1.0,
        modality=header.Modality,
        body_part=header.get("BodyPartExamined", ""),
        view="",
        study_uid=header.StudyInstanceUID,
        series_uid=header.SeriesInstanceUID,
        sop_uids=tuple(derive("instance", str(number), str(one)) for one in range(slices)),
        digest=hashlib.sha256(str(number).encode()).hexdigest(),
        source="specimen",
        header=header,
        positions_mm=tuple((-10.0 * number, 7.0, 5.0 * one) for one in range(slices)) if series else (),
        directions=((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)) if series else None,
    )


def _model(name: str, number: int) -> ModelIdentity:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    names = (name, f"{number}.0.0", "fp32", sha256, derive("device", name), f"Maker {number}")
    return ModelIdentity(*names, ARTIFICIAL_INTELLIGENCE, "onnxruntime", "1", "CPU", "b" * 64)


def _region(number: int, which: int, mask: Mask, model: ModelIdentity) -> Region:
    organ, side, name = _ORGANS[which], _SIDES[which], f"Part {number}.{which}"
    kind, unit = _SIZES[which]
    size = Measurement(kind, 10.0 + number, unit, organ, side)
    uid = derive("part", name)
    return Region(name, mask, _CATEGORIES[which], organ, side if number < 3 else None, model, uid, name, (size,))


def _result(number: int, header: Dataset, spacing: tuple[float, float] | None, slices: int = 1) -> Result:
    image = _image(number, header, spacing, slices)
    masks = np.zeros((2, *image.pixels.shape), dtype=bool)
    masks[0, :, 10:30, 8 : 20 + number] = True
    masks[1, :, 10:30, 30 : 40 + number] = True
    masks[1, :, 10 : 10 + number, 30:34] = False
    outliner, classifier = _model(f"outliner-{number}", number), _model(f"classifier-{number}", number)
    found = tuple(range(slices)) if slices > 1 else ()
    what, uid = _FINDINGS[number % 2], derive("finding", str(number))
    finding = Finding(
        what, 0.9, number / 8, True, classifier, uid, what.meaning, _ORGANS[number % 2], found, slices - 1
    )
    heat = np.where(masks[0, -1], FULL_SCALE - number, number).astype(np.uint16)
    sentence = f"What was checked in {number}."
    map_ = Explanation(what, f"method {number}", heat, 0.9, 0.5, True, sentence, classifier, slices - 1)
    picture = Picture("heat", f"Heat {number}", np.full((100 + 8 * number, 500 + 8 * number, 3), 9 * number, np.uint8))
    return Result(
        image.study_uid,
        "specimen",
        image.digest,
        header,
        image,
        findings=(finding,),
        regions=tuple(_region(number, which, mask, outliner) for which, mask in enumerate(masks)),
        explanations=(map_,),
        pictures=(picture,),
        models=(outliner, classifier),
    )
