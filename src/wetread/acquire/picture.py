"""A PNG or JPEG that a person named -> an image with a header made for it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from wetread.acquire.age import ages
from wetread.acquire.content import Content
from wetread.acquire.layout import MIN_SIDE, Layout
from wetread.acquire.pixels import refuse_blank
from wetread.acquire.quiet import FOREIGN_ERRORS
from wetread.errors import NotRead
from wetread.records import Image, Pixels

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_SYNTHETIC = "1.2.840.10008.5.1.4.1.1.1"  # Computed Radiography Image Storage
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True, slots=True)
class Assumption:
    """What a person who names a picture says about it; a picture cannot say it itself."""

    modality: str = "CR"
    body_part: str = "CHEST"
    view: str = ""
    age: int | None = None  # of the patient, completed years, 1 to 999; None: not known


def is_picture(data: Content) -> bool:
    """Whether the bytes start as a PNG or JPEG."""
    return data[: len(_PNG)].startswith((_PNG, _JPEG))


def read_picture(name: str, data: Content, digest: str, max_pixels: int, assume: Assumption) -> Image:
    """Decode a greyscale picture; white is taken as more attenuating.

    Parameters
    ----------
    name
        Source of the picture, for people.
    data
        The file.
    digest
        Its SHA-256, hex.  All UIDs are derived from it.
    max_pixels
        Most pixels that are decoded.
    assume
        Modality, body part, view and age.

    Raises
    ------
    NotRead
        BAD-PIXELS, TOO-LARGE, TOO-SMALL, COLOUR-IMAGE, BLANK-IMAGE, MULTI-FRAME.
    """
    try:
        opened = Pillow.open(BytesIO(data), formats=("PNG", "JPEG"))
    except Pillow.DecompressionBombError as error:
        raise NotRead("TOO-LARGE", "The picture has more pixels than its decoder takes.") from error
    except FOREIGN_ERRORS as error:
        raise NotRead("BAD-PIXELS", "The picture's header cannot be read.") from error
    with opened:
        _check_size(opened, max_pixels)
        try:
            opened.load()
            pixels = _grey(ImageOps.exif_transpose(opened))
        except FOREIGN_ERRORS as error:
            raise NotRead("BAD-PIXELS", "The picture is damaged or ends too early.") from error
    rows, columns = pixels.shape
    bits = 8 * pixels.itemsize
    refuse_blank(pixels[None], Layout(rows, columns, 1, bits, bits, bits - 1, False, False))
    header = _header(pixels, digest, assume, lossy=data[: len(_JPEG)] == _JPEG)
    made = np.ascontiguousarray(pixels[None])
    made.flags.writeable = False
    return Image(
        pixels=made,
        spacing_mm=None,
        pixel_aspect=1.0,
        modality=assume.modality,
        body_part=assume.body_part,
        view=assume.view,
        study_uid=str(header.StudyInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        sop_uids=(str(header.SOPInstanceUID),),
        digest=digest,
        source=name,
        header=header,
        ages=ages(header),
    )


def _check_size(opened: Pillow.Image, max_pixels: int) -> None:
    columns, rows = opened.size
    if rows * columns > max_pixels:
        raise NotRead("TOO-LARGE", f"Expected at most {max_pixels} pixels, got {rows} x {columns}.")
    if min(rows, columns) < MIN_SIDE:
        raise NotRead("TOO-SMALL", f"Expected at least {MIN_SIDE} pixels a side, got {rows} x {columns}.")
    if getattr(opened, "n_frames", 1) > 1:
        raise NotRead("MULTI-FRAME", "The picture is animated.")


def _grey(opened: Pillow.Image) -> Pixels:
    """Return (y, x) uint8 or uint16; colour channels must be equal, and nothing may shine through."""
    if opened.mode in _DEEP:
        return np.asarray(opened).astype(np.uint16)
    if opened.mode in ("L", "1"):
        return np.asarray(opened.convert("L"))
    if opened.mode in ("P", "LA", "PA", "RGB", "RGBA", "YCbCr"):
        channels = np.asarray(opened.convert("RGBA"))
        first = channels[..., 0]
        if (channels[..., 3] != 255).any():
            raise NotRead("COLOUR-IMAGE", "The picture is transparent in places.")
        if (channels[..., 1] == first).all() and (channels[..., 2] == first).all():
            return first
    raise NotRead("COLOUR-IMAGE", "The picture's colour channels differ.")


def _header(pixels: Pixels, digest: str, assume: Assumption, lossy: bool) -> Dataset:
    """Make the attributes that documents refer to; the patient stays empty.

    No ratio and no method stand beside the loss: the size before nobody knows, and they come together only.
    """
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ImageType = ["DERIVED", "PRIMARY"]
    header.SOPClassUID = _SYNTHETIC
    header.SOPInstanceUID, header.SeriesInstanceUID, header.StudyInstanceUID = (
        derived_uid(f"{level} {digest}") for level in ("instance", "series", "study")
    )
    header.Modality, header.BodyPartExamined, header.ViewPosition = assume.modality, assume.body_part, assume.view
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "Manufacturer", "StudyID"):
        setattr(header, keyword, "")
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
        setattr(header, keyword, "")
    if assume.age is not None:
        header.PatientAge = f"{assume.age:03d}Y"
    header.SeriesNumber, header.InstanceNumber = 1, 1
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = pixels.shape
    header.BitsAllocated = header.BitsStored = 8 * pixels.itemsize
    header.HighBit, header.PixelRepresentation = header.BitsStored - 1, 0
    if lossy:
        header.LossyImageCompression = "01"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = uid.UID(_SYNTHETIC)
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    return header


def derived_uid(seed: str) -> str:
    """Return the UID that always belongs to a text (PS3.5 Annex B.2): 2.25 and 128 bits of SHA-256."""
    return f"2.25.{int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], 'big')}"
