"""Bytes of a DICOM file -> its attributes, and where its pixels lie.  Nothing is decoded here.

The pixels are never copied: the parser stops in front of them and says where they are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset

from wetread.acquire.content import MAX_READS, Content, Counted
from wetread.acquire.quiet import FOREIGN_ERRORS
from wetread.acquire.settle import Known, Recalled, settle
from wetread.acquire.walk import UNDEFINED, Unusual, Walk
from wetread.errors import NotRead

PREAMBLE_BYTES = 128
MAX_ELEMENTS = 20_000
MAX_INFLATE_RATIO = 100

_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}

_LONG_VRS = (b"OB", b"OW", b"UN", b"OF", b"OD", b"OL", b"OV")


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the value of the pixel data lies in `Parsed.data`.

    `length` is what the element declares, in bytes; None for encapsulated frames.
    """

    keyword: str
    vr: str
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A DICOM file taken apart, nothing decoded."""

    header: Dataset
    syntax: str  # Transfer Syntax UID, "" when the file names none
    little_endian: bool
    data: Content  # the file, or the data set of a deflated one after inflating
    pixel: PixelElement | None
    unreadable: frozenset[int]  # tags of top-level elements that could not be converted


def looks_like_dicom(data: Content) -> bool:
    """Whether the bytes start as a DICOM file, or as a data set without its preamble.

    Parameters
    ----------
    data
        The whole file, or at least its first 132 bytes.

    References
    ----------
    DICOM PS3.10 Section 7.1.
    """
    if data[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM":
        return True
    if len(data) < 16:
        return False
    group, element, length = struct.unpack_from("<HHL", data)
    if group not in (0x0002, 0x0008) or element > 0x0100:
        return False
    return data[4:6] in (b"UL", b"CS", b"UI", b"OB", b"DA", b"TM", b"SH", b"SQ") or 0 < length <= 64


def parse(data: Content, max_bytes: int, known: Known | None = None, everything: bool = False) -> Parsed:
    """Take a DICOM file apart.

    Parameters
    ----------
    data
        The file; a deflated data set is inflated within `max_bytes` and 100:1.
    max_bytes
        Most bytes that a data set may inflate to.
    known
        Values that earlier files held, see `wetread.acquire.settle.settle`; the slices of a
        series share most.
    everything
        Keep also what nobody needs to read an image, however large: documents, overlays, curves.

    Raises
    ------
    NotRead
        NOT-DICOM, DAMAGED-FILE (cannot be parsed, ends inside its header, nested deeper
        than 32, more than 20 000 elements), TOO-LARGE (inflates beyond the bounds).

    References
    ----------
    DICOM PS3.10 Section 7, PS3.5 Section 7 and Annex A.
    """
    if not looks_like_dicom(data):
        raise NotRead("NOT-DICOM", "Expected DICM after a preamble of 128 bytes.")
    start = PREAMBLE_BYTES + 4 if data[PREAMBLE_BYTES : PREAMBLE_BYTES + 4] == b"DICM" else 0
    meta, start, recalled = _read(data, start, False, True, lambda tag: tag >> 16 != 2, known)
    settle(meta, known, recalled)
    syntax = str(meta.get("TransferSyntaxUID", None) or "")
    implicit, little = _encoding(syntax, data, start)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        data, start = _inflate(data[start:], max_bytes), 0
    header, end, recalled = _read(data, start, implicit, little, _PIXEL_TAGS.__contains__, known)
    if len(data) > start and not len(header):
        raise NotRead("DAMAGED-FILE", "The data set holds no element that can be parsed.")
    pixel = _pixel_element(data, end, bool(header.original_encoding[0]), little)
    header.file_meta = FileMetaDataset(meta)
    return Parsed(header, syntax, little, data, pixel, settle(header, known, recalled, everything))


def _encoding(syntax: str, data: Content, start: int) -> tuple[bool, bool]:
    """Implicit VR?, little endian?  Without a syntax the first element shows it."""
    if not syntax:
        return not (data[start + 4 : start + 6].isalpha() and data[start + 4 : start + 6].isupper()), True
    return syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian


def _read(
    data: Content, start: int, implicit: bool, little: bool, stop: Callable[[int], bool], known: Known | None
) -> tuple[Dataset, int, Recalled | None]:
    """Read elements up to the first that `stop` names; also where that one starts, and which are known."""
    stream = Counted(data)
    if known is not None and little:
        walk = Walk(stream, data, start, implicit, known)
        try:
            dataset = walk.run(stop, MAX_ELEMENTS)
            return dataset, walk.end, walk.recalled
        except Unusual:
            if stream.reads <= MAX_READS:  # what costs too much is not tried twice
                stream = Counted(data)
    dataset, end = _read_plainly(stream, data, start, implicit, little, stop)
    return dataset, end, None


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _read_plainly(
    stream: Counted, data: Content, start: int, implicit: bool, little: bool, stop: Callable[[int], bool]
) -> tuple[Dataset, int]:
    """Let pydicom read, element by element."""
    stream.seek(start)
    count, end = 0, start
    places: dict[int, tuple[int, int]] = {}

    def guard(tag: int, vr: str | None, length: int) -> bool:
        nonlocal count, end
        count += 1
        if stop(tag):
            end = len(data)
            return True
        at = stream.tell()
        if count > MAX_ELEMENTS:
            raise NotRead("DAMAGED-FILE", f"The data set has more than {MAX_ELEMENTS} elements.")
        if length not in (UNDEFINED, 0) and at + length > len(data):
            told = f"declares {length} bytes, the file has {len(data) - at} left."
            raise NotRead("DAMAGED-FILE", f"Element {_name(tag)} {told}")
        end = len(data) if length == UNDEFINED else at + length
        first, last = places.setdefault(tag, (at, end))
        if first != at and data[first:last] != data[at:end]:  # some take the first, others the last
            told = "is there twice, with different values (PS3.5 Section 7.1)."
            raise NotRead("DAMAGED-FILE", f"Element {_name(tag)} {told}")
        return False

    try:
        dataset = read_dataset(stream, implicit, little, stop_when=guard)
    except FOREIGN_ERRORS as error:
        raise NotRead("DAMAGED-FILE", f"The header cannot be parsed ({type(error).__name__}).") from error
    if end != len(data):
        raise NotRead("DAMAGED-FILE", f"The file ends inside an element that starts at byte {end}.")
    return dataset, stream.tell()


def _inflate(data: bytes, max_bytes: int) -> bytes:
    """Inflate a raw deflate stream within bounds (PS3.5 Annex A.5)."""
    limit = min(max_bytes, MAX_INFLATE_RATIO * len(data))
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = machine.decompress(data, limit + 1)
    except zlib.error as error:
        raise NotRead("DAMAGED-FILE", "The deflated data set cannot be inflated.") from error
    if len(plain) > limit:
        raise NotRead("TOO-LARGE", f"The data set of {len(data)} bytes inflates to more than {limit} bytes.")
    if not machine.eof:
        raise NotRead("DAMAGED-FILE", "The deflated data set ends too early.")
    return plain


def _pixel_element(data: Content, at: int, implicit: bool, little: bool) -> PixelElement | None:
    """Read the tag, VR and length of the pixel data at `at`; None when there is none."""
    order = "<" if little else ">"
    if len(data) - at < 8:
        return None
    group, element = struct.unpack_from(order + "HH", data, at)
    keyword = _PIXEL_TAGS.get(group << 16 | element)
    if keyword is None:
        return None
    if implicit:
        vr, offset = b"OW", at + 8
        length = struct.unpack_from(order + "L", data, at + 4)[0]
    else:
        vr, offset = data[at + 4 : at + 6], at + 12
        if vr not in _LONG_VRS or offset > len(data):
            raise NotRead("DAMAGED-FILE", "Pixel Data (7FE0,0010): expected VR OB or OW.")
        length = struct.unpack_from(order + "L", data, at + 8)[0]
    return PixelElement(keyword, vr.decode("ascii"), offset, None if length == UNDEFINED else length)
