"""Stored values -> what the detector measured: unused bits, polarity and the modality LUT, each once.

The polarity of CT and PET says only how values are shown, so there none is mirrored.
Windows are never applied here, and nothing is normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from wetread.acquire.attributes import bad, number, values
from wetread.acquire.frames import raw_frames
from wetread.acquire.layout import Layout
from wetread.acquire.parse import Parsed
from wetread.acquire.syntaxes import SYNTAXES
from wetread.errors import NotRead
from wetread.records import Pixels

#: An image is blank when all but this share of its pixels lie within `BLANK_LEVELS` of the median.
BLANK_SHARE = 0.01
BLANK_LEVELS = 2
_SAMPLE_SIDE = 128
_MAX_LUT = 1 << 16


def decode_pixels(parsed: Parsed, layout: Layout, may_be_blank: bool = False) -> tuple[Pixels, bool]:
    """Decode an image up to the modality LUT.

    Parameters
    ----------
    parsed
        A file with Pixel Data.
    layout
        Its checked Image Pixel Module.
    may_be_blank
        Whether an image without content is let through: a slice among others.

    Returns
    -------
    pixels
        (z, y, x), read-only; uint8, uint16, int16 or int32, and float32 only where
        the rescale is no whole number; larger = more attenuating.
    blank
        Whether they have no content.

    Raises
    ------
    NotRead
        BLANK-IMAGE, BAD-TAG, and what `wetread.acquire.frames.raw_frames` raises.

    References
    ----------
    DICOM PS3.3 Sections C.7.6.3 and C.11.1, PS3.5 Section 8.1.1.
    """
    stored, rescale, blank = decode_stored(parsed, layout, may_be_blank)
    made = stored if rescale is None else rescaled(stored, rescale)
    made.flags.writeable = False
    return made, blank


@dataclass(frozen=True, slots=True)
class Rescale:
    """A rescale by whole numbers that stored values still wait for."""

    slope: int
    intercept: int
    kind: np.dtype[np.integer]  # holds whatever can come out


def decode_stored(parsed: Parsed, layout: Layout, may_be_blank: bool) -> tuple[Pixels, Rescale | None, bool]:
    """Decode an image and leave a rescale by whole numbers to whoever owns the array that it goes into.

    Parameters
    ----------
    parsed, layout, may_be_blank
        As in `decode_pixels`.

    Returns
    -------
    pixels
        (z, y, x), stored values of the same shape; final where there is no rescale. May be a
        view of the file.
    rescale
        What makes them final, None where they are.
    blank
        Whether they have no content.

    Raises
    ------
    NotRead
        As `decode_pixels`.
    """
    raw = raw_frames(parsed, layout)
    syntax = SYNTAXES.get(parsed.syntax)
    # Codestreams other than RLE hold values, not words: they have no bits below the lowest.
    shift = layout.high + 1 - layout.stored if syntax is None or syntax.family in ("", "RLE") else 0
    stored = stored_values(raw, layout, shift)
    blank = is_blank(stored, layout)
    if blank and not may_be_blank:
        raise _blank(layout)
    if values(parsed.header, "ModalityLUTSequence"):
        return _through_lut(stored, parsed.header, layout, parsed.little_endian), None, blank
    return *_with_rescale(_upright(stored, layout), parsed.header, layout), blank


def rescaled(stored: Pixels, rescale: Rescale, out: Pixels | None = None) -> Pixels:
    """Apply a rescale by whole numbers, in one pass where the types are of one size.

    Unsigned words wrap around, so sums and products come out right whenever the result fits
    its type, whatever lies between.

    Parameters
    ----------
    stored
        Integers of any shape.
    rescale
        Slope, intercept, and the type of a new array.
    out
        An integer array of the same shape to fill, of a type that holds every result.

    Returns
    -------
    `out`, or a new array of `rescale.kind`; `stored` itself if nothing changes.
    """
    if out is None and (rescale.slope, rescale.intercept) == (1, 0):
        return stored.astype(rescale.kind, copy=False)
    made: Pixels = np.empty(stored.shape, rescale.kind) if out is None else out
    words = made.view(f"=u{made.itemsize}")
    slope, intercept = (words.dtype.type(one % (1 << 8 * words.itemsize)) for one in (rescale.slope, rescale.intercept))
    if stored.itemsize == words.itemsize:
        now = stored.view(words.dtype)
    else:
        np.copyto(words, stored, casting="unsafe")
        now = words
    if slope != 1:
        now = np.multiply(now, slope, out=words)
    np.add(now, intercept, out=words)
    return made


def stored_values(raw: Pixels, layout: Layout, shift: int) -> Pixels:
    """Cut the unused bits off and extend the sign.

    Parameters
    ----------
    raw
        Unsigned words of `layout.allocated` bits.
    layout
        Bits stored and signedness.
    shift
        Bits below the value.
    """
    if layout.signed:
        above = layout.allocated - layout.stored - shift
        if above:
            raw = np.left_shift(raw, raw.dtype.type(above))
        signed = raw.view(f"=i{raw.dtype.itemsize}")
        if above or shift:
            signed = np.right_shift(signed, signed.dtype.type(above + shift))
        return signed
    if shift:
        raw = np.right_shift(raw, raw.dtype.type(shift))
    mask = (1 << layout.stored) - 1
    if layout.stored + shift < layout.allocated and int(raw.max()) > mask:
        raw = np.bitwise_and(raw, raw.dtype.type(mask))
    return raw


def is_blank(stored: Pixels, layout: Layout) -> bool:
    """Whether an image has no content.

    A regular sample is looked at first; it is enough for every image that has content.

    Parameters
    ----------
    stored
        (z, y, x) integers.
    layout
        Bits stored: below 8 of them every level counts.
    """
    levels = _levels(layout)
    steps = tuple(max(1, side // _SAMPLE_SIDE) for side in stored.shape[1:])
    return all(_is_flat(seen.ravel(), levels) for seen in (stored[:, :: steps[0], :: steps[1]], stored))


def _is_flat(sample: Pixels, levels: int) -> bool:
    """Whether all but a hundredth of the values lie within so many levels of their median."""
    ranked, middle = np.sort(sample), sample.size // 2
    median = int((int(ranked[middle]) + int(ranked[middle - 1 + sample.size % 2])) / 2)
    kind = np.iinfo(ranked.dtype)
    low, high = (ranked.dtype.type(np.clip(median + one, kind.min, kind.max)) for one in (-levels, levels))
    near = int(np.searchsorted(ranked, high, "right")) - int(np.searchsorted(ranked, low, "left"))
    return sample.size - near < BLANK_SHARE * sample.size


def _levels(layout: Layout) -> int:
    return BLANK_LEVELS if layout.stored >= 8 else 0


def _blank(layout: Layout) -> NotRead:
    return NotRead("BLANK-IMAGE", f"More than 99 % of the pixels lie within {_levels(layout)} levels of the median.")


def refuse_blank(stored: Pixels, layout: Layout) -> None:
    """Refuse an image without content.

    Raises
    ------
    NotRead
        BLANK-IMAGE.
    """
    if is_blank(stored, layout):
        raise _blank(layout)


def _limits(layout: Layout) -> tuple[int, int]:
    """Smallest and largest value that the stored bits can hold."""
    if layout.signed:
        return -(1 << layout.stored - 1), (1 << layout.stored - 1) - 1
    return 0, (1 << layout.stored) - 1


def _upright(stored: Pixels, layout: Layout) -> Pixels:
    """Mirror an inverse image within the range of its stored bits (PS3.3 Section C.7.6.3.1.2)."""
    if not layout.inverse:
        return stored
    if layout.signed:
        mirrored: Pixels = np.invert(stored)
    else:
        mirrored = np.bitwise_xor(stored, stored.dtype.type((1 << layout.stored) - 1))
    return mirrored


def _with_rescale(stored: Pixels, header: Dataset, layout: Layout) -> tuple[Pixels, Rescale | None]:
    """Read Rescale Slope and Intercept, and apply them unless they are whole numbers, which can wait.

    For an inverse image the mirrored values stand in for the stored.
    """
    slope = number(header, "RescaleSlope")
    intercept = number(header, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    if slope == 0:
        raise bad("RescaleSlope", "a number other than 0", "0")
    ends = [slope * end + intercept for end in _limits(layout)]
    if max(abs(end) for end in ends) > 1e30:
        raise bad("RescaleSlope", "values that can be measured", "a slope and intercept beyond them")
    whole = slope.is_integer() and intercept.is_integer()
    kinds = ("u1", "u2", "i2", "i4") if layout.allocated == 8 else ("u2", "i2", "i4")
    kind = _integer_kind(int(min(ends)), int(max(ends)), kinds) if whole else None
    if kind is None:
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32), None
    if kind == np.int32:  # the values that are there fit 16 bits in nearly every CT: half the memory
        there = [int(slope) * int(end) + int(intercept) for end in (stored.min(), stored.max())]
        kind = _integer_kind(min(there), max(there), ("i2", "i4")) or kind
    return stored, Rescale(int(slope), int(intercept), kind)


def _integer_kind(low: int, high: int, kinds: Sequence[str]) -> np.dtype[np.integer] | None:
    """Find the first of some integer types that holds a range, None when none does."""
    for kind in kinds:
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return np.dtype(f"={kind}")
    return None


def _through_lut(stored: Pixels, header: Dataset, layout: Layout, little_endian: bool) -> Pixels:
    """Look the values up in the Modality LUT, and mirror an inverse image in its output range."""
    item = values(header, "ModalityLUTSequence")[0]
    descriptor, entries = values(item, "LUTDescriptor"), values(item, "LUTData")
    if len(descriptor) != 3 or not all(isinstance(part, int) for part in descriptor):
        raise bad("LUTDescriptor", "three whole numbers", f"{len(descriptor)} values")
    count, first, bits = descriptor[0] or _MAX_LUT, descriptor[1], descriptor[2]
    if len(entries) == 1 and isinstance(entries[0], bytes):
        entries = list(np.frombuffer(entries[0][: len(entries[0]) & ~1], "<u2" if little_endian else ">u2"))
    if not 1 <= bits <= 16 or not 1 <= count <= len(entries):
        raise bad("LUTDescriptor", f"at most {len(entries)} entries of 1 to 16 bits", f"{count} of {bits}")
    if layout.signed and first > 0x7FFF:
        first -= 1 << 16
    table = (np.asarray(entries[:count], dtype=np.int64) & ((1 << bits) - 1)).astype(np.uint16)
    if layout.inverse:
        table = np.bitwise_xor(table, np.uint16((1 << bits) - 1))
    index = np.clip(stored.astype(np.int64) - first, 0, count - 1)
    looked_up: Pixels = table[index]
    return looked_up
