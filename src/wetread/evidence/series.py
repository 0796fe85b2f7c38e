"""A CT series of balls in noise, as files: what the rows about series are measured on."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from wetread.records import Code, Image, Mask, ModelIdentity, Region, Result

SLICES, SIDE = 200, 512
_ROOT = "1.2.826.0.1.3680043.10.1234.77"
#: Study Instance UID.
STUDY = f"{_ROOT}.1"
_LIVER = Code("10200004", "SCT", "Liver")
_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_AI = Code("113060", "DCM", "Artificial Intelligence")


def files(slices: int, side: int) -> list[tuple[str, bytes]]:
    """Name and Part 10 bytes of each slice, uncompressed, 16 bit, in order from the feet to the head."""
    rng = np.random.default_rng(0)
    return [(f"{at:04d}.dcm", _slice(at, rng.integers(0, 2048, (side, side), np.uint16))) for at in range(slices)]


def _slice(at: int, stored: np.ndarray[tuple[int, int], np.dtype[np.uint16]]) -> bytes:
    made, out = Dataset(), BytesIO()
    made.SOPClassUID, made.SOPInstanceUID = uid.CTImageStorage, f"{_ROOT}.3.{at + 1}"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = (f"{_ROOT}.{n}" for n in (1, 2, 4))
    made.ImageType, made.Modality, made.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT", at + 1
    made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = "SPEED^", "SPEED", "", ""
    made.StudyDate, made.StudyTime, made.StudyID, made.AccessionNumber = "20240131", "120000", "1", ""
    made.ReferringPhysicianName, made.PositionReferenceIndicator, made.SeriesNumber = "", "", 1
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 2 * at], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.SliceThickness, made.KVP, made.Manufacturer = [0.7, 0.7], 2, 120, "Wetread"
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = 1, -1024, "HU"
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = *stored.shape, 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.PixelData = stored.tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def masks(slices: int, side: int) -> tuple[Mask, Mask]:
    """Two balls beside each other, (z, y, x), that fill nine tenths of the slices."""
    z, y, x = (np.linspace(-1, 1, count) for count in (slices, side, side))
    height = (z[:, None, None] / 0.9) ** 2
    left, right = (
        height + (y[None, :, None] / 0.5) ** 2 + ((x[None, None, :] - at) / 0.35) ** 2 < 1 for at in (-0.4, 0.4)
    )
    return left, right


def result(image: Image, outlined: tuple[Mask, ...]) -> Result:
    """What a segmenter would have said of a series: the masks as regions."""
    by = ModelIdentity("speed", "1.0.0", "fp32", "0" * 64, f"{_ROOT}.9", "Wetread", _AI, "none", "0", "CPU", "0" * 64)
    regions = tuple(
        Region(f"Ball {number}", mask, _ANATOMY, _LIVER, None, by, f"{_ROOT}.8.{number}", f"Ball {number}")
        for number, mask in enumerate(outlined, 1)
    )
    return Result(image.study_uid, image.source, image.digest, image.header, image, regions=regions, models=(by,))
