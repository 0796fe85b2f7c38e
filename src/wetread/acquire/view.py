"""What a viewer wants of an object: its attributes as JSON, its bulk data and frames.

References
----------
PS3.18 Sections 8.7.3 (media types of frames), 10.4.1.1 (resources) and Annex F (DICOM JSON model).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from wetread.acquire.attributes import whole
from wetread.acquire.frames import split
from wetread.acquire.instances import max_file_bytes
from wetread.acquire.parse import Parsed, parse
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.errors import NotRead
from wetread.settings import Settings

#: A longer value of a binary VR is told by its address.
INLINE_BYTES = 1024
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))


def metadata(data: bytes, url: str, settings: Settings) -> str:
    """Return the attributes of an object, bulk data by address.

    Parameters
    ----------
    data
        A DICOM file.
    url
        Address of the object.
    settings
        `max_pixels` bounds what a deflated file may inflate to.

    Returns
    -------
    str
        JSON of one object; an attribute whose value cannot be read is left out.

    Raises
    ------
    NotRead
        As `wetread.acquire.parse.parse`.
    """
    with quiet():
        parsed = _whole(data, settings)
        made = {}
        for tag in sorted(parsed.header.keys()):
            try:
                text = json.dumps(_told(parsed.header, tag, url), allow_nan=False)
            except FOREIGN_ERRORS:
                continue
            made[f"{tag:08X}"] = json.loads(text)
    made["00083002"] = {"vr": "UI", "Value": [parsed.syntax]}
    if "00080005" in made:
        made["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # of this text, PS3.18 Section F.2
    if parsed.pixel is not None:
        made[_pixel_tag(parsed)] = {"vr": parsed.pixel.vr, "BulkDataURI": f"{url}/bulkdata/{_pixel_tag(parsed)}"}
    return json.dumps(made)


def _whole(data: bytes, settings: Settings) -> Parsed:
    """Parse with all that is in it; if that is too much, without what is heavy."""
    try:
        return parse(data, max_file_bytes(settings), everything=True)
    except NotRead:
        return parse(data, max_file_bytes(settings))


def _pixel_tag(parsed: Parsed) -> str:
    assert parsed.pixel is not None
    return {"FloatPixelData": "7FE00008", "DoubleFloatPixelData": "7FE00009"}.get(parsed.pixel.keyword, "7FE00010")


def _told(header: Dataset, tag: Any, url: str) -> dict[str, Any]:
    one = header[tag]
    if one.VR in _BINARY and one.value is not None and len(one.value) > INLINE_BYTES:
        return {"vr": one.VR, "BulkDataURI": f"{url}/bulkdata/{tag:08X}"}
    told: dict[str, Any] = one.to_json_dict(None, 0)
    return told


def bulk(data: bytes, tag: int, settings: Settings) -> list[bytes]:
    """Return the value of one attribute, little endian; of encapsulated pixels each frame.

    Raises
    ------
    NotRead
        MISSING-TAG: the object has none; and what `wetread.acquire.parse.parse` raises.
    """
    with quiet():
        parsed = _whole(data, settings)
        if parsed.pixel is not None and tag == int(_pixel_tag(parsed), 16):
            if parsed.pixel.length is None:
                return split(parsed.data, parsed.pixel.offset, _count(parsed))
            return [_native(parsed)]
        value = parsed.header[tag].value if tag in parsed.header else None
    if not isinstance(value, bytes) or not value:
        raise NotRead("MISSING-TAG", f"Expected a binary value at ({tag >> 16:04X},{tag & 0xFFFF:04X}).")
    return [value]


def frames(data: bytes, numbers: Sequence[int], stored: bool, settings: Settings) -> list[bytes]:
    """Return frames by their numbers, the first is 1.

    Parameters
    ----------
    stored
        As they are kept; else decoded, little endian, bits of one-bit frames packed.

    Raises
    ------
    NotRead
        MISSING-TAG: there is no such frame, or no pixels; TRUNCATED-PIXELS, BAD-PIXELS, TOO-LARGE, and what
        `wetread.acquire.parse.parse` raises.
    """
    with quiet():
        parsed = parse(data, max_file_bytes(settings))
        if parsed.pixel is None or not all(1 <= number <= _count(parsed) for number in numbers):
            raise NotRead("MISSING-TAG", "Expected the numbers of frames that the object has.")
        if parsed.pixel.length is None and stored:
            every = split(parsed.data, parsed.pixel.offset, _count(parsed))
            return [every[number - 1] for number in numbers]
        if parsed.pixel.length is None:
            return [_decoded(data, number, parsed, settings) for number in numbers]
        value = _native(parsed)
        return [_sliced(parsed, value, number) for number in numbers]


def _count(parsed: Parsed) -> int:
    return max(1, whole(parsed.header, "NumberOfFrames", default=1))


def _frame_bits(parsed: Parsed) -> int:
    header = parsed.header
    samples = whole(header, "SamplesPerPixel", default=1)
    return whole(header, "Rows") * whole(header, "Columns") * samples * whole(header, "BitsAllocated")


def _native(parsed: Parsed) -> bytes:
    """The whole value, little endian."""
    assert parsed.pixel is not None
    assert parsed.pixel.length is not None
    value = parsed.data[parsed.pixel.offset : parsed.pixel.offset + parsed.pixel.length]
    width = 2 if parsed.pixel.vr == "OW" else max(1, whole(parsed.header, "BitsAllocated") // 8)
    if parsed.little_endian or width == 1:
        return value
    return np.frombuffer(value[: len(value) // width * width], f">u{width}").astype(f"<u{width}").tobytes()


def _sliced(parsed: Parsed, value: bytes, number: int) -> bytes:
    """One frame of native pixels; one-bit frames may begin within a byte (PS3.5 Section 8.1.1)."""
    bits = _frame_bits(parsed)
    begin, end = (number - 1) * bits, number * bits
    if not bits or len(value) * 8 < end:
        raise NotRead("TRUNCATED-PIXELS", f"Expected {end // 8} bytes of pixels, got {len(value)}.")
    if begin % 8 == 0 and end % 8 == 0:
        return value[begin // 8 : end // 8]
    packed = np.frombuffer(value, np.uint8, (end + 7) // 8 - begin // 8, begin // 8)
    alone = np.unpackbits(packed, bitorder="little")[begin % 8 : begin % 8 + bits]
    return np.packbits(alone, bitorder="little").tobytes()


def _decoded(data: bytes, number: int, parsed: Parsed, settings: Settings) -> bytes:
    return bytes(decoded(data, number, parsed, settings, raw=True).tobytes())


def decoded(data: bytes, number: int, parsed: Parsed, settings: Settings, raw: bool) -> Any:
    """Decode one frame.

    Parameters
    ----------
    raw
        In the colour space in which it is kept; else YBR becomes RGB.

    Returns
    -------
    numpy.ndarray
        (y, x) or (y, x, samples).

    Raises
    ------
    NotRead
        TOO-LARGE, BAD-PIXELS.
    """
    size = whole(parsed.header, "Rows") * whole(parsed.header, "Columns")
    if size > settings.max_pixels:
        raise NotRead("TOO-LARGE", f"Expected at most {settings.max_pixels} pixels, got {size}.")
    try:
        inflated = parsed.syntax == DeflatedExplicitVRLittleEndian  # pydicom looks for pixels in the file as it stands
        return pixel_array(_plain(parsed) if inflated else BytesIO(data), index=number - 1, raw=raw)
    except FOREIGN_ERRORS as error:
        raise NotRead("BAD-PIXELS", f"The frame cannot be decoded ({type(error).__name__}).") from error


def _plain(parsed: Parsed) -> Dataset:
    """The object of a deflated file as it would be without."""
    made = Dataset()
    made.update(parsed.header)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assert parsed.pixel is not None
    made.add_new(int(_pixel_tag(parsed), 16), parsed.pixel.vr, _native(parsed))
    return made
