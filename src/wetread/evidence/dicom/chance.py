"""Results at random: found, not found and refused; one to four regions, apart or overlapping; upright or oblique."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from wetread import acquire
from wetread.errors import REFUSALS
from wetread.records import (
    FULL_SCALE,
    Code,
    Explanation,
    Finding,
    Image,
    Mask,
    Measurement,
    ModelIdentity,
    Picture,
    Refusal,
    Region,
    Result,
)
from wetread.report.codes import ARTIFICIAL_INTELLIGENCE
from wetread.settings import Settings
from wetread.uids import derive

CLASSES = {"CR": uid.ComputedRadiographyImageStorage, "CT": uid.CTImageStorage, "MR": uid.MRImageStorage}
_PARTS = (
    Code("39607008", "SCT", "Lung"),
    Code("10200004", "SCT", "Liver"),
    Code("12738006", "SCT", "Brain"),
    Code("80891009", "SCT", "Heart"),
)
_FINDINGS = (Code("233604007", "SCT", "Pneumonia"), Code("50960005", "SCT", "Hemorrhage"))
_SIDES = (None, Code("24028007", "SCT", "Right"), Code("7771000", "SCT", "Left"))
_CATEGORY = Code("123037004", "SCT", "Anatomical Structure")
_VOLUME, _ML = Code("118565006", "SCT", "Volume"), Code("ml", "UCUM", "milliliter")
_NAMES = (("", "Doe^Jane"), ("ISO_IR 100", "Müller^Jürgen"), ("ISO_IR 192", "Wang^XiaoDong=王^小东"))


@dataclass(frozen=True, slots=True)
class Case:
    """One result and the files that it is about."""

    kind: str  # "CR", "CT" or "MR"
    state: str  # "positive", "negative" or "refused"
    result: Result
    files: tuple[bytes, ...]
    overlapping: bool


def case(number: int) -> Case:
    """Return the same case for the same number."""
    rng = np.random.default_rng(number)
    kind = ("CR", "CT", "MR")[number % 3]
    state = "refused" if rng.random() < 0.1 else "positive" if rng.random() < 0.6 else "negative"
    slices = 1 if kind == "CR" else int(rng.integers(2, 7))
    headers = _headers(rng, number, kind, slices)
    files = tuple(_file(one) for one in headers)
    (study,) = acquire.decode([(f"{at}.dcm", one) for at, one in enumerate(files)], Settings())
    (image,) = study.images
    if state == "refused":
        code = sorted(REFUSALS)[int(rng.integers(len(REFUSALS)))]
        refusal = Refusal(code, REFUSALS[code], "expected CHEST, got HAND")
        refused = Result(image.study_uid, image.source, image.digest, image.header, None, sop_uids=image.sop_uids)
        return Case(kind, state, replace(refused, refusal=refusal), files, False)
    overlapping = bool(rng.random() < 0.3)
    return Case(kind, state, _result(rng, number, image, state == "positive", overlapping), files, overlapping)


def _headers(rng: np.random.Generator, number: int, kind: str, slices: int) -> list[Dataset]:
    side = (int(rng.integers(34, 60)), int(rng.integers(34, 60)))
    across, down = np.eye(3)[:2] if rng.random() < 0.3 else np.linalg.qr(rng.normal(size=(3, 3)))[0][:2]
    spacing, step = rng.uniform(0.3, 1.5, 2), rng.uniform(1.0, 6.0)
    origin, pixels = rng.uniform(-200, 200, 3), rng.integers(0, 2000, (slices, *side), np.uint16)
    charset, name = _NAMES[int(rng.integers(len(_NAMES)))]
    common = {
        "PatientName": name,
        "PatientID": f"P-{number}",
        "PatientBirthDate": "19600229",
        "PatientSex": "O",
        "StudyDate": "20260131",
        "StudyTime": "101112",
        "StudyID": str(number % 7 or ""),
        "SeriesNumber": "3",
        "ReferringPhysicianName": "",
        "AccessionNumber": f"A{number}" if rng.random() < 0.5 else "",
        "ContentDate": "20260131",
        "ContentTime": "101200",
        "Manufacturer": "Maker",
        "PositionReferenceIndicator": "",
    }
    if charset:
        common["SpecificCharacterSet"] = charset
    if rng.random() < 0.6:
        common["BodyPartExamined"] = "CHEST" if kind == "CR" else "ABDOMEN"
    made = []
    for at in range(slices):
        one = Dataset()
        for keyword, value in common.items():
            setattr(one, keyword, value)
        one.SOPClassUID, one.Modality, one.InstanceNumber = CLASSES[kind], kind, at + 1
        one.StudyInstanceUID, one.SeriesInstanceUID = (
            derive("dicom", str(number), part) for part in ("study", "series")
        )
        one.SOPInstanceUID = derive("dicom", str(number), "instance", str(at))
        one.ImageType = ["ORIGINAL", "PRIMARY"] + ([] if kind == "CR" else ["AXIAL" if kind == "CT" else "M"])
        if kind == "CR":
            one.PatientOrientation = ["L", "F"] if rng.random() < 0.7 else ""
            if rng.random() < 0.7:
                one.PixelSpacing = [f"{part:.4f}" for part in spacing]
        else:
            one.FrameOfReferenceUID = derive("dicom", str(number), "frame")
            one.ImagePositionPatient = [f"{part:.6f}" for part in origin + at * step * np.cross(across, down)]
            one.ImageOrientationPatient = [f"{part:.8f}" for part in (*across, *down)]
            one.PixelSpacing, one.SliceThickness = [f"{part:.4f}" for part in spacing], f"{step:.3f}"
            if kind == "CT":
                one.RescaleIntercept, one.RescaleSlope, one.RescaleType = "-1024", "1", "HU"
        one.SamplesPerPixel, one.PhotometricInterpretation, (one.Rows, one.Columns) = 1, "MONOCHROME2", side
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.PixelData = pixels[at].tobytes()
        made.append(one)
    return made


def _file(dataset: Dataset) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _model(name: str) -> ModelIdentity:
    device = derive("dicom", "device", name)
    family = ARTIFICIAL_INTELLIGENCE
    return ModelIdentity(name, "1.2.0", "int8", "a" * 64, device, "Maker", family, "none", "1", "CPU", "b" * 64)


def _masks(rng: np.random.Generator, shape: tuple[int, ...], count: int, overlapping: bool) -> list[Mask]:
    """Balls and boxes of noise; apart, they share no voxel, and one that would be left empty is left out."""
    taken, made = np.zeros(shape, bool), []
    for _ in range(count):
        low = [int(rng.integers(0, max(1, size // 2))) for size in shape]
        high = [int(rng.integers(start + 1, size + 1)) for start, size in zip(low, shape, strict=True)]
        mask = np.zeros(shape, bool)
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
        mask &= rng.random(shape) < 0.8
        mask &= np.ones(shape, bool) if overlapping else ~taken
        taken |= mask
        made += [mask] if mask.any() else []
    return made


def _result(rng: np.random.Generator, number: int, image: Image, positive: bool, overlapping: bool) -> Result:
    outliner, classifier = _model("outliner"), _model("classifier")
    regions = []
    for at, mask in enumerate(_masks(rng, image.pixels.shape, int(rng.integers(0, 5)), overlapping)):
        part, side = _PARTS[at], _SIDES[int(rng.integers(3))]
        size = Measurement(_VOLUME, float(10 ** rng.uniform(-3, 4)), _ML, part, side)
        uid_ = derive("dicom", "tracking", str(number), str(at))
        regions.append(Region(f"Part {at}", mask, _CATEGORY, part, side, outliner, uid_, f"Part {at}", (size,)))
    threshold = float(rng.uniform(0.2, 0.8))
    probability = float(rng.uniform(threshold, 1) if positive else rng.uniform(0, threshold * 0.99))
    what, peak = _FINDINGS[number % 2], int(rng.integers(len(image.pixels)))
    slices = (peak,) if positive and len(image.pixels) > 1 else ()
    finding = Finding(
        *(what, probability, threshold, positive, classifier, derive("dicom", "f", str(number)), what.meaning),
        slices=slices,
        peak=peak,
    )
    heat = rng.integers(0, FULL_SCALE + 1, image.pixels.shape[1:], np.uint16)
    share = float(rng.random())
    said = f"{share:.0%} of the heat map lies inside."
    map_ = Explanation(what, "class activation map", heat, share, 0.5, share >= 0.5, said, classifier, peak, "body")
    picture = Picture("heat", "Where it looked", rng.integers(0, 255, (60, 80, 3), np.uint8))
    return Result(
        *(image.study_uid, image.source, image.digest, image.header, image),
        findings=(finding,),
        regions=tuple(regions),
        explanations=(map_,),
        pictures=(picture,),
        models=(outliner, classifier) if regions else (classifier,),
    )
