"""What lies in the words of Pixel Data beside the values of the pixels: it goes, whatever it is.

Overlays once stood there, names among them, and nothing need say that one does.

References
----------
PS3.5 Section 8.1.1 (Bits Stored, High Bit); PS3.3 Section C.9.2 (Overlay Plane Module: in Pixel Data it is retired).
"""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRBigEndian

from wetread.acquire.attributes import whole
from wetread.acquire.codestream import bits_of
from wetread.acquire.syntaxes import SYNTAXES
from wetread.errors import Blocked

__all__ = ["clear_unused", "may_hold_more", "overlays_pixels"]

OVERLAYS = range(0x6000, 0x6100, 2)
_DATA, _ALLOCATED, _POSITION = 0x3000, 0x0100, 0x0102


def overlays_pixels(header: Dataset) -> bool:
    """Whether an overlay lies in bits that are those of the pixels too, so that none can be told from the other."""
    if "PixelData" not in header:
        return False
    _, lowest, high = _layout(header)
    return any(lowest <= position <= high for position in _embedded(header))


def _embedded(header: Dataset) -> list[int]:
    """Return the bits of Pixel Data in which overlays lie that have no data of their own."""
    groups = {tag.group for tag in header.keys() if tag.group in OVERLAYS}  # noqa: SIM118 - a data set yields elements
    bare = [group << 16 for group in groups if group << 16 | _DATA not in header]
    told = [(_number(header, base | _ALLOCATED, 1), _number(header, base | _POSITION, 0)) for base in bare]
    return [position for allocated, position in told if (allocated, position) != (1, 0)]


def _number(header: Dataset, tag: int, default: int) -> int:
    value = header[tag].value if tag in header else None
    if not isinstance(value, int | None):
        raise Blocked("NOT-READABLE", "Where an overlay lies cannot be told.")
    return default if value is None else value


def _layout(header: Dataset) -> tuple[int, int, int]:
    """Return bits allocated, the lowest bit of a pixel's value and the highest."""
    allocated, stored = whole(header, "BitsAllocated"), whole(header, "BitsStored")
    if allocated == stored:
        return allocated, 0, stored - 1
    high = whole(header, "HighBit", default=stored - 1)
    if allocated not in (8, 16, 32) or not 0 < stored <= high + 1 <= allocated:
        raise Blocked("NOT-READABLE", "Which bits are those of its pixels cannot be told.")
    return allocated, high + 1 - stored, high


def may_hold_more(source: FileDataset) -> bool:
    """Whether compressed pixels have bits beside those stored, as far as can be told before they are decoded."""
    allocated, lowest, high = _layout(source)
    stored, syntax = high + 1 - lowest, SYNTAXES.get(source.file_meta.TransferSyntaxUID)
    if stored == allocated:
        return False
    if syntax is None or syntax.family == "RLE":
        return True
    count = max(1, whole(source, "NumberOfFrames", default=1))
    frames = generate_frames(source.PixelData, number_of_frames=count)
    return any(bits_of(frame, syntax.family) > stored for frame in frames)


def clear_unused(source: FileDataset) -> bool:
    """Leave nothing in the unused bits of pixels that are not compressed; whether there was anything.

    Above a negative value stand ones, for readers that do not extend the sign; zeros are left there too.
    """
    allocated, lowest, high = _layout(source)
    if high + 1 - lowest == allocated:
        return False
    old: bytes = source.PixelData
    data, order = bytearray(old), ">" if source.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    words = np.frombuffer(data, f"{order}u{allocated // 8}")
    used = (2 << high) - (1 << lowest)
    if not int(np.bitwise_or.reduce(words)) & ~used:
        return False
    if whole(source, "PixelRepresentation", default=0):
        above, signed = allocated - 1 - high, words.view(f"{order}i{allocated // 8}")
        np.left_shift(words, above, out=words)
        np.right_shift(signed, above, out=signed)
        used |= (1 << allocated) - (1 << high)
    np.bitwise_and(words, used, out=words)
    source.PixelData = bytes(data)
    return data != old
