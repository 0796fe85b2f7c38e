"""Looks at a compressed frame before its decoder does: how large it says it is, and whether it is all there.

Decoders allocate what a frame claims and fill in what is missing.  Both are decided
here instead, on a few bytes.
"""

from __future__ import annotations

import struct

from wetread.acquire.layout import Layout
from wetread.errors import NotRead

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOC_SIZ = b"\xff\x4f\xff\x51"
#: Start Of Frame markers: T.81 Table B.1 without DHT, JPG and DAC, and JPEG-LS's SOF55.
_SOF = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SOS = 0xDA
RLE_HEADER_BYTES = 64
#: Behind the lowest byte of the number of segments: the others, and where the first segment lies.
_RLE_START = bytes(3) + struct.pack("<L", RLE_HEADER_BYTES)
#: Padding that real files carry behind the end of a codestream.
_TAIL = 4096


def check_frame(frame: bytes, family: str, layout: Layout) -> None:
    """Compare a compressed frame with the header of its image.

    Parameters
    ----------
    frame
        One frame, its fragments joined.
    family
        `Syntax.family` of its transfer syntax.
    layout
        What the DICOM header says.

    Raises
    ------
    NotRead
        BAD-PIXELS (no codestream, another size, several components or more bits than are allocated),
        TRUNCATED-PIXELS (its end is missing).

    References
    ----------
    ITU-T T.81 Annex B, T.87 Annex C, T.800 Annex A; DICOM PS3.5 Annex G (RLE).
    """
    if family == "RLE":
        _check_rle(frame, layout)
        return
    try:
        rows, columns, components, bits = _j2k_size(frame) if family == "J2K" else _jpeg_size(frame)
    except (struct.error, IndexError) as error:
        raise NotRead("TRUNCATED-PIXELS", f"The {family} frame of {len(frame)} bytes ends in its header.") from error
    if (rows, columns, components) != (layout.rows, layout.columns, 1):
        raise NotRead(
            "BAD-PIXELS",
            f"Expected {layout.rows} x {layout.columns} pixels of 1 component, "
            f"the {family} frame says {rows} x {columns} of {components}.",
        )
    if bits > layout.allocated:  # its decoder would cut them off
        raise NotRead(
            "BAD-PIXELS", f"Expected values of at most {layout.allocated} bits, the {family} frame says {bits}."
        )
    if family == "J2K":
        _check_tile_parts(frame)
    elif frame.rfind(_EOI, max(0, len(frame) - _TAIL)) < 0:
        raise NotRead("TRUNCATED-PIXELS", f"The {family} frame of {len(frame)} bytes has no end marker.")


def begins(fragment: bytes) -> bool:
    """Whether a fragment begins a codestream, and does not go on with that of the fragment before.

    References
    ----------
    ITU-T T.81 Section B.1.1.2 (within coded data 0xFF is followed by 0), T.800 Section A.4.1; DICOM PS3.5 Sections
    A.4 (a frame may have several fragments), G.5 (RLE: the first of up to 15 segments lies at byte 64).
    """
    return fragment.startswith((_SOI + b"\xff", _SOC_SIZ)) or fragment[1:8] == _RLE_START


def bits_of(frame: bytes, family: str) -> int:
    """Return of how many bits a compressed frame says that its values are.

    Parameters
    ----------
    frame, family
        As in `check_frame`, but no RLE: that compresses whole words.

    Raises
    ------
    NotRead
        BAD-PIXELS (no codestream).
    struct.error, IndexError
        It ends in its header.
    """
    return (_j2k_size(frame) if family == "J2K" else _jpeg_size(frame))[3]


def _jpeg_size(frame: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, components and bits by the first Start Of Frame."""
    if frame[:2] != _SOI:
        raise NotRead("BAD-PIXELS", "The frame does not start as a JPEG codestream.")
    at = 2
    while True:
        if frame[at] != 0xFF:
            raise NotRead("BAD-PIXELS", f"Expected a JPEG marker at byte {at} of the frame.")
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _SOF:
            bits, rows, columns, components = struct.unpack_from(">BHHB", frame, at + 4)
            return rows, columns, components, bits
        elif marker == _SOS or marker == 0xD9:
            raise NotRead("BAD-PIXELS", "The JPEG frame has no Start Of Frame.")
        else:
            at += 2 if marker in _STANDALONE else 2 + struct.unpack_from(">H", frame, at + 2)[0]


def _j2k_size(frame: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, components and the bits of the first by the SIZ segment."""
    start = frame.find(_SOC_SIZ, 0, 512)
    if start < 0:
        raise NotRead("BAD-PIXELS", "The frame does not start as a JPEG 2000 codestream.")
    x1, y1, x0, y0 = struct.unpack_from(">4L", frame, start + 8)
    components, bits = struct.unpack_from(">HB", frame, start + 40)
    return y1 - y0, x1 - x0, components, (bits & 0x7F) + 1


def _check_tile_parts(frame: bytes) -> None:
    """Walk the tile-parts by their lengths up to the End Of Codestream (T.800 A.4.2)."""
    at = frame.find(_SOC_SIZ, 0, 512) + 2
    short = NotRead("TRUNCATED-PIXELS", f"The JPEG 2000 frame of {len(frame)} bytes ends before its last tile-part.")
    try:
        while True:
            marker, length = struct.unpack_from(">HH", frame, at)
            if marker == 0xFFD9:
                return
            if marker == 0xFF90:
                tile_part = struct.unpack_from(">L", frame, at + 6)[0]
                if tile_part == 0:  # up to the end of the codestream
                    tile_part = max(frame.rfind(_EOI, max(0, len(frame) - _TAIL)) - at, 0)
                if tile_part < 14:
                    raise short
                at += tile_part
            elif marker >= 0xFF30:
                at += 2 + length
            else:
                raise NotRead("BAD-PIXELS", f"Expected a JPEG 2000 marker at byte {at} of the frame.")
    except struct.error as error:
        # Some writers leave out the End Of Codestream behind complete tile-parts.
        if at == len(frame) or (at < len(frame) and not frame[at:].strip(b"\0")) or frame[at : at + 2] == _EOI:
            return
        raise short from error


def _check_rle(frame: bytes, layout: Layout) -> None:
    """Check the RLE header against the frame (PS3.5 Section G.5)."""
    if len(frame) < RLE_HEADER_BYTES:
        raise NotRead("TRUNCATED-PIXELS", f"The RLE frame has {len(frame)} bytes, its header alone needs 64.")
    count, *offsets = struct.unpack("<16L", frame[:RLE_HEADER_BYTES])
    if count != layout.allocated // 8:
        raise NotRead("BAD-PIXELS", f"Expected {layout.allocated // 8} RLE segments, got {count}.")
    offsets = offsets[:count]
    if offsets[0] != RLE_HEADER_BYTES or sorted(set(offsets)) != offsets:
        raise NotRead("BAD-PIXELS", "The offsets of the RLE segments do not rise from byte 64.")
    if offsets[-1] >= len(frame):
        raise NotRead("TRUNCATED-PIXELS", f"An RLE segment starts at byte {offsets[-1]} of {len(frame)}.")


def packbits_length(segment: bytes) -> int:
    """Return how many bytes an RLE segment decodes to, as far as it goes (PS3.5 Section G.3.2)."""
    at, count = 0, 0
    while at + 1 < len(segment):
        control = segment[at]
        if control < 128:
            count += min(control + 1, len(segment) - at - 1)
            at += control + 2
        else:
            count += 257 - control if control > 128 else 0
            at += 2 if control > 128 else 1
    return count
