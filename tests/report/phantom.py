"""A film with known answers: two ellipses for lungs, a bright spot for the map."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from wetread import report
from wetread.records import (
    FULL_SCALE,
    Code,
    Explanation,
    Finding,
    Image,
    Measurement,
    ModelIdentity,
    Picture,
    Predecessor,
    Refusal,
    Region,
    Result,
    Revision,
    Timing,
    Unread,
)
from wetread.report import sr
from wetread.report.context import context_of
from wetread.report.elements import encode

PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
LUNG = Code("39607008", "SCT", "Lung")
ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
AREA = Code("42798000", "SCT", "Area")
SHARE = Code("AREA-SHARE", "99WETREAD", "Share of the image area")
CM2, PERCENT = Code("cm2", "UCUM", "square centimeter"), Code("%", "UCUM", "percent")
SIDES = (Code("24028007", "SCT", "Right"), Code("7771000", "SCT", "Left"))
FAMILY = Code("123110", "DCM", "Artificial Intelligence")


def model(name: str, build: str = "pruned-int8") -> ModelIdentity:
    digest = hashlib.sha256(f"{name} {build}".encode()).hexdigest()
    device = f"2.25.{int(digest[:32], 16)}"
    return ModelIdentity(
        name, "1.0.0", build, digest, device, "Wetread", FAMILY, "openvino", "2026.4.1", "CPU", "ab" * 32
    )


@lru_cache(maxsize=1)
def real_header() -> Dataset:
    """The header of a real chest film, whose pixel spacing is 0.000 by 0.000."""
    header = dcmread(str(get_testdata_file("RG1_UNCR.dcm")))
    del header.PixelData, header.DataSetTrailingPadding
    return header


def header(kind: str = "real") -> Dataset:
    """A header of one kind; each is a trap of its own."""
    made = copy.deepcopy(real_header())
    if kind == "real":
        return made
    made.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{len(kind)}.1"
    made.StudyInstanceUID = f"1.2.826.0.1.3680043.8.498.{len(kind)}.2"
    made.SeriesInstanceUID = f"1.2.826.0.1.3680043.8.498.{len(kind)}.3"
    if kind == "spacing":
        made.PixelSpacing = [0.16, 0.16]
        made.AccessionNumber = "A2026-17"
        made.RequestAttributesSequence = Sequence([_request()])
        made.ProcedureCodeSequence = Sequence([_coded("399208008", "SCT", "Plain chest X-ray")])
    elif kind == "utf8":
        made.SpecificCharacterSet = "ISO_IR 192"
        made.PatientName = "Wang^XiaoDong=王^小东"
        made.ReferringPhysicianName = "Müller^Jürgen"
    elif kind == "iso2022":
        made.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        made.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    elif kind == "empty":
        for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
            setattr(made, keyword, "")
        for keyword in ("BodyPartExamined", "StudyDescription", "ViewPosition", "PatientOrientation", "ContentTime"):
            delattr(made, keyword)
    return made


def _coded(value: str, scheme: str, meaning: str) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def _request() -> Dataset:
    made = Dataset()
    made.RequestedProcedureID, made.RequestedProcedureDescription = "RP17", "Chest PA"
    made.ScheduledProcedureStepID = "SPS17"
    return made


def ellipse(shape: tuple[int, int], centre: tuple[float, float], axes: tuple[float, float]) -> np.ndarray[Any, Any]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    y, x = (rows / shape[0] - centre[0]) / axes[0], (columns / shape[1] - centre[1]) / axes[1]
    return np.asarray(y * y + x * x <= 1.0)


def film(shape: tuple[int, int], source: Dataset) -> Image:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    pixels = ((rows * 7 + columns * 3) % 4096).astype(np.uint16)
    for x in (0.3, 0.7):
        pixels[ellipse(shape, (0.45, x), (0.33, 0.15))] //= 4
    given = [float(one) for one in source.get("PixelSpacing", [0, 0])]
    return Image(
        pixels=pixels[None],
        spacing_mm=(1.0, given[0], given[1]) if all(given) else None,
        pixel_aspect=1.0,
        modality="CR",
        body_part=source.get("BodyPartExamined", ""),
        view="PA",
        study_uid=source.StudyInstanceUID,
        series_uid=source.SeriesInstanceUID,
        sop_uids=(source.SOPInstanceUID,),
        digest=hashlib.sha256(b"phantom").hexdigest(),
        source="phantom.dcm",
        header=source,
    )


def _pictures(image: Image, masks: list[np.ndarray[Any, Any]], heat: np.ndarray[Any, Any]) -> tuple[Picture, ...]:
    scale = min(1.0, 640 / max(image.pixels.shape[1:]))
    size = (round(image.pixels.shape[2] * scale), round(image.pixels.shape[1] * scale))
    grey = cv2.resize((image.pixels[0] >> 4).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    plain = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    lined = plain.copy()
    for mask in masks:
        small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        lines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(lined, lines, -1, (86, 180, 233), 2, cv2.LINE_AA)
    small_heat = cv2.resize(heat, size)
    colour = cv2.applyColorMap((small_heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    hot = np.asarray(lined * (1 - small_heat[..., None]) + colour * small_heat[..., None], np.uint8)
    return (
        Picture("film", "The film, stretched for display", plain),
        Picture("contours", "Outline of the lungs", lined),
        Picture("heat", "Where the model found its evidence", hot),
    )


def result(
    kind: str = "real",
    shape: tuple[int, int] = (391, 369),
    probability: float = 0.973,
    sides: int = 2,
    trustworthy: bool = True,
    **changes: Any,
) -> Result:
    """A whole result on a small film; `kind` chooses the header."""
    source = header(kind)
    source.Rows, source.Columns = shape
    image = film(shape, source)
    lungs, classifier = model("cxr-lungs"), model("cxr-pneumonia")
    masks = [ellipse(shape, (0.45, x), (0.33, 0.15)) for x in (0.3, 0.7)]
    masks = masks if sides == 2 else [masks[0] | masks[1]]
    regions = []
    for number, mask in enumerate(masks):
        side = SIDES[number] if sides == 2 else None
        size = Measurement(SHARE, 100 * float(mask.mean()), PERCENT, LUNG, side)
        if image.spacing_mm:
            area = float(mask.sum()) * image.spacing_mm[1] * image.spacing_mm[2] / 100
            size = Measurement(AREA, area, CM2, LUNG, side)
        label = f"{side.meaning} lung" if side else "Lungs"
        tracking = f"2.25.{1000 + number}"
        regions.append(Region(label, mask[None], ANATOMY, LUNG, side, lungs, tracking, label, (size,)))
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    far = ((rows / shape[0] - 0.55) / 0.12) ** 2 + ((columns / shape[1] - 0.7) / 0.12) ** 2
    heat = np.rint(np.exp(-far) * FULL_SCALE).astype(np.uint16)
    share = 0.91 if trustworthy else 0.22
    word = "lies" if trustworthy else "does not lie"
    explanation = Explanation(
        PNEUMONIA,
        "class activation map",
        heat,
        share,
        0.5,
        trustworthy,
        f"{share:.0%} of the heat map lies inside the lungs: most of the evidence {word} there.",
        classifier,
    )
    finding = Finding(PNEUMONIA, probability, 0.5, probability >= 0.5, classifier, "2.25.2000", "Pneumonia", LUNG)
    made = Result(
        study_uid=source.StudyInstanceUID,
        source="phantom.dcm",
        digest=image.digest,
        header=source,
        image=image,
        findings=(finding,),
        regions=tuple(regions),
        explanations=(explanation,),
        pictures=_pictures(image, masks, heat),
        models=(lungs, classifier),
        timings=(Timing("acquire", 21.4), Timing("prepare", 3.2), Timing("infer", 11.8), Timing("explain", 9.1)),
    )
    return replace(made, **changes)


def partial(kind: str = "real") -> Result:
    """The lungs outlined, and pneumonia not read."""
    from wetread.errors import REFUSALS

    made = result(kind)
    refusal = Refusal("OUTSIDE-AGE", REFUSALS["OUTSIDE-AGE"], "Model cxr-pneumonia: it was made for children.")
    lungs, classifier = made.models
    pictures = tuple(one for one in made.pictures if one.name != "heat")
    unread = (Unread(classifier, (PNEUMONIA,), refusal),)
    return replace(made, findings=(), explanations=(), pictures=pictures, models=(lungs,), not_read=unread)


def reduced() -> Result:
    """A result of a node that was behind its deadlines, at every step."""
    return result("real", pictures=(), reduced=("documents", "pictures", "builds"))


def late() -> Result:
    """A result that replaces two earlier ones, as an image came late."""
    made = (
        Predecessor("PDF", "2.25.71", "1.2.840.10008.5.1.4.1.1.104.1", "2.25.711"),
        Predecessor("SR", "2.25.72", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.721"),
        Predecessor("SR", "2.25.73", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.731"),
    )
    return result("real", revision=Revision(1, made))


def earlier(number: int = 1, day: str = "20040801", scale: float = 0.9, header: dict[str, str] | None = None) -> Result:
    """A result about an earlier study of the same patient, with smaller lungs and no pneumonia."""
    made = result("real", probability=0.352)
    assert made.image is not None
    source = copy.deepcopy(made.header)
    study, series, instance = (f"2.25.{9000 + 10 * number + part}" for part in range(3))
    source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID = study, series, instance
    source.StudyDate = day
    for keyword, value in (header or {}).items():
        setattr(source, keyword, value)
    regions = [
        replace(one, measurements=tuple(replace(size, value=size.value * scale) for size in one.measurements))
        for one in made.regions
    ]
    image = replace(made.image, header=source, study_uid=study, series_uid=series, sop_uids=(instance,))
    return replace(made, study_uid=study, header=source, image=image, regions=tuple(regions))


def reports(*results: Result) -> list[bytes]:
    """The structured reports about results, and nothing else of them."""
    contexts = (context_of(made, "") for made in results)
    return [encode(sr.dataset(context)) for context in contexts if context is not None]


def followed() -> Result:
    """A result beside which a prior's values stand."""
    now = result("real")
    return replace(now, priors=report.priors(now, tuple(report.reported(reports(earlier()))), 1))


def refused(kind: str = "real", code: str = "WRONG-BODY-PART", with_header: bool = True) -> Result:
    """A result that says why nothing is said."""
    from wetread.errors import REFUSALS

    source = header(kind)
    refusal = Refusal(code, REFUSALS[code], "expected CHEST, got HAND in Body Part Examined")
    digest = hashlib.sha256(b"phantom").hexdigest()
    return Result(
        study_uid=source.StudyInstanceUID if with_header else "",
        source="phantom.dcm",
        digest=digest,
        header=source if with_header else None,
        image=None,
        refusal=refusal,
        timings=(Timing("acquire", 2.0),),
    )
