"""Where the frames of a document lie, and which images they were made from.

A slice has its own place in the patient and shares the frame of reference of its series.
A projection has none: see `place`.

References
----------
DICOM PS3.3 Sections C.7.4.1 (frame of reference), C.7.6.16.2 (functional groups), C.12.2
(common instance reference), 10.3 (image SOP instance reference macro).
"""

from __future__ import annotations

from collections.abc import Iterable

from wetread.records import Code, Image
from wetread.report.codes import coded
from wetread.report.context import Context, reference
from wetread.report.elements import Item, item
from wetread.report.identity import text_of
from wetread.report.values import numbers
from wetread.uids import derive

#: The letters of Patient Orientation (PS3.3 Section C.7.6.1.1.1) as directions in the patient.
_AXES = {
    "L": (1, 0, 0),
    "R": (-1, 0, 0),
    "P": (0, 1, 0),
    "A": (0, -1, 0),
    "H": (0, 0, 1),
    "F": (0, 0, -1),
}


def _placed(context: Context) -> Image | None:
    """The image, if its slices have places in the patient."""
    image = context.result.image
    return image if image is not None and image.directions is not None else None


def is_series(context: Context) -> bool:
    """Whether the result is about slices with places in the patient."""
    return _placed(context) is not None


def _decimals(numbers: Iterable[float]) -> str:
    """Numbers as several DS; what is smaller than a picometre is 0."""
    return "\\".join(f"{number:.10g}" if abs(number) >= 1e-9 else "0" for number in numbers)


def source_reference(context: Context, slice_: int = 0) -> Item:
    """Refer to the source instance of a slice, and to its frame if the instance has several."""
    source, image = context.source, context.result.image
    if image is not None and image.frames:
        frame = item(ReferencedFrameNumber=str(image.frames[slice_]))
        return reference(source.sop_class_uid, source.sop_uid) | frame
    return reference(source.sop_class_uid, source.sop_uids[slice_])


def source_references(context: Context) -> list[Item]:
    """Refer to every source instance, as a whole."""
    return [reference(context.source.sop_class_uid, uid) for uid in context.source.sop_uids]


def derivation(context: Context, derived: Code, purpose: Code, slice_: int = 0) -> Item:
    """Make the derivation image functional group: from which image, how, and for what."""
    return item(
        DerivationImageSequence=item(
            DerivationCodeSequence=coded(derived),
            SourceImageSequence=source_reference(context, slice_)
            | item(SpatialLocationsPreserved="YES", PurposeOfReferenceCodeSequence=coded(purpose)),
        )
    )


def referenced_series(context: Context) -> Item:
    """Make the common instance reference module for the source instances."""
    return item(
        ReferencedSeriesSequence=item(
            SeriesInstanceUID=context.source.series_uid, ReferencedInstanceSequence=source_references(context)
        )
    )


def axes(orientation: str) -> str:
    r"""Give Image Orientation (Patient) for a Patient Orientation such as ``L\F``."""
    known = [_AXES[one[:1]] for one in orientation.split("\\") if one[:1] in _AXES]
    usable = len(known) == 2 and not any(a and b for a, b in zip(*known, strict=True))
    row, column = known if usable else ((1, 0, 0), (0, 1, 0))
    return "\\".join(str(one) for one in (*row, *column))


def place(context: Context) -> Item:
    """Make the frame of reference module.

    Parametric Map demands a frame of reference and planes, and some readers demand
    them of a Segmentation too, but a projection image has none, or one in which it does
    not say where it lies.  The documents then get one of their own: it is derived from
    the source instance and shared with nothing else, its axes follow Patient
    Orientation, its origin is the first pixel.
    """
    source = context.source
    if is_series(context) and source.frame_of_reference:
        shared = source.frame_of_reference, source.position_reference
    else:
        shared = derive(source.sop_uid, "frame of reference of the film"), ""
    return item(FrameOfReferenceUID=shared[0], PositionReferenceIndicator=shared[1])


def pixel_measures(context: Context) -> Item:
    """Make the pixel measures functional group, empty where the spacing is not known: it is never guessed."""
    image = context.result.image
    if image is None or image.spacing_mm is None:
        return {}
    depth, row, column = image.spacing_mm
    made = item(PixelSpacing=_decimals((row, column)), SliceThickness=_decimals((depth,)))
    if len(image.pixels) > 1:
        thickness = numbers(text_of(context.result.header, "SliceThickness"))
        made |= item(SpacingBetweenSlices=_decimals((depth,)))
        made |= item(SliceThickness=thickness) if _is_length(thickness) else {}
    return item(PixelMeasuresSequence=made)


def _is_length(text: str) -> bool:
    try:
        return 0 < float(text) < 1e3
    except ValueError:
        return False


def position(context: Context, slice_: int = 0) -> Item:
    """Make the plane position functional group: of a film the first pixel is the origin."""
    image = _placed(context)
    at = _decimals(image.positions_mm[slice_]) if image is not None else "0\\0\\0"
    return item(PlanePositionSequence=item(ImagePositionPatient=at))


def direction(context: Context) -> Item:
    """Make the plane orientation functional group."""
    image = _placed(context)
    turned = axes(context.source.orientation)
    if image is not None and image.directions is not None:
        turned = _decimals((*image.directions[2], *image.directions[1]))
    return item(PlaneOrientationSequence=item(ImageOrientationPatient=turned))
