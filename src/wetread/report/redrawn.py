"""The segmentation that a person corrected: ours, with the masks of the person instead of the algorithm's.

A person's segment stands for the region of ours with its tracking identifier, else with its type and side, else with
its label.  A region of which it has none stays as it was, and so does one with the same mask.  What changed is MANUAL,
or SEMIAUTOMATIC where a program helped; of our algorithm only what it made itself is identified.

No attribute of a segmentation says "replaces" (see `wetread.report.revision`): it names the one before as the image
from which it was derived, and the report that names it has its predecessor.

References
----------
DICOM PS3.3 Sections A.51, C.8.20.2 and Table C.8.20-4 (Segment Algorithm Type), C.12.4 (general reference), Table 10-12
(content creator).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wetread.errors import BadInput
from wetread.measures import extent
from wetread.records import Code, Document, Mask, Segment, Segmentation
from wetread.report.checker import problems_of
from wetread.report.codes import IMAGE_PROCESSING_SOURCE, coded
from wetread.report.elements import Item, decode, encode, get, item, sequence
from wetread.report.placed import PER_FRAME, Grid, Planes, grid_of, placed
from wetread.report.problem import require_none
from wetread.report.seg import packed
from wetread.report.tree import key_of
from wetread.report.words import decimal
from wetread.uids import derive

_ALGORITHM = ("SegmentAlgorithmName", "SegmentationAlgorithmIdentificationSequence")


@dataclass(frozen=True, slots=True)
class Size:
    """What was measured in a mask that a person drew."""

    label: str
    value: str  # as every document prints it
    unit: str  # UCUM


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A segmentation with a person's masks."""

    document: Document
    before: str  # SOP Instance UID of that of the algorithms
    sizes: Mapping[str, Size]  # Tracking UID -> size, of each region that the person drew


def redrawn(ours: bytes, drawn: Segmentation, name: str, digest: str) -> Redrawn:
    """Put a person's masks into our segmentation.

    Parameters
    ----------
    ours
        As `wetread.report.seg` writes it.
    drawn
        The person's.
    name
        Of the person, as DICOM writes it.
    digest
        Of the review, hex.

    Raises
    ------
    BadInput
        The person's is of another grid, has a segment that is empty or no region of ours, or says what ours says.
    DocumentError
        What was made failed our own check.
    """
    _, data = decode(ours)
    regions = sequence(data, "SegmentSequence")
    matches = _matched(regions, drawn.segments)
    grid = grid_of(data)
    masks, groups = placed(grid, drawn)
    groups = grid.groups | groups
    planes = _planes(data, grid)
    changed = {}
    for number, segment in matches.items():
        if not masks[segment.number]:
            raise BadInput(f"segmentation: expected something in each segment, got an empty one: {segment.number}")
        if not _same(planes[number], masks[segment.number]):
            planes[number], changed[number] = masks[segment.number], segment
    if not changed:
        raise BadInput("segmentation: expected a mask that differs from that of the report, got the same")
    made = _frames(data | _described(data, changed, name, digest), grid, planes, groups)
    encoded = encode(made)
    require_none("SEG of a review", problems_of(encoded, None))
    uids = get(made, "SOPClassUID"), get(made, "SOPInstanceUID")
    sizes = {
        get(regions[number - 1], "TrackingUID"): _size(regions[number - 1], planes[number], grid) for number in changed
    }
    return Redrawn(Document("SEG", f"{digest[:8]}-seg.dcm", encoded, *uids), get(data, "SOPInstanceUID"), sizes)


def _matched(regions: Sequence[Item], segments: Sequence[Segment]) -> dict[int, Segment]:
    """Find for each segment the number of the region that it stands for."""
    made: dict[int, Segment] = {}
    for segment in segments:
        found = next((found for one in _WAYS if len(found := [r for r in regions if one(r, segment)]) == 1), None)
        if found is None or get(found[0], "SegmentNumber")[0] in made:
            known = ", ".join(f"{get(one, 'SegmentLabel')} ({get(one, 'TrackingUID')})" for one in regions)
            raise BadInput(
                "segmentation: expected each segment to be a region of the report, each another, by Tracking UID, type "
                f"and side, or label, of {known}; segment {segment.number} is none"
            )
        made[get(found[0], "SegmentNumber")[0]] = segment
    return made


def _is_tracked(region: Item, segment: Segment) -> bool:
    return bool(segment.tracking_uid) and segment.tracking_uid == get(region, "TrackingUID")


def _is_typed(region: Item, segment: Segment) -> bool:
    type_ = sequence(region, "SegmentedPropertyTypeCodeSequence")[0]
    side = key_of(type_, "SegmentedPropertyTypeModifierCodeSequence")
    there = _key(segment.type), _key(segment.laterality) if segment.laterality else ("", "")
    return (key_of(region, "SegmentedPropertyTypeCodeSequence"), side) == there


def _is_called(region: Item, segment: Segment) -> bool:
    return bool(segment.label) and segment.label.casefold() == get(region, "SegmentLabel").casefold()


_WAYS = (_is_tracked, _is_typed, _is_called)


def _key(code: Code) -> tuple[str, str]:
    return code.scheme, code.value


def _same(ours: Planes, theirs: Planes) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[one], theirs[one]) for one in ours)


def _planes(data: Item, grid: Grid) -> dict[int, Planes]:
    """Unpack our own masks by segment number; frames without content are none."""
    frames, (_, rows, columns) = sequence(data, PER_FRAME), grid.shape
    bits = np.frombuffer(get(data, "PixelData"), np.uint8)
    made: dict[int, Planes] = {number: {} for number in range(1, len(sequence(data, "SegmentSequence")) + 1)}
    size = rows * columns
    for index, frame in enumerate(frames):
        start, end = index * size, (index + 1) * size
        plane = np.unpackbits(bits[start // 8 : -(-end // 8)], bitorder="little")[start % 8 :][:size]
        if plane.any():
            number = get(sequence(frame, "SegmentIdentificationSequence")[0], "ReferencedSegmentNumber")[0]
            made[number][grid.slice_of(frame)] = plane.reshape(rows, columns).astype(np.bool_)
    return made


def _described(data: Item, changed: Mapping[int, Segment], name: str, digest: str) -> Item:
    """Say who made what, and of what it was made."""
    uid = get(data, "SOPInstanceUID")
    source = item(ReferencedSOPClassUID=get(data, "SOPClassUID"), ReferencedSOPInstanceUID=uid)
    made = item(
        SOPInstanceUID=derive(uid, "review", digest),
        InstanceNumber=str(int(get(data, "InstanceNumber", "1")) + 1),
        ContentDescription="Regions outlined by an algorithm, corrected by a person",
        ContentCreatorName=name,
        DerivationDescription="Masks corrected by a person",
        SourceImageSequence=source | item(PurposeOfReferenceCodeSequence=coded(IMAGE_PROCESSING_SOURCE)),
        SegmentSequence=[
            _segment(one, changed[number]) if number in changed else one
            for number, one in enumerate(sequence(data, "SegmentSequence"), 1)
        ],
    )
    texts = (name, *(one.algorithm for one in changed.values()))
    return made if all(map(str.isascii, texts)) else made | item(SpecificCharacterSet="ISO_IR 192")


def _segment(region: Item, segment: Segment) -> Item:
    left = {tag: entry for tag, entry in region.items() if tag not in item(**{one: [] for one in _ALGORITHM})}
    helper = " ".join("".join(one if one.isprintable() and one != "\\" else " " for one in segment.algorithm).split())
    if not helper:
        return left | item(SegmentAlgorithmType="MANUAL")
    return left | item(SegmentAlgorithmType="SEMIAUTOMATIC", SegmentAlgorithmName=helper)


def _frames(made: Item, grid: Grid, planes: Mapping[int, Planes], groups: Mapping[int, Item]) -> Item:
    """Write frames, in the order of segments and slices."""
    order = [(number, slice_) for number in sorted(planes) for slice_ in sorted(planes[number])]
    ranks = {slice_: rank for rank, slice_ in enumerate(sorted({slice_ for _, slice_ in order}), 1)}
    shown = [
        {
            **groups[slice_],
            **item(
                FrameContentSequence=item(DimensionIndexValues=(number, ranks[slice_]) if grid.placed else (number,)),
                SegmentIdentificationSequence=item(ReferencedSegmentNumber=number),
            ),
        }
        for number, slice_ in order
    ]
    return made | item(
        SegmentsOverlap="YES" if _overlap(planes, ranks) else "NO",
        NumberOfFrames=str(len(order)),
        PerFrameFunctionalGroupsSequence=shown,
        PixelData=packed([planes[number][slice_] for number, slice_ in order]),
    )


def _overlap(planes: Mapping[int, Planes], slices: Mapping[int, int]) -> bool:
    for slice_ in slices:
        here: list[Mask] = [one[slice_] for one in planes.values() if slice_ in one]
        if len(here) > 1 and np.sum(here, axis=0, dtype=np.uint16).max() > 1:
            return True
    return False


def _size(region: Item, planes: Planes, grid: Grid) -> Size:
    voxels = sum(int(np.count_nonzero(one)) for one in planes.values())
    value, unit = extent(voxels, grid.shape, grid.spacing_mm)
    return Size(get(region, "SegmentLabel"), decimal(value), unit)
