"""The segmentation: every region of a result as one binary segment.

A segmentation has the source's own grid and says so by the derivation image
functional group.  Pixel measures and planes are optional beside it (PS3.3 Table
A.51-2); there are readers that cannot do without them: see
`wetread.report.planes.place`.  Where the spacing is not known it is not given.
Of a series, every slice on which a segment has content is a frame.

References
----------
DICOM PS3.3 Sections A.51, C.8.20.2 (segmentation image), C.7.6.16
(multi-frame functional groups), C.7.6.17 (multi-frame dimension), PS3.5 Section
8.1.1 (bits are packed without a gap between frames, least significant first).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wetread.errors import DocumentError
from wetread.records import Mask, Region
from wetread.report.codes import SEGMENTATION, SOURCE_IMAGE_FOR_SEGMENTATION, coded
from wetread.report.context import Context, beginning, body_part, image_pixel, labelled, orientation
from wetread.report.elements import Item, item
from wetread.report.equipment import algorithm, identification
from wetread.report.planes import (
    derivation,
    direction,
    is_series,
    pixel_measures,
    place,
    position,
    referenced_series,
)
from wetread.uids import derive

#: CIELab of the segments, as Recommended Display CIELab Value: teal, amber, and so on.
_COLOURS = ((45000, 25500, 30500), (50000, 34000, 46000), (42000, 42000, 24000), (48000, 40000, 40000))
_SEGMENT_NUMBER = (0x0062000B,)
_SEGMENT_IDENTIFICATION = (0x0062000A,)
_IMAGE_POSITION = (0x00200032,)
_PLANE_POSITION = (0x00209113,)


def segment(region: Region, number: int) -> Item:
    """Describe one segment (PS3.3 Table C.8.20-4)."""
    named = algorithm(region.model)
    kind = dict(coded(region.type))
    if region.laterality is not None:
        kind |= item(SegmentedPropertyTypeModifierCodeSequence=coded(region.laterality))
    return item(
        SegmentNumber=number,
        SegmentLabel=region.label[:64],
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName=named.name,
        SegmentationAlgorithmIdentificationSequence=identification(named),
        SegmentedPropertyCategoryCodeSequence=coded(region.category),
        SegmentedPropertyTypeCodeSequence=kind,
        TrackingID=region.tracking_id,
        TrackingUID=region.tracking_uid,
        RecommendedDisplayCIELabValue=_COLOURS[(number - 1) % len(_COLOURS)],
    )


def packed(masks: list[Mask]) -> npt.NDArray[np.uint8]:
    """Pack masks (y, x) to bits, frame after frame without a gap, to an even length."""
    size = masks[0].size
    if size % 8 and len(masks) > 1:  # a frame starts inside a byte
        bits = np.packbits(np.concatenate(masks), axis=None, bitorder="little")
        return np.append(bits, np.uint8(0)) if bits.size % 2 else bits
    # Straight into the place: a copy of all frames as bytes would be eight times the result.
    step = -(-size // 8)
    bits = np.zeros((step * len(masks) + 1) // 2 * 2, np.uint8)
    for number, mask in enumerate(masks):
        bits[number * step : (number + 1) * step] = np.packbits(mask, axis=None, bitorder="little")
    return bits


def _overlap(masks: list[Mask]) -> bool:
    """Whether any two masks (z, y, x) share a pixel: slice by slice, which stays in the cache."""
    for planes in zip(*masks, strict=True):
        seen = planes[0]
        for plane in planes[1:]:
            if np.logical_and(seen, plane).any():
                return True
            seen = np.logical_or(seen, plane) if len(planes) > 2 else seen
    return False


def _frames(context: Context) -> list[tuple[int, int]]:
    """Segment number and slice of each frame: of a series only those with content."""
    regions = context.result.regions
    if not is_series(context):
        return [(number, 0) for number in range(1, len(regions) + 1)]
    return [
        (number, int(slice_))
        for number, region in enumerate(regions, 1)
        for slice_ in np.flatnonzero(region.mask.any((1, 2)))
    ]


def _frame(context: Context, number: int, slice_: int, index: tuple[int, ...]) -> Item:
    return (
        item(
            FrameContentSequence=item(DimensionIndexValues=index),
            SegmentIdentificationSequence=item(ReferencedSegmentNumber=number),
        )
        | position(context, slice_)
        | derivation(context, SEGMENTATION, SOURCE_IMAGE_FOR_SEGMENTATION, slice_)
    )


def _dimensions(context: Context) -> Item:
    """Frames are counted by segment, and of a series by position (PS3.3 Section C.7.6.17)."""
    uid = derive(context.fingerprint, "SEG", "dimension")
    made = [
        item(
            DimensionOrganizationUID=uid,
            DimensionIndexPointer=_SEGMENT_NUMBER,
            FunctionalGroupPointer=_SEGMENT_IDENTIFICATION,
            DimensionDescriptionLabel="Segment Number",
        )
    ]
    if is_series(context):
        made.append(
            item(
                DimensionOrganizationUID=uid,
                DimensionIndexPointer=_IMAGE_POSITION,
                FunctionalGroupPointer=_PLANE_POSITION,
                DimensionDescriptionLabel="Image Position (Patient)",
            )
        )
    organization = item(DimensionOrganizationUID=uid)
    return item(DimensionOrganizationSequence=organization, DimensionIndexSequence=made)


def dataset(context: Context) -> Item:
    """Make the segmentation of a result that has an image and regions.

    Raises
    ------
    DocumentError
        A region has several slices of which nobody knows the place.
    """
    result = context.result
    masks = [region.mask for region in result.regions]
    if not is_series(context) and len(masks[0]) != 1:
        raise DocumentError(f"region mask: expected an array of one slice (1, y, x), got {masks[0].shape}")
    frames = _frames(context)
    rows, columns = masks[0].shape[1:]
    places = sorted({slice_ for _, slice_ in frames})
    ranks = {slice_: rank for rank, slice_ in enumerate(places, 1)}
    made = beginning(context, "SEG") | body_part(context.source) | orientation(context.source)
    made |= context.source.lossy | place(context) | _dimensions(context)
    made |= referenced_series(context) | image_pixel(rows, columns, 1)
    made |= labelled("REGIONS", "Regions outlined by an algorithm; not a medical device")
    made |= item(
        ImageType="DERIVED\\PRIMARY",
        SegmentationType="BINARY",
        SegmentsOverlap="YES" if _overlap(masks) else "NO",
        SegmentSequence=[segment(region, number) for number, region in enumerate(result.regions, 1)],
        NumberOfFrames=str(len(frames)),
        SharedFunctionalGroupsSequence=direction(context) | pixel_measures(context),
        PerFrameFunctionalGroupsSequence=[
            _frame(context, number, slice_, (number, ranks[slice_]) if is_series(context) else (number,))
            for number, slice_ in frames
        ],
        PixelData=packed([masks[number - 1][slice_] for number, slice_ in frames]),
    )
    return made
