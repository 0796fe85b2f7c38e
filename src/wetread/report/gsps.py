"""The presentation state: outlines and words over the image itself, for a PACS that shows no segmentation.

One state a series: the outlines lie on the slices that hold them, the words on all.  Each
region has a layer of its own, so that it can be switched off.  What the state says of
grey values is what the image itself says, because a state replaces it.

References
----------
DICOM PS3.3 Sections A.33.1 (Grayscale Softcopy Presentation State), C.10.4 (displayed
area), C.10.5 (graphic annotation), C.10.7 (graphic layer), C.11.1 (modality LUT), C.11.6
(softcopy presentation LUT), C.11.8 (softcopy VOI LUT), C.11.10 and C.11.11 (identification,
relationship).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wetread.records import Image
from wetread.report import seg
from wetread.report.context import Context, beginning, body_part, labelled
from wetread.report.elements import Item, entry_of, get, item
from wetread.report.identity import text_of
from wetread.report.outlines import polylines
from wetread.report.planes import source_reference, source_references
from wetread.report.sc import WARNING
from wetread.report.values import fitting, numbers
from wetread.report.words import MOST_LINES, captions, fitted

WORDS = "AI WORDS"
_YELLOW = (62000, 31000, 52000)  # CIELab of the words, as Recommended Display CIELab Value
_MOST_TEXT = 1024  # characters of VR ST (PS3.5 Section 6.2)
_LINE = 0.035  # height of a line of words, as a share of the displayed area

#: VOI LUT Function: PS3.3 Section C.11.2.1.3; a window without one is LINEAR.
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def layer(number: int) -> str:
    """Name the layer of a region, counted from 1 as its segment is."""
    return f"AI REGION {number}"


def possible(context: Context) -> bool:
    """Whether a state can say how the image looks: by no table, and by one modality LUT for all slices."""
    header, image = context.result.header, context.result.image
    if image is None or not image.one_rescale or ("VOILUTSequence" in header and not _own_window(image)):
        return False
    return context.source.referable and "ModalityLUTSequence" not in header


def _lines(context: Context) -> list[str]:
    return fitted([WARNING, *captions(context.result)], MOST_LINES, _MOST_TEXT)


def _words(context: Context) -> Item:
    """Put the words at the bottom of every image."""
    lines = _lines(context)
    text = item(
        BoundingBoxAnnotationUnits="DISPLAY",
        UnformattedTextValue="\r\n".join(lines),
        BoundingBoxTopLeftHandCorner=(0.02, max(0.02, 0.98 - _LINE * len(lines))),
        BoundingBoxBottomRightHandCorner=(0.98, 0.98),
        BoundingBoxTextHorizontalJustification="LEFT",
    )
    return item(GraphicLayer=WORDS, TextObjectSequence=text)


def _outlined(context: Context) -> list[Item]:
    """Draw each region on each slice that holds it, with its name."""
    made = []
    for number, region in enumerate(context.result.regions, 1):
        for slice_ in np.flatnonzero(region.mask.any((1, 2))):
            lines = polylines(region.mask[slice_])
            made.append(
                item(
                    ReferencedImageSequence=source_reference(context, int(slice_)),
                    GraphicLayer=layer(number),
                    TextObjectSequence=_name(region.label, lines[0]),
                    GraphicObjectSequence=[_polyline(line) for line in lines],
                )
            )
    return made


def _polyline(line: Any) -> Item:
    return item(
        GraphicAnnotationUnits="PIXEL",
        GraphicDimensions=2,
        NumberOfGraphicPoints=len(line),
        GraphicData=tuple(float(one) for one in line.ravel()),
        GraphicType="POLYLINE",
        GraphicFilled="N",
    )


def _name(label: str, line: Any) -> Item:
    """Name a region at the top of its largest outline."""
    top = line[int(line[:, 1].argmin())]
    return item(
        AnchorPointAnnotationUnits="PIXEL",
        UnformattedTextValue=f"{label} (AI)",
        AnchorPoint=(float(top[0]), float(top[1])),
        AnchorPointVisibility="N",
    )


def _layers(context: Context) -> list[Item]:
    """Order the layers from the back, in the colours of the segments."""
    made = []
    for number, region in enumerate(context.result.regions, 1):
        colour = get(seg.segment(region, number), "RecommendedDisplayCIELabValue")
        made.append((layer(number), region.label, colour))
    made.append((WORDS, "What the AI says", _YELLOW))
    return [
        item(
            GraphicLayer=name,
            GraphicLayerOrder=str(order),
            GraphicLayerDescription=said[:64],
            GraphicLayerRecommendedDisplayCIELabValue=colour,
        )
        for order, (name, said, colour) in enumerate(made, 1)
    ]


def _area(image: Image) -> Item:
    """Show the whole image, as large as it fits."""
    _, rows, columns = image.pixels.shape
    made = item(
        DisplayedAreaTopLeftHandCorner=(1, 1),
        DisplayedAreaBottomRightHandCorner=(columns, rows),
        PresentationSizeMode="SCALE TO FIT",
    )
    if image.spacing_mm is not None:
        _, row, column = image.spacing_mm
        return made | item(PresentationPixelSpacing=f"{row:.10g}\\{column:.10g}")
    return made | item(PresentationPixelAspectRatio=_ratio(image.pixel_aspect))


def _ratio(aspect: float) -> str:
    """Give height over width of a pixel as two whole numbers."""
    return "1\\1" if aspect == 1.0 else f"{round(aspect * 10000)}\\10000"


def _groups(header: Any) -> list[Any]:
    """Where a header may hold the rescale: itself, or the functional groups of an enhanced object."""
    found = [header]
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (header.get(keyword) or [])[:1]:
            found += list(group.get("PixelValueTransformationSequence") or [])
    return found


def _rescale(header: Any) -> Item:
    """Repeat the image's own modality LUT: a state without one would undo it.

    A CT image need not say that its values are Hounsfield units (PS3.3 Section C.8.2.1).
    """
    implied = "HU" if text_of(header, "Modality") == "CT" else "US"
    for holder in _groups(header):
        slope, intercept = (numbers(text_of(holder, f"Rescale{word}")) for word in ("Slope", "Intercept"))
        if slope and intercept:
            unit = fitting("RescaleType", text_of(holder, "RescaleType"))
            return item(
                RescaleIntercept=intercept, RescaleSlope=slope, RescaleType=unit if unit.isascii() and unit else implied
            )
    return {}


def _own_window(image: Image) -> Item:
    """Take the first window of the image, with its function; none where slices have different ones."""
    header = image.header
    centre, width = (numbers(text_of(header, f"Window{word}").split("\\")[0]) for word in ("Center", "Width"))
    if image.windows or not (centre and width and float(width) >= 1):
        return {}
    return _voi(centre, width, text_of(header, "VOILUTFunction"))


def _voi(centre: str, width: str, function: str = "") -> Item:
    made = item(WindowCenter=centre, WindowWidth=width)
    return made | item(VOILUTFunction=function) if function in _FUNCTIONS else made


def _window_of_each(context: Context, image: Image) -> list[Item]:
    """Take the window of each slice, where they differ and every slice has one."""
    slices: dict[tuple[str, str, str], list[int]] = {}
    for slice_, (centre, width, function) in enumerate(image.windows):
        if centre is None or width is None or width < 1:
            return []
        slices.setdefault((f"{centre:.10g}", f"{width:.10g}", function), []).append(slice_)
    return [
        _voi(*window) | item(ReferencedImageSequence=_references(context, image, those))
        for window, those in slices.items()
    ]


def _references(context: Context, image: Image, slices: list[int]) -> list[Item]:
    """Refer to slices, or to frames of the one instance."""
    if not image.frames:
        return [source_reference(context, one) for one in slices]
    frames = "\\".join(str(image.frames[one]) for one in sorted(slices, key=lambda one: image.frames[one]))
    return [source_reference(context) | item(ReferencedFrameNumber=frames)]


def _window(context: Context, image: Image) -> Item:
    """Take the image's own windows; without them what lies between percentiles of its values."""
    made = _own_window(image) or _window_of_each(context, image)
    if not made:
        if text_of(image.header, "PhotometricInterpretation") == "MONOCHROME1":
            return {}  # its values may have been mirrored when it was decoded
        low, high = (float(one) for one in np.percentile(image.pixels[:, ::4, ::4], (0.5, 99.5)))
        made = _voi(f"{(low + high) / 2:.6g}", f"{max(high - low, 1.0):.6g}")
    return item(SoftcopyVOILUTSequence=made)


def dataset(context: Context, image: Image) -> Item:
    """Make the presentation state of a result that was read."""
    date, time = context.source.moment
    inverse = text_of(image.header, "PhotometricInterpretation") == "MONOCHROME1"
    made = beginning(context, "GSPS") | body_part(context.source, sided=True) | _rescale(image.header)
    made |= labelled("AI OUTLINES", f"{WARNING}: outlines and findings") | _window(context, image)
    for keyword in ("ContentDate", "ContentTime"):  # a state has a creation date instead
        del made[entry_of(keyword)[0]]
    return made | item(
        PresentationCreationDate=date,
        PresentationCreationTime=time,
        ReferencedSeriesSequence=item(
            SeriesInstanceUID=context.source.series_uid, ReferencedImageSequence=source_references(context)
        ),
        DisplayedAreaSelectionSequence=_area(image),
        GraphicAnnotationSequence=[*_outlined(context), _words(context)],
        GraphicLayerSequence=_layers(context),
        PresentationLUTShape="INVERSE" if inverse else "IDENTITY",
    )
