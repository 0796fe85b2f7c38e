"""Judges the numbers of a label map: every pixel is a segment that is described.

References
----------
DICOM Supplement 243; PS3.3 Sections C.8.20.2, C.8.20.4, C.7.6.17.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wetread.report.elements import PIXEL_DATA, Item, get, sequence
from wetread.report.problem import HABIT, Problem

_FRAMES = "PerFrameFunctionalGroupsSequence"


def _first(data: Item, keyword: str) -> int | None:
    value = get(data, keyword)
    return int(value[0]) if isinstance(value, tuple) and value else None


def problems(data: Item) -> Iterator[Problem]:
    """Judge segments, pixels and the order of the frames of a label map."""
    described = [_first(one, "SegmentNumber") for one in sequence(data, "SegmentSequence")]
    if None in described or len(set(described)) != len(described):
        yield Problem("SegmentSequence", "expected a number of its own for each segment", "PS3.3 C.8.20.4")
    padding = _first(data, "PixelPaddingValue")
    wide = np.uint16 if _first(data, "BitsAllocated") == 16 else np.uint8
    raw = bytes(data[PIXEL_DATA][1]) if PIXEL_DATA in data else b""
    count = (_first(data, "Rows") or 0) * (_first(data, "Columns") or 0) * len(sequence(data, _FRAMES))
    if len(raw) >= count * np.dtype(wide).itemsize:
        held = np.unique(np.frombuffer(raw, np.dtype(wide).newbyteorder("<"), count)).tolist()
        if set(held) - {*described, padding}:
            yield Problem("PixelData", "expected numbers of segments only, got others", "PS3.3 C.8.20.2")
    if any(sequence(frame, "SegmentIdentificationSequence") for frame in sequence(data, _FRAMES)):
        yield Problem(_FRAMES, "expected no segment for a frame of a label map", "PS3.3 C.8.20.3.1")
    indices = [
        get(one, "DimensionIndexValues", ())
        for frame in sequence(data, _FRAMES)
        for one in sequence(frame, "FrameContentSequence")
    ]
    if len(set(indices)) != len(indices):
        yield Problem(_FRAMES, "expected indices of its own for each frame", "PS3.3 C.7.6.17")


def ours(data: Item) -> Iterator[Problem]:
    """Judge what our own have: the background, and a tracking identifier for all else."""
    described = sequence(data, "SegmentSequence")
    if [_first(one, "SegmentNumber") for one in described] != list(range(len(described))):
        yield Problem("SegmentSequence", "expected segments 0, 1, 2 and so on", HABIT)
    if _first(data, "PixelPaddingValue") != 0:
        yield Problem("PixelPaddingValue", "expected 0, the background", "PS3.3 C.8.20.2")
    for number, one in enumerate(described[1:], 2):
        if not (get(one, "TrackingID") and get(one, "TrackingUID")):
            yield Problem(f"SegmentSequence[{number}]", "expected Tracking ID and Tracking UID", "PS3.3 C.8.20.4")
        if not sequence(one, "SegmentationAlgorithmIdentificationSequence"):
            yield Problem(f"SegmentSequence[{number}]", "expected the algorithm, got none", "AIR")
    contributed = {
        tuple(get(one, keyword, "") for keyword in ("ManufacturerModelName", "SoftwareVersions", "Manufacturer"))
        for one in sequence(data, "ContributingEquipmentSequence")
    }
    for segment in described:
        for one in sequence(segment, "SegmentationAlgorithmIdentificationSequence"):
            named = tuple(get(one, keyword) for keyword in ("AlgorithmName", "AlgorithmVersion", "AlgorithmSource"))
            if named not in contributed or named[0] != get(segment, "SegmentAlgorithmName"):
                yield Problem("SegmentSequence", "expected the algorithm among the contributing equipment", "AIR")
