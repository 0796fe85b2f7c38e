"""A segmentation that somebody else made -> its segments and masks, as they are told.

Whether it fits an image is judged elsewhere.  Binary segmentations and label maps are read, native or with frames that
the table of transfer syntaxes names.

References
----------
DICOM PS3.3 Sections A.51, A.91, C.8.20.2 (segmentation image), C.7.6.16.2 (functional groups), PS3.5 Section 8.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import SegmentationStorage

from wetread.acquire.attributes import as_float, is_uid, missing, text, values, whole
from wetread.acquire.instances import max_file_bytes
from wetread.acquire.parse import Parsed, parse
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.acquire.syntaxes import NATIVE, SYNTAXES
from wetread.errors import NotRead
from wetread.records import Code, Pixels, Segment, Segmentation, SegmentFrame
from wetread.settings import Settings

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
#: Segments that one can be asked to tell apart.
MOST_SEGMENTS = 1024
MOST_FRAMES = 1 << 24


def segmentation(data: bytes, settings: Settings) -> Segmentation:
    """Read a segmentation.

    Parameters
    ----------
    data
        A DICOM file.
    settings
        `max_series_pixels` bounds its frames.

    Raises
    ------
    NotRead
        BAD-TAG (neither a binary segmentation nor a label map, or it contradicts itself), MISSING-TAG, TOO-LARGE,
        TRUNCATED-PIXELS, BAD-PIXELS, UNKNOWN-SYNTAX, and what `wetread.acquire.parse.parse` raises.
    """
    with quiet():
        parsed = parse(data, max_file_bytes(settings))
        try:
            return _read(data, parsed, settings)
        except NotRead:
            raise
        except FOREIGN_ERRORS as error:
            raise NotRead("BAD-TAG", f"The segmentation contradicts itself ({type(error).__name__}).") from error


def _read(data: bytes, parsed: Parsed, settings: Settings) -> Segmentation:
    header = parsed.header
    kind = (text(header, "SOPClassUID"), text(header, "SegmentationType"))
    if kind not in ((SegmentationStorage, "BINARY"), (LABEL_MAP, "LABELMAP")):
        raise NotRead("BAD-TAG", "Expected a segmentation of type BINARY, or a label map.")
    described = _items(header, "SegmentSequence")
    shared, groups = (
        _items(header, "SharedFunctionalGroupsSequence"),
        _items(header, "PerFrameFunctionalGroupsSequence"),
    )
    count = whole(header, "NumberOfFrames", default=1)
    if len(groups) != count or len(described) > MOST_SEGMENTS:
        raise NotRead("BAD-TAG", f"Expected {count} per-frame groups and at most {MOST_SEGMENTS} segments.")
    common = shared[0] if shared else Dataset()
    labels = kind[1] == "LABELMAP"
    measures = _numbers(_first(common, groups, "PixelMeasuresSequence"), "PixelSpacing", 2)
    directions = {
        _numbers(_one(common, each, "PlaneOrientationSequence"), "ImageOrientationPatient", 6) for each in groups
    }
    if len(directions) > 1:
        raise NotRead("BAD-TAG", "Expected one orientation of all frames.")
    return Segmentation(
        study_uid=text(header, "StudyInstanceUID"),
        frame_of_reference=text(header, "FrameOfReferenceUID"),
        directions=directions.pop() if directions else (),
        spacing_mm=measures,
        segments=tuple(_segment(one) for one in described if not labels or whole(one, "SegmentNumber") > 0),
        frames=tuple(_frame(common, each, labels) for each in groups),
        pixels=_pixels(data, parsed, count, settings),
    )


def _items(header: Dataset, keyword: str) -> Sequence[Dataset]:
    return [one for one in values(header, keyword) if isinstance(one, Dataset)]


def _one(common: Dataset, group: Dataset, keyword: str) -> Dataset:
    """Return what a frame says, else what all of them share."""
    return next(iter([*_items(group, keyword), *_items(common, keyword)]), Dataset())


def _first(common: Dataset, groups: Sequence[Dataset], keyword: str) -> Dataset:
    return _one(common, groups[0], keyword) if groups else Dataset()


def _numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    found = [made for one in values(header, keyword) if (made := as_float(one)) is not None]
    return tuple(found) if len(found) == count else ()


def _segment(one: Dataset) -> Segment:
    types = _items(one, "SegmentedPropertyTypeCodeSequence")
    if not types:
        raise missing("SegmentedPropertyTypeCodeSequence")
    sides = [
        *_items(types[0], "SegmentedPropertyTypeModifierCodeSequence"),
        *_items(one, "AnatomicRegionModifierSequence"),
    ]
    by_hand = text(one, "SegmentAlgorithmType") == "MANUAL"
    tracking = text(one, "TrackingUID")
    return Segment(
        whole(one, "SegmentNumber"),
        text(one, "SegmentLabel")[:64],
        _code(types[0]),
        _code(sides[0]) if sides else None,
        tracking if is_uid(tracking) else "",
        "" if by_hand else text(one, "SegmentAlgorithmName")[:64],
    )


def _code(one: Dataset) -> Code:
    value = text(one, "CodeValue") or text(one, "LongCodeValue")
    return Code(value[:64], text(one, "CodingSchemeDesignator")[:16], text(one, "CodeMeaning")[:64])


def _frame(common: Dataset, group: Dataset, labels: bool) -> SegmentFrame:
    number = 0 if labels else whole(_one(common, group, "SegmentIdentificationSequence"), "ReferencedSegmentNumber")
    derivations = [*_items(group, "DerivationImageSequence"), *_items(common, "DerivationImageSequence")]
    named = [source for one in derivations for source in _items(one, "SourceImageSequence")]
    only = named[0] if len(named) == 1 else Dataset()
    uid = text(only, "ReferencedSOPInstanceUID")
    return SegmentFrame(
        number,
        _numbers(_one(common, group, "PlanePositionSequence"), "ImagePositionPatient", 3),
        uid if is_uid(uid) else "",
        max(0, min(whole(only, "ReferencedFrameNumber", default=0), MOST_FRAMES)),
    )


def _pixels(data: bytes, parsed: Parsed, count: int, settings: Settings) -> Pixels:
    """Decode all frames, (frames, y, x)."""
    header, pixel = parsed.header, parsed.pixel
    rows, columns, bits = whole(header, "Rows"), whole(header, "Columns"), whole(header, "BitsAllocated")
    size = count * rows * columns
    if pixel is None or pixel.keyword != "PixelData":
        raise NotRead("NOT-AN-IMAGE", "The segmentation has no Pixel Data (7FE0,0010).")
    if min(count, rows, columns) < 1 or bits not in (1, 8, 16) or whole(header, "SamplesPerPixel", default=1) != 1:
        raise NotRead("BAD-TAG", "Expected frames of one sample with 1, 8 or 16 bits.")
    if size > settings.max_series_pixels:
        raise NotRead("TOO-LARGE", f"Expected at most {settings.max_series_pixels} pixels, got {size}.")
    syntax = SYNTAXES.get(parsed.syntax)
    if syntax is None or not syntax.lossless:
        raise NotRead("UNKNOWN-SYNTAX", "Expected a transfer syntax without loss that is supported.")
    if syntax.decoder != NATIVE:
        return _decoded(data, (count, rows, columns), bits)
    whole_bytes = -(-size * bits // 8)
    if pixel.length is None or min(pixel.length, len(parsed.data) - pixel.offset) < whole_bytes:
        raise NotRead("TRUNCATED-PIXELS", f"Expected {whole_bytes} bytes of pixels, got fewer.")
    if bits == 16:
        order = "<" if parsed.little_endian else ">"
        made: Any = np.frombuffer(parsed.data, f"{order}u2", size, pixel.offset).astype("<u2")
    else:
        made = np.frombuffer(parsed.data, np.uint8, whole_bytes, pixel.offset)
        if not parsed.little_endian and pixel.vr == "OW":
            raise NotRead("UNKNOWN-SYNTAX", "Expected little endian.")
        made = np.unpackbits(made, count=size, bitorder="little") if bits == 1 else made
    return np.asarray(made.reshape(count, rows, columns))


def _decoded(data: bytes, shape: tuple[int, int, int], bits: int) -> Pixels:
    made = np.empty(shape, np.uint16 if bits == 16 else np.uint8)
    for index in range(shape[0]):
        try:
            made[index] = pixel_array(BytesIO(data), index=index, raw=True)
        except FOREIGN_ERRORS as error:
            raise NotRead("BAD-PIXELS", f"A frame cannot be decoded ({type(error).__name__}).") from error
    return made
