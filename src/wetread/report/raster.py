"""Judges what hangs together in images: pixels, frames, segments, mapped values.

References
----------
DICOM PS3.3 Sections C.7.6.3, C.7.6.16, C.7.6.17, C.8.20, C.8.32; PS3.5 Section 8;
IHE AIR Rev 1.3, Section 6.5.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from wetread.report.codes import RATIO
from wetread.report.elements import Item, get, sequence
from wetread.report.problem import HABIT, Problem

_REFERENCES = ("ReferencedSOPInstanceUID", "ReferencedSOPClassUID")
_MAPPED = ("Slope", "Intercept", "FirstValueMapped", "LastValueMapped")
_FRAMES = "PerFrameFunctionalGroupsSequence"
_IDENTIFIED = "SegmentationAlgorithmIdentificationSequence"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def first(data: Item, keyword: str) -> float:
    """Give the first number of an attribute, 0 when there is none."""
    value = get(data, keyword)
    return value[0] if isinstance(value, tuple) and value else 0


def _number(data: Item, keyword: str) -> int:
    value = get(data, keyword)
    if isinstance(value, tuple) and value:
        return int(value[0])
    try:
        return int(value) if isinstance(value, str) else 0
    except ValueError:
        return 0


def is_floating(data: Item) -> bool:
    """Whether pixels are floating point numbers (PS3.3 Sections C.7.6.24 and C.7.6.25)."""
    return any(get(data, keyword) is not None for keyword in _PIXELS[1:])


def pixels(data: Item) -> Iterator[Problem]:
    """Judge the length of the pixel data and the bits (PS3.5 Section 8)."""
    rows, columns, samples, bits = (
        _number(data, keyword) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    )
    frames = _number(data, "NumberOfFrames") or 1
    photometric = get(data, "PhotometricInterpretation", "")
    samples_held = 2 if photometric == "YBR_FULL_422" else samples
    expected = (rows * columns * samples_held * frames * bits + 7) // 8
    got = next((len(value) for value in (get(data, keyword) for keyword in _PIXELS) if value is not None), 0)
    if got != expected + expected % 2 or not expected:
        yield Problem("PixelData", f"expected {expected + expected % 2} bytes, got {got}", "PS3.5 Section 8.1.1")
    if is_floating(data):
        return
    stored = _number(data, "BitsStored")
    if not 0 < stored <= bits or _number(data, "HighBit") != stored - 1:
        yield Problem("HighBit", "expected one less than Bits Stored, which fits Bits Allocated", "PS3.5 Section 8.1.1")
    colour = photometric.startswith(("RGB", "YBR"))
    if colour != (samples == 3) or (colour and get(data, "PlanarConfiguration") not in ((0,), (1,))):
        yield Problem("PhotometricInterpretation", "expected a colour exactly with three samples", "PS3.3 C.7.6.3")
    ratio, method = get(data, "LossyImageCompressionRatio"), get(data, "LossyImageCompressionMethod")
    if bool(ratio) != bool(method):  # a source may tell neither; then nobody knows
        yield Problem("LossyImageCompression", "expected ratio and method together", "PS3.3 C.7.6.1.1.5")


def frames(data: Item) -> Iterator[Problem]:
    """Judge that frames, dimensions and references agree."""
    shown = sequence(data, _FRAMES)
    if len(shown) != _number(data, "NumberOfFrames"):
        yield Problem("NumberOfFrames", f"expected the {len(shown)} frames described", "PS3.3 C.7.6.16")
    organised = {get(one, "DimensionOrganizationUID") for one in sequence(data, "DimensionOrganizationSequence")}
    dimensions = sequence(data, "DimensionIndexSequence")
    if any(get(one, "DimensionOrganizationUID") not in organised for one in dimensions):
        yield Problem("DimensionIndexSequence", "expected a UID of the dimension organization", "PS3.3 C.7.6.17")
    shared = sequence(data, "SharedFunctionalGroupsSequence")
    for one in dimensions:
        at, pointer = (first(one, keyword) for keyword in ("FunctionalGroupPointer", "DimensionIndexPointer"))
        holders = [found for frame in [*shown, *shared] for found in frame.get(int(at), ("SQ", []))[1]]
        if not holders or any(not found.get(int(pointer), ("", ""))[1] for found in holders):
            yield Problem("DimensionIndexSequence", "expected pointers to what the frames hold", "PS3.3 C.7.6.17")
    for number, frame in enumerate(shown, 1):
        for content in sequence(frame, "FrameContentSequence"):
            if len(get(content, "DimensionIndexValues", ())) != len(dimensions):
                where = f"{_FRAMES}[{number}].FrameContentSequence"
                yield Problem(where, "expected one index a dimension, got another number", "PS3.3 C.7.6.17")
            if any(index < 1 or index > len(shown) for index in get(content, "DimensionIndexValues", ())):
                where = f"{_FRAMES}[{number}].FrameContentSequence"
                yield Problem(where, "expected indices of 1 up to the number of frames", "PS3.3 C.7.6.17")
    yield from _planes(data, shown)
    yield from _ranks(data, shown)
    referenced = {
        tuple(get(one, keyword) for keyword in _REFERENCES)
        for series in sequence(data, "ReferencedSeriesSequence")
        for one in sequence(series, "ReferencedInstanceSequence")
    }
    for group in [*shown, *sequence(data, "SharedFunctionalGroupsSequence")]:
        for derivation in sequence(group, "DerivationImageSequence"):
            for one in sequence(derivation, "SourceImageSequence"):
                if tuple(get(one, keyword) for keyword in _REFERENCES) not in referenced:
                    where = "DerivationImageSequence"
                    yield Problem(where, "expected the source in ReferencedSeriesSequence", "PS3.3 C.12.2")


def _planes(data: Item, shown: list[Item]) -> Iterator[Problem]:
    """Judge that a frame of reference, positions and orientations come together."""
    shared = sequence(data, "SharedFunctionalGroupsSequence")[:1]
    parts = {
        keyword: all(get(holder, keyword) or any(get(one, keyword) for one in shared) for holder in shown)
        for keyword in ("PlanePositionSequence", "PlaneOrientationSequence")
    }
    parts["FrameOfReferenceUID"] = bool(get(data, "FrameOfReferenceUID"))
    parts["PositionReferenceIndicator"] = get(data, "PositionReferenceIndicator") is not None
    if len(set(parts.values())) != 1:
        yield Problem("FrameOfReferenceUID", "expected frame of reference and planes together", "PS3.3 C.7.4.1")
    places = [one for group in [*shown, *shared] for one in sequence(group, "PlanePositionSequence")]
    if any(get(one, "ImagePositionPatient", "").count("\\") != 2 for one in places):
        yield Problem("ImagePositionPatient", "expected three values", "PS3.3 C.7.6.16.2.3")
    for group in [*shared, *shown]:
        for one in sequence(group, "PlaneOrientationSequence"):
            if get(one, "ImageOrientationPatient", "").count("\\") != 5:
                yield Problem("ImageOrientationPatient", "expected six values", "PS3.3 C.7.6.16.2.4")
        for one in sequence(group, "PixelMeasuresSequence"):
            if one and not (get(one, "PixelSpacing", "").count("\\") == 1 and get(one, "SliceThickness")):
                yield Problem("PixelMeasuresSequence", "expected spacing and thickness", HABIT)


def _ranks(data: Item, shown: list[Item]) -> Iterator[Problem]:
    """Judge that frames of several dimensions stand once each, and that one position has one index."""
    if len(sequence(data, "DimensionIndexSequence")) < 2:
        return
    indices = [
        get(one, "DimensionIndexValues", ()) for frame in shown for one in sequence(frame, "FrameContentSequence")
    ]
    if len(set(indices)) != len(indices):
        yield Problem(_FRAMES, "expected indices of its own for each frame", "PS3.3 C.7.6.17")
    places = [
        get(one, "ImagePositionPatient", "") for frame in shown for one in sequence(frame, "PlanePositionSequence")
    ]
    pairs = {(place, index[-1]) for place, index in zip(places, indices, strict=False) if index}
    if not len(pairs) == len({place for place, _ in pairs}) == len({index for _, index in pairs}):
        yield Problem(_FRAMES, "expected one index for each position", HABIT)
    elif not _rises([place for place, _ in sorted(pairs, key=lambda pair: pair[1])], data):
        yield Problem(_FRAMES, "expected positions above each other, in the order of their index", HABIT)
    if not all(sequence(group, "PixelMeasuresSequence") for group in sequence(data, "SharedFunctionalGroupsSequence")):
        yield Problem("PixelMeasuresSequence", "expected the spacing of a volume, got none", "PS3.3 C.7.6.16.2.1")


def _rises(places: list[str], data: Item) -> bool:
    """Whether positions follow each other along the normal of the planes, less than a pixel aside."""
    shared = sequence(data, "SharedFunctionalGroupsSequence")
    told = {
        keyword: [get(one, keyword, "") for group in shared for one in sequence(group, holder)]
        for holder, keyword in (
            ("PlaneOrientationSequence", "ImageOrientationPatient"),
            ("PixelMeasuresSequence", "PixelSpacing"),
        )
    }
    try:
        points = np.array([[float(one) for one in place.split("\\")] for place in places])
        cosines = np.array([float(one) for one in told["ImageOrientationPatient"][0].split("\\")])
        pixel_mm = min(float(one) for one in told["PixelSpacing"][0].split("\\"))
        normal = np.cross(cosines[:3], cosines[3:])
        away = points - points[0]
        with np.errstate(all="ignore"):  # damaged numbers may be infinite
            heights = away @ normal
            aside = np.linalg.norm(away - np.outer(heights, normal), axis=1)
            steps = np.diff(heights)  # up or down: either is an order
            return bool(((steps > 0).all() or (steps < 0).all()) and (aside < pixel_mm).all())
    except (ValueError, IndexError):
        return False


def segments(data: Item) -> Iterator[Problem]:
    """Judge segments, their algorithms and the frames that show them."""
    described = sequence(data, "SegmentSequence")
    numbers = [_number(one, "SegmentNumber") for one in described]
    if numbers != list(range(1, len(numbers) + 1)):
        yield Problem("SegmentSequence", "expected segment numbers 1, 2, 3 and so on", "PS3.3 C.8.20.2")
    shown = [
        _number(one, "ReferencedSegmentNumber")
        for frame in sequence(data, _FRAMES)
        for one in sequence(frame, "SegmentIdentificationSequence")
    ]
    if set(shown) - set(numbers):
        yield Problem(_FRAMES, "expected segments that are described, got others", "PS3.3 C.8.20.3.1")
    if set(numbers) - set(shown):
        yield Problem(_FRAMES, "expected a frame for every segment", HABIT)
    for frame in sequence(data, _FRAMES):
        index = [get(one, "DimensionIndexValues", ()) for one in sequence(frame, "FrameContentSequence")]
        number = [_number(one, "ReferencedSegmentNumber") for one in sequence(frame, "SegmentIdentificationSequence")]
        if [values[:1] for values in index] != [tuple(number)]:
            yield Problem(_FRAMES, "expected the index of the frame's segment", HABIT)
    tracked = [(get(one, "TrackingUID"), get(one, "SegmentAlgorithmName")) for one in described]
    if len(set(tracked)) != len(tracked):  # two algorithms may outline one thing
        yield Problem("SegmentSequence", "expected a Tracking UID of its own for each segment of an algorithm", HABIT)
    keywords = ("AlgorithmName", "AlgorithmVersion", "AlgorithmSource")
    contributed = _contributed(data)
    for number_, segment in enumerate(described, 1):
        where = f"SegmentSequence[{number_}]"
        automatic = get(segment, "SegmentAlgorithmType") != "MANUAL"
        if automatic and not get(segment, "SegmentAlgorithmName"):
            yield Problem(where, "expected a Segment Algorithm Name, got none", "PS3.3 C.8.20.4")
        if get(segment, "SegmentAlgorithmType") == "AUTOMATIC" and not sequence(segment, _IDENTIFIED):
            yield Problem(where, "expected the identification of its algorithm, got none", HABIT)
        if bool(get(segment, "TrackingID")) != bool(get(segment, "TrackingUID")):
            yield Problem(where, "expected Tracking ID and Tracking UID together", "PS3.3 C.8.20.4")
        for one in sequence(segment, _IDENTIFIED):
            if tuple(get(one, keyword) for keyword in keywords) not in contributed:
                yield Problem(where, "expected the algorithm among the contributing equipment", "AIR")
            if get(one, "AlgorithmName") != get(segment, "SegmentAlgorithmName"):
                yield Problem(where, "expected Segment Algorithm Name equal to Algorithm Name", "AIR")


def _contributed(data: Item) -> set[tuple[str, ...]]:
    keywords = ("ManufacturerModelName", "SoftwareVersions", "Manufacturer")
    items = sequence(data, "ContributingEquipmentSequence")
    return {tuple(get(one, keyword, "") for keyword in keywords) for one in items}


def _zero_to_one(mapping: Item) -> bool:
    slope, intercept, low, high = (first(mapping, f"RealWorldValue{name}") for name in _MAPPED)
    unit = [get(one, "CodeValue") for one in sequence(mapping, "MeasurementUnitsCodeSequence")]
    ends = (slope * low + intercept, slope * high + intercept - 1)
    return all(abs(end) < 1e-9 for end in ends) and unit == [RATIO.value]


def mapping(data: Item) -> Iterator[Problem]:
    """Judge the real world values of a parametric map."""
    where = "RealWorldValueMappingSequence"
    for group in sequence(data, "SharedFunctionalGroupsSequence"):
        for one in sequence(group, "RealWorldValueMappingSequence"):
            slope, _, low, high = (first(one, f"RealWorldValue{name}") for name in _MAPPED)
            if slope <= 0 or low >= high:
                yield Problem(where, "expected a rising map of stored values", HABIT)
            elif get(one, "LUTLabel") == "SALIENCY" and not _zero_to_one(one):
                yield Problem(where, "expected a saliency of 0 to 1", HABIT)
            parts = sequence(one, "QuantityDefinitionSequence")
            for part in parts:
                holder = {"CODE": "ConceptCodeSequence", "TEXT": "TextValue"}.get(get(part, "ValueType", ""))
                if holder is not None and not get(part, holder):
                    yield Problem(where, f"expected {holder} in a content item, got none", "PS3.3 Table 10-2")
            texts = tuple(get(part, "TextValue") for part in parts if get(part, "ValueType") == "TEXT")
            if texts and texts not in {pair[:2] for pair in _contributed(data)}:
                yield Problem(where, "expected the algorithm among the contributing equipment", "AIR")
        kinds = [get(one, "FrameType") for one in sequence(group, "ParametricMapFrameTypeSequence")]
        if kinds and kinds[0] != get(data, "ImageType"):
            yield Problem("FrameType", "expected Frame Type equal to Image Type", "PS3.3 C.8.32.3.1")
