"""Pixel Data -> the stored values of all frames, native or encapsulated, never more than there are."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder

from wetread.acquire.attributes import bad, is_uid, text
from wetread.acquire.codestream import RLE_HEADER_BYTES, begins, check_frame, packbits_length
from wetread.acquire.content import Content
from wetread.acquire.layout import FILM_MODALITIES, Layout
from wetread.acquire.parse import Parsed, PixelElement
from wetread.acquire.quiet import FOREIGN_ERRORS
from wetread.acquire.reduced import levels, reduced
from wetread.acquire.syntaxes import NATIVE, SYNTAXES, Syntax
from wetread.errors import NotRead
from wetread.records import Pixels

_ITEM, _DELIMITER = 0xFFFEE000, 0xFFFEE0DD


def raw_frames(parsed: Parsed, layout: Layout) -> Pixels:
    """Return the stored words of an image as they stand, unused bits included.

    Parameters
    ----------
    parsed
        A file with Pixel Data.
    layout
        Its checked Image Pixel Module.

    Returns
    -------
    numpy.ndarray
        (z, y, x), uint8, uint16 or uint32, z the frames; may be a read-only view of the file.

    Raises
    ------
    NotRead
        UNKNOWN-SYNTAX, MISSING-TAG (no Transfer Syntax UID for encapsulated pixels),
        TRUNCATED-PIXELS, BAD-PIXELS, BAD-TAG (more pixels or frames than the header declares).

    References
    ----------
    DICOM PS3.5 Section 8 and Annex A.
    """
    assert parsed.pixel is not None
    pixel = parsed.pixel
    if not parsed.syntax and pixel.length is None:
        raise NotRead("MISSING-TAG", "Transfer Syntax UID (0002,0010) is missing or empty.")
    syntax = SYNTAXES.get(parsed.syntax or uid.ExplicitVRLittleEndian)
    if syntax is None:
        named = uid.UID(parsed.syntax).name if is_uid(parsed.syntax) else "a Transfer Syntax UID that is none"
        raise NotRead("UNKNOWN-SYNTAX", f"Got {named}; the conformance statement lists those that are supported.")
    if (syntax.decoder == NATIVE) != (pixel.length is not None):
        form = "native" if syntax.decoder == NATIVE else "encapsulated"
        raise NotRead("BAD-PIXELS", f"Expected {form} pixels by the transfer syntax {syntax.name}.")
    return _native(parsed, pixel, layout) if syntax.decoder == NATIVE else _encapsulated(parsed, pixel, syntax, layout)


def early(parsed: Parsed, layout: Layout, least_side: int) -> Layout:
    """Say in the layout of a JPEG 2000 film how many of its resolution levels need not be decoded.

    Parameters
    ----------
    parsed
        A file with Pixel Data.
    layout
        Its checked Image Pixel Module.
    least_side
        Pixels that the longer side keeps at least; 0: nothing is left out.

    Raises
    ------
    NotRead
        TRUNCATED-PIXELS, BAD-PIXELS, BAD-TAG (more frames than one).
    """
    syntax, pixel = SYNTAXES.get(parsed.syntax), parsed.pixel
    is_film = layout.frames == 1 and text(parsed.header, "Modality") in FILM_MODALITIES
    if not least_side or syntax is None or syntax.family != "J2K" or pixel is None or pixel.length is not None:
        return layout
    if not is_film:
        return layout
    (frame,) = split(parsed.data, pixel.offset, 1)
    check_frame(frame, syntax.family, layout)
    return replace(layout, level=levels(frame, layout, least_side))


def _native(parsed: Parsed, pixel: PixelElement, layout: Layout) -> Pixels:
    width = layout.allocated // 8
    expected = layout.pixels * width
    there = min(pixel.length or 0, len(parsed.data) - pixel.offset)
    if there < expected:
        raise NotRead("TRUNCATED-PIXELS", f"Expected {expected} bytes of pixels, got {there}.")
    if there - expected > max(layout.columns * width, 1):
        raise NotRead(
            "BAD-TAG",
            f"Rows, columns, frames and bits make {expected} bytes of pixels, the file has {there}: one is wrong.",
        )
    order = "<" if parsed.little_endian else ">"
    shape = (layout.frames, layout.rows, layout.columns)
    if width == 1 and not parsed.little_endian and pixel.vr == "OW":
        # PS3.5 Section 8.1.1: bytes are packed into words, and words are swapped.
        words = np.frombuffer(parsed.data, "<u2", there // 2, pixel.offset).byteswap()
        return words.view(np.uint8)[: layout.pixels].reshape(shape)
    flat = np.frombuffer(parsed.data, f"{order}u{width}", layout.pixels, pixel.offset)
    return flat.astype(f"=u{width}", copy=False).reshape(shape)


def _encapsulated(parsed: Parsed, pixel: PixelElement, syntax: Syntax, layout: Layout) -> Pixels:
    frames = split(parsed.data, pixel.offset, layout.frames)
    made = np.empty((layout.frames, layout.rows, layout.columns), dtype=f"=u{layout.allocated // 8}")
    for index, frame in enumerate(frames):
        check_frame(frame, syntax.family, layout)
        made[index] = _decoded(frame, parsed.syntax, syntax, layout)
    return made


def split(data: Content, offset: int, count: int) -> list[bytes]:
    """Split an encapsulated value into `count` frames, every fragment of them complete."""
    fragments: list[bytes] = []
    at = offset
    while True:
        if at + 8 > len(data):
            raise NotRead("TRUNCATED-PIXELS", "The encapsulated pixels end without their delimiter.")
        group, element, length = struct.unpack_from("<HHL", data, at)
        at += 8
        if group << 16 | element == _DELIMITER:
            break
        if group << 16 | element != _ITEM:
            raise NotRead("BAD-PIXELS", f"Expected an item of encapsulated pixels at byte {at - 8}.")
        if at + length > len(data):
            raise NotRead("TRUNCATED-PIXELS", f"A fragment needs {length} bytes, the file has {len(data) - at} left.")
        fragments.append(data[at : at + length])
        at += length
    fragments = fragments[1:]  # the first item is the Basic Offset Table
    if count == 1 and fragments:
        if there := sum(map(begins, fragments[1:])):
            raise bad("NumberOfFrames", "as many frames as there are", f"1, and the start of {there} more")
        return [b"".join(fragments)]
    if len(fragments) < count:
        raise NotRead("TRUNCATED-PIXELS", f"Expected {count} frames, got {len(fragments)} fragments.")
    if len(fragments) == count:
        return fragments
    try:
        frames = list(generate_frames(data[offset:at], number_of_frames=count))
    except FOREIGN_ERRORS as error:
        raise NotRead("BAD-PIXELS", "The fragments cannot be joined to frames.") from error
    if len(frames) != count:
        raise NotRead("BAD-PIXELS", f"Expected {count} frames, got {len(frames)}.")
    return frames


def _decoded(frame: bytes, syntax_uid: str, syntax: Syntax, layout: Layout) -> Pixels:
    """Decode one frame with the one decoder of its syntax, or of its lower resolution levels."""
    if layout.level:
        return reduced(frame, layout)
    if syntax.family == "RLE":
        return _decoded_rle(frame, syntax_uid, syntax, layout)
    return _through_plugin(frame, syntax_uid, syntax, layout)


def _decoded_rle(frame: bytes, syntax_uid: str, syntax: Syntax, layout: Layout) -> Pixels:
    """Decode the byte planes of an RLE frame one by one, the most significant first (PS3.5 Annex G).

    pylibjpeg-rle checks its bounds for one plane only: with several it panics on a run
    that is too long, and writes about it to the terminal.
    """
    width = layout.allocated // 8
    offsets = [*struct.unpack_from(f"<{width}L", frame, 4), len(frame)]
    plane = replace(layout, allocated=8, stored=8, high=7, signed=False)
    made = np.empty((layout.rows, layout.columns, width), dtype=np.uint8)
    for index in range(width):
        header = struct.pack("<16L", 1, RLE_HEADER_BYTES, *[0] * 14)
        segment = frame[offsets[index] : offsets[index + 1]]
        try:
            made[..., width - 1 - index] = _through_plugin(header + segment, syntax_uid, syntax, plane)
        except NotRead as refusal:
            there = packbits_length(segment)
            if there < layout.rows * layout.columns:
                raise NotRead(
                    "TRUNCATED-PIXELS", f"Expected {layout.rows * layout.columns} bytes in an RLE segment, got {there}."
                ) from refusal
            raise
    return made.view(f"<u{width}")[..., 0]


def _through_plugin(frame: bytes, syntax_uid: str, syntax: Syntax, layout: Layout) -> Pixels:
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": int(layout.signed),
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_keyword": "PixelData",
    }
    try:
        values, _ = get_decoder(syntax_uid).as_array(
            encapsulate([frame], has_bot=False), index=0, raw=True, decoding_plugin=syntax.decoder, **options
        )
    except FOREIGN_ERRORS as error:
        raise NotRead("BAD-PIXELS", f"The {syntax.name} frame cannot be decoded by {syntax.package}.") from error
    if values.shape != (layout.rows, layout.columns):
        raise NotRead("BAD-PIXELS", f"Expected {layout.rows} x {layout.columns} pixels, got another shape.")
    return values.view(f"=u{values.dtype.itemsize}")
