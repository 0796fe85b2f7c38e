"""What lies in Pixel Data and is no pixel: comments, application data, whatever stands behind the pixels; it goes.

In codestreams it becomes zeros where it stands: no length and no offset changes, and what pixels are decoded of stays
byte for byte.  Of application data there stays what says how samples become colours.

References
----------
PS3.5 Section 8.1.1 (native) and Annex A.4 (fragments, of which those of a frame make one codestream), Annex G (RLE);
ITU-T T.81 Annex B, T.871 (JFIF) and T.872 (Adobe's APP14), T.87 Annex C (JPEG-LS; its APP8 of the colour transform is
HP's); T.800 Annex A and T.814 (JPEG 2000).
"""

from __future__ import annotations

import re
import struct
from itertools import pairwise

from pydicom.dataset import FileDataset
from pydicom.encaps import generate_fragmented_frames
from pydicom.pixels.utils import get_expected_length

from wetread.acquire.attributes import whole
from wetread.acquire.codestream import RLE_HEADER_BYTES
from wetread.acquire.syntaxes import SYNTAXES
from wetread.errors import NotRead

__all__ = ["keep_only_pixels"]

_PIXELS = ("FloatPixelData", "DoubleFloatPixelData", "PixelData")

_EOI, _SOS, _JPEG_COM = 0xD9, 0xDA, 0xFE
_APPLICATION = range(0xE0, 0xF0)
#: T.81 Table B.1 without what it reserves, and SOF55 and LSE of T.87.
_SEGMENTS = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xF0), 0xF7, 0xF8, _JPEG_COM} - {0xC8})
#: Application data -> how it begins, and how many bytes of it are kept: of JFIF all but its thumbnail.
_COLOURS = {0xE0: (b"JFIF\0", 14), 0xE8: (b"mrfx", 5), 0xEE: (b"Adobe", 12)}
_MARKER = re.compile(rb"\xff+([^\0\xff])")
#: The first marker behind the data of a scan, in which restarts may stand.
_BEHIND_SCAN = {
    "JPEG": re.compile(rb"\xff+([^\0\xd0-\xd7\xff])"),
    "JPEG-LS": re.compile(rb"\xff+([\x80-\xcf\xd8-\xfe])"),
}

_SOC_SIZ = b"\xff\x4f\xff\x51"
_J2K_COM, _SOT, _SOD, _EOC = 0xFF64, 0xFF90, 0xFF93, 0xFFD9
#: T.800 Table A.2 and T.814: CAP to COM, and tile-parts.
_J2K_SEGMENTS = frozenset({*range(0xFF50, 0xFF65), _SOT, _SOD})


def keep_only_pixels(source: FileDataset) -> None:
    """Leave nothing in Pixel Data but pixels and how they are encoded.

    Raises
    ------
    NotRead
        BAD-PIXELS: a codestream that cannot be followed to its end, or of a syntax that is not known here; other frames
        than the header declares. BAD-TAG: fewer native bytes than its pixels, or more than those and a row.
    FOREIGN_ERRORS
        Fragments that cannot be told apart, a frame that ends early, an Image Pixel Module that lacks something.
    """
    compressed = source.file_meta.TransferSyntaxUID.is_compressed
    for keyword in _PIXELS:
        if keyword in source and not (compressed and keyword == "PixelData"):
            _cut(source, keyword)
    if compressed and "PixelData" in source:
        _clear_frames(source)


def _cut(source: FileDataset, keyword: str) -> None:
    """Take off what lies behind native pixels; too few are refused, and as much more as may be an undeclared frame."""
    value, expected = source[keyword].value or b"", get_expected_length(source)
    row = source.Columns * source.SamplesPerPixel * source.BitsAllocated // 8
    if not 0 <= len(value) - expected <= max(row, 1):
        raise NotRead(
            "BAD-TAG",
            f"Rows, columns, frames and bits make {expected} bytes of pixels, the file has {len(value)}: one is wrong.",
        )
    source[keyword].value = value[: expected + expected % 2]


def _clear_frames(source: FileDataset) -> None:
    data, count = bytearray(source.PixelData), max(1, whole(source, "NumberOfFrames", default=1))
    at, found = 8 + int.from_bytes(data[4:8], "little"), 0  # behind the Basic Offset Table
    for fragments in generate_fragmented_frames(source.PixelData, number_of_frames=count):
        frame, found = bytearray().join(fragments), found + 1
        end = _clear(frame, source)
        if end <= len(frame) - len(fragments[-1]):
            raise NotRead("BAD-PIXELS", "A frame ends before its last fragment.")
        _zero(frame, end, len(frame))
        for fragment in fragments:
            start, at = at + 8, at + 8 + len(fragment)
            data[start:at] = frame[: len(fragment)]
            del frame[: len(fragment)]
    if (found, at) != (count, len(data)):
        raise NotRead("BAD-PIXELS", f"Expected {count} frames and nothing else, got {found}.")
    source.PixelData = bytes(data)


def _clear(frame: bytearray, source: FileDataset) -> int:
    """Clear what is no pixel within a frame; return where its codestream ends."""
    syntax = SYNTAXES.get(source.file_meta.TransferSyntaxUID)
    if syntax is None:
        raise NotRead("BAD-PIXELS", "What a codestream of its transfer syntax holds beside pixels is not known.")
    if syntax.family == "RLE":
        planes = whole(source, "SamplesPerPixel", default=1) * whole(source, "BitsAllocated") // 8
        return _clear_rle(frame, planes, whole(source, "Rows") * whole(source, "Columns"))
    return _clear_j2k(frame) if syntax.family == "J2K" else _clear_jpeg(frame, _BEHIND_SCAN[syntax.family])


def _zero(frame: bytearray, start: int, stop: int) -> None:
    frame[start:stop] = bytes(stop - start)


def _clear_jpeg(frame: bytearray, behind_scan: re.Pattern[bytes]) -> int:
    if frame[:2] != b"\xff\xd8":
        raise NotRead("BAD-PIXELS", "The frame does not start as a JPEG codestream.")
    at, find = 2, _MARKER.match
    while found := find(frame, at):
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            return at
        stop = at + int.from_bytes(frame[at : at + 2], "big")
        if marker not in _SEGMENTS or not at + 2 <= stop <= len(frame):
            raise NotRead("BAD-PIXELS", f"Expected a JPEG segment at byte {at} of the frame.")
        if marker == _JPEG_COM or marker in _APPLICATION:
            begins, kept = _COLOURS.get(marker, (b"", 0))
            at += 2
            _zero(frame, min(at + kept, stop) if frame[at:stop].startswith(begins) else at, stop)
        at, find = stop, behind_scan.search if marker == _SOS else _MARKER.match
    raise NotRead("BAD-PIXELS", f"Expected a JPEG marker behind byte {at} of the frame.")


def _clear_j2k(frame: bytearray) -> int:
    if frame[:4] != _SOC_SIZ:
        raise NotRead("BAD-PIXELS", "The frame does not start as a JPEG 2000 codestream.")
    at, tile_end = 2, 0
    while (marker := int.from_bytes(frame[at : at + 2], "big")) != _EOC:
        if marker == 0 and at == tile_end:  # some writers leave out the End Of Codestream behind complete tile-parts
            return at
        if marker == _SOT:
            length = int.from_bytes(frame[at + 6 : at + 10], "big")
            tile_end = at + length if length else 0
        if marker == _SOD:  # no length: up to the end of the codestream, whose marker no packet holds
            stop = tile_end or frame.find(_EOC.to_bytes(2, "big"), at)
        else:
            stop = at + 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker not in _J2K_SEGMENTS or not at + 2 < stop <= len(frame):
            raise NotRead("BAD-PIXELS", f"Expected a JPEG 2000 segment at byte {at} of the frame.")
        if marker == _J2K_COM:
            _zero(frame, at + 4, stop)
        at = stop
    return at + 2


def _clear_rle(frame: bytearray, planes: int, pixels: int) -> int:
    count, *offsets = struct.unpack_from("<16L", frame)
    starts = offsets[:count]
    if count != planes or starts[:1] != [RLE_HEADER_BYTES]:
        raise NotRead("BAD-PIXELS", f"Expected {planes} RLE segments from byte 64 on, got {count}.")
    _zero(frame, 4 + 4 * count, RLE_HEADER_BYTES)
    end = RLE_HEADER_BYTES
    for start, stop in pairwise((*starts, len(frame))):
        end = _end_of_plane(frame, start, pixels)
        if not start < end <= stop:
            raise NotRead("BAD-PIXELS", "Expected RLE segments one behind the other, each of all pixels.")
        _zero(frame, end, stop)
    return end


def _end_of_plane(frame: bytearray, start: int, pixels: int) -> int:
    """Return where the runs of a byte plane end (PS3.5 Section G.3.2)."""
    at, made = start, 0
    while made < pixels:
        control = frame[at]
        if control < 128:
            made += control + 1
            at += control + 2
        elif control > 128:
            made += 257 - control
            at += 2
        else:
            at += 1
    if made != pixels:
        raise NotRead("BAD-PIXELS", f"Expected runs of {pixels} bytes in an RLE segment, got {made}.")
    return at
