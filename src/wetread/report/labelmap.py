"""The label map: the regions of a result in one frame a slice, each pixel the number of its segment.

It says what the binary segmentation says, with the same segment numbers and tracking
identifiers, in a form that new viewers read faster.  A pixel has one number, so regions that
overlap have no label map; 0 is the background.

References
----------
DICOM Supplement 243; PS3.3 Sections A.91 (Label Map Segmentation), C.8.20.2 (segmentation
image), C.7.6.16 (multi-frame functional groups), C.7.6.17 (multi-frame dimension).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wetread.report import seg
from wetread.report.codes import BACKGROUND, SEGMENTATION, SOURCE_IMAGE_FOR_SEGMENTATION, coded
from wetread.report.context import Context, beginning, body_part, image_pixel, labelled, orientation
from wetread.report.elements import Item, item
from wetread.report.equipment import algorithm, identification
from wetread.report.planes import derivation, direction, pixel_measures, place, position, referenced_series
from wetread.uids import derive

_IMAGE_POSITION, _PLANE_POSITION = (0x00200032,), (0x00209113,)
#: Segments that one byte a pixel tells apart, with the background.
MOST_REGIONS = 255


def possible(context: Context) -> bool:
    """Whether one number a pixel is enough: regions that do not overlap, and not too many."""
    regions = context.result.regions
    if not 0 < len(regions) <= MOST_REGIONS or not context.source.referable:
        return False
    return bool(np.sum([region.mask for region in regions], axis=0, dtype=np.uint16).max() <= 1)


def _labels(context: Context) -> npt.NDArray[np.uint8]:
    """Give each pixel the number of its segment, (z, y, x)."""
    made = np.zeros(context.result.regions[0].mask.shape, np.uint8)
    for number, region in enumerate(context.result.regions, 1):
        made[region.mask] = number
    return made


def _background(context: Context) -> Item:
    """Describe the pixels that are in no region."""
    named = algorithm(context.result.regions[0].model)
    return item(
        SegmentNumber=0,
        SegmentLabel="Background",
        SegmentAlgorithmType="AUTOMATIC",
        SegmentAlgorithmName=named.name,
        SegmentationAlgorithmIdentificationSequence=identification(named),
        SegmentedPropertyCategoryCodeSequence=coded(BACKGROUND),
        SegmentedPropertyTypeCodeSequence=coded(BACKGROUND),
    )


def _dimensions(context: Context) -> Item:
    """Frames are counted by position (PS3.3 Section C.7.6.17)."""
    uid = derive(context.fingerprint, "LABELMAP", "dimension")
    return item(
        DimensionOrganizationSequence=item(DimensionOrganizationUID=uid),
        DimensionIndexSequence=item(
            DimensionOrganizationUID=uid,
            DimensionIndexPointer=_IMAGE_POSITION,
            FunctionalGroupPointer=_PLANE_POSITION,
            DimensionDescriptionLabel="Image Position (Patient)",
        ),
    )


def _frame(context: Context, slice_: int, rank: int) -> Item:
    made = item(FrameContentSequence=item(DimensionIndexValues=rank)) | position(context, slice_)
    return made | derivation(context, SEGMENTATION, SOURCE_IMAGE_FOR_SEGMENTATION, slice_)


def dataset(context: Context) -> Item:
    """Make the label map of a result whose regions do not overlap: a frame for every slice with content."""
    labels = _labels(context)
    rows, columns = labels.shape[1:]
    held = [int(slice_) for slice_ in np.flatnonzero(labels.any((1, 2)))] or [0]
    described = [seg.segment(region, number) for number, region in enumerate(context.result.regions, 1)]
    made = beginning(context, "LABELMAP") | body_part(context.source) | orientation(context.source)
    made |= context.source.lossy | place(context) | _dimensions(context) | referenced_series(context)
    made |= image_pixel(rows, columns, 8) | labelled("REGIONS", "Regions outlined by an algorithm")
    pixels = labels[held].reshape(-1)
    return made | item(
        ImageType="DERIVED\\PRIMARY",
        SegmentationType="LABELMAP",
        SegmentsOverlap="NO",
        PixelPaddingValue=0,
        PresentationLUTShape="IDENTITY",
        SegmentSequence=[_background(context), *described],
        NumberOfFrames=str(len(held)),
        SharedFunctionalGroupsSequence=direction(context) | pixel_measures(context),
        PerFrameFunctionalGroupsSequence=[_frame(context, slice_, rank) for rank, slice_ in enumerate(held, 1)],
        PixelData=np.append(pixels, np.uint8(0)) if pixels.size % 2 else pixels,
    )
