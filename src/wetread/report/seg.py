"""The segmentation: every region of a result as one binary segment.

A segmentation has the source's own grid and says so by the derivation image
functional group.  Pixel measures and planes are optional beside it (PS3.3 Table
A.51-2); there are readers that cannot do without them: see
`wetread.report.context.place`.  Where the spacing is not known it is not given.

References
----------
DICOM PS3.3 Sections A.51, C.8.20.2 (segmentation image), C.7.6.16
(multi-frame functional groups), C.7.6.17 (multi-frame dimension), PS3.5 Section
8.1.1 (bits are packed without a gap between frames, least significant first).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wetread.records import Mask, Region
from wetread.report.codes import SEGMENTATION, SOURCE_IMAGE_FOR_SEGMENTATION, coded
from wetread.report.context import (
    Context,
    beginning,
    body_part,
    derivation,
    direction,
    image_pixel,
    labelled,
    orientation,
    pixel_measures,
    place,
    position,
    referenced_series,
    single_slice,
)
from wetread.report.elements import Item, item
from wetread.report.equipment import algorithm, identification
from wetread.uids import derive

#: CIELab of the segments, as Recommended Display CIELab Value: teal, amber, and so on.
_COLOURS = ((45000, 25500, 30500), (50000, 34000, 46000), (42000, 42000, 24000), (48000, 40000, 40000))
_SEGMENT_NUMBER = (0x0062000B,)
_SEGMENT_IDENTIFICATION = (0x0062000A,)


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
    bits = np.packbits(masks[0] if len(masks) == 1 else np.concatenate(masks), axis=None, bitorder="little")
    return np.append(bits, np.uint8(0)) if bits.size % 2 else bits


def _overlap(masks: list[Mask]) -> bool:
    seen = masks[0]
    for mask in masks[1:]:
        if np.logical_and(seen, mask).any():
            return True
        seen = np.logical_or(seen, mask) if len(masks) > 2 else seen
    return False


def _frame(context: Context, number: int) -> Item:
    return (
        item(
            FrameContentSequence=item(DimensionIndexValues=number),
            SegmentIdentificationSequence=item(ReferencedSegmentNumber=number),
        )
        | position()
        | derivation(context.source, SEGMENTATION, SOURCE_IMAGE_FOR_SEGMENTATION)
    )


def _shared(context: Context) -> Item:
    """Make the shared groups; pixel measures only where the spacing is known, never guessed."""
    image = context.result.image
    spacing_mm = image.spacing_mm if image is not None else None
    return direction(context.source) | (pixel_measures(spacing_mm) if spacing_mm is not None else {})


def dataset(context: Context) -> Item:
    """Make the segmentation of a result that has an image and regions.

    Raises
    ------
    DocumentError
        A region has more than one slice.
    """
    result = context.result
    masks = [single_slice(region.mask, "region mask") for region in result.regions]
    rows, columns = masks[0].shape
    dimension = derive(context.fingerprint, "SEG", "dimension")
    made = beginning(context, "SEG") | body_part(context.source) | orientation(context.source)
    made |= context.source.lossy | place(context.source)
    made |= referenced_series(context.source) | image_pixel(rows, columns, 1)
    made |= labelled("REGIONS", "Regions outlined by an algorithm; not a medical device")
    made |= item(
        ImageType="DERIVED\\PRIMARY",
        SegmentationType="BINARY",
        SegmentsOverlap="YES" if _overlap(masks) else "NO",
        SegmentSequence=[segment(region, number) for number, region in enumerate(result.regions, 1)],
        NumberOfFrames=str(len(masks)),
        DimensionOrganizationSequence=item(DimensionOrganizationUID=dimension),
        DimensionIndexSequence=item(
            DimensionOrganizationUID=dimension,
            DimensionIndexPointer=_SEGMENT_NUMBER,
            FunctionalGroupPointer=_SEGMENT_IDENTIFICATION,
            DimensionDescriptionLabel="Segment Number",
        ),
        SharedFunctionalGroupsSequence=_shared(context),
        PerFrameFunctionalGroupsSequence=[_frame(context, number) for number in range(1, len(masks) + 1)],
        PixelData=packed(masks),
    )
    return made
