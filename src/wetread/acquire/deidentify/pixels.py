"""Text in the pixels: where a person said that it stands, it is blacked out.

The first of the site's rules (`wetread.routes.burned`) that fits an image decides; one without rectangles says that
nothing is burned into such images.

References
----------
PS3.15 Section E.3.1 (Clean Pixel Data Option); PS3.3 Sections C.7.6.1.1.2 (Image Type), C.7.6.3 (Image Pixel Module)
and C.12.1.1.5 (Burned In Annotation).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian

from wetread.acquire.attributes import text, values, whole
from wetread.errors import Blocked, NotRead
from wetread.records import Pixels
from wetread.routes.burned import BurnedIn, Rectangle
from wetread.routes.rule import fits

__all__ = ["black_out", "rule_for"]

#: Conditions that are patterns -> the attribute that they are held against.
PATTERNS = {
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "modality": "Modality",
    "image_type": "ImageType",
    "sop_class": "SOPClassUID",
}
#: What black is, where a sample says it by itself; of greys it is the darkest that there is.
_BLACK = {"RGB": (0, 0, 0), "YBR_FULL": (0, 128, 128), "PALETTE COLOR": (0,)}


def rule_for(header: Dataset, rules: tuple[BurnedIn, ...]) -> BurnedIn | None:
    """Return the first rule that fits an image; None if none does."""
    return next((rule for rule in rules if _holds(rule, header)), None)


def _holds(rule: BurnedIn, header: Dataset) -> bool:
    sides = ((rule.rows, "Rows"), (rule.columns, "Columns"))
    if any(wanted and wanted != whole(header, keyword, default=0) for wanted, keyword in sides):
        return False
    held = ((getattr(rule, name), keyword) for name, keyword in PATTERNS.items())
    return all(fits(_told(header, keyword), patterns) for patterns, keyword in held if patterns)


def _told(header: Dataset, keyword: str) -> str:
    return "\\".join(str(value).strip() for value in values(header, keyword))


def black_out(source: FileDataset, rectangles: tuple[Rectangle, ...]) -> None:
    """Black rectangles out in every frame of an image whose pixels are not compressed.

    Raises
    ------
    Blocked
        NOT-READABLE: its pixels lie in a way that is not known here.
    """
    data = bytearray(source.get("PixelData") or b"")
    try:
        frames = _frames(source, data)
    except (NotRead, ValueError) as error:
        raise Blocked("NOT-READABLE", "Its pixels cannot be blacked out.") from error
    black = _black(source, frames)
    for left, top, width, height in rectangles:
        frames[:, top : top + height, left : left + width] = black
    source.PixelData = bytes(data)


def _frames(source: FileDataset, data: bytearray) -> Pixels:
    """Return a view of the pixels, (frames, y, x, samples)."""
    allocated, samples = whole(source, "BitsAllocated"), whole(source, "SamplesPerPixel", default=1)
    if allocated not in (8, 16, 32) or source.file_meta.TransferSyntaxUID == ExplicitVRBigEndian:
        raise ValueError("expected whole bytes, the lowest first")
    count = max(1, whole(source, "NumberOfFrames", default=1))
    sides = (whole(source, "Rows"), whole(source, "Columns"))
    planar = samples > 1 and whole(source, "PlanarConfiguration", default=0) == 1
    shape = (count, samples, *sides) if planar else (count, *sides, samples)
    kind = "i" if whole(source, "PixelRepresentation", default=0) else "u"
    made = np.frombuffer(data, f"<{kind}{allocated // 8}", math.prod(shape)).reshape(shape)
    return np.moveaxis(made, 1, -1) if planar else made


def _black(source: Dataset, frames: Pixels) -> Any:
    photometric = text(source, "PhotometricInterpretation")
    if photometric == "MONOCHROME2":
        return frames.min()
    if photometric == "MONOCHROME1":
        return frames.max()
    if photometric not in _BLACK or len(_BLACK[photometric]) != frames.shape[-1]:
        raise Blocked("NOT-READABLE", "It has colours that cannot be blacked out.")
    return np.array(_BLACK[photometric], frames.dtype)
