"""Judges what hangs together in a presentation state: layers, annotations, the shown area.

References
----------
DICOM PS3.3 Sections C.10.4, C.10.5, C.10.7, C.11.1, C.11.6, C.11.8, C.11.11.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from wetread.report.elements import Item, get, sequence
from wetread.report.problem import HABIT, Problem
from wetread.report.sc import WARNING

_ANNOTATIONS = "GraphicAnnotationSequence"
#: How many points each type of graphic has: PS3.3 Section C.10.5.1.2.
_POINTS = {"POINT": (1, 1), "CIRCLE": (2, 2), "ELLIPSE": (4, 4), "POLYLINE": (2, 32767), "INTERPOLATED": (2, 32767)}
_BOX = ("BoundingBoxTopLeftHandCorner", "BoundingBoxBottomRightHandCorner", "BoundingBoxAnnotationUnits")
_ANCHOR = ("AnchorPoint", "AnchorPointAnnotationUnits", "AnchorPointVisibility")


def problems(data: Item) -> Iterator[Problem]:
    """Judge a presentation state."""
    yield from _layers(data)
    yield from _images(data)
    yield from _area(data)
    yield from _grey(data)
    for number, one in enumerate(sequence(data, _ANNOTATIONS), 1):
        where = f"{_ANNOTATIONS}[{number}]"
        graphics, texts = sequence(one, "GraphicObjectSequence"), sequence(one, "TextObjectSequence")
        if not graphics and not texts:
            yield Problem(where, "expected a text or a graphic, got neither", "PS3.3 C.10.5")
        for graphic in graphics:
            yield from _graphic(where, graphic)
        for text in texts:
            yield from _text(where, text)


def _layers(data: Item) -> Iterator[Problem]:
    layers = [get(one, "GraphicLayer") for one in sequence(data, "GraphicLayerSequence")]
    orders = [get(one, "GraphicLayerOrder") for one in sequence(data, "GraphicLayerSequence")]
    used = {get(one, "GraphicLayer") for one in sequence(data, _ANNOTATIONS)}
    if len(set(layers)) != len(layers) or len(set(orders)) != len(orders):
        yield Problem("GraphicLayerSequence", "expected a name and an order of its own for each layer", "PS3.3 C.10.7")
    if not used <= set(layers):
        yield Problem("GraphicLayerSequence", "expected every layer that is drawn on, got not all", "PS3.3 C.10.7")


def _pairs(images: list[Item]) -> set[tuple[str, str]]:
    return {(get(one, "ReferencedSOPInstanceUID", ""), get(one, "ReferencedSOPClassUID", "")) for one in images}


def _images(data: Item) -> Iterator[Problem]:
    series = sequence(data, "ReferencedSeriesSequence")
    shown = _pairs([one for part in series for one in sequence(part, "ReferencedImageSequence")])
    for holder in (_ANNOTATIONS, "DisplayedAreaSelectionSequence", "SoftcopyVOILUTSequence"):
        for number, one in enumerate(sequence(data, holder), 1):
            if not _pairs(sequence(one, "ReferencedImageSequence")) <= shown:
                where = f"{holder}[{number}]"
                yield Problem(where, "expected an image of the referenced series, got another", "PS3.3 C.11.11")


def _area(data: Item) -> Iterator[Problem]:
    for number, one in enumerate(sequence(data, "DisplayedAreaSelectionSequence"), 1):
        where = f"DisplayedAreaSelectionSequence[{number}]"
        corners = [get(one, f"DisplayedArea{corner}HandCorner", ()) for corner in ("TopLeft", "BottomRight")]
        if any(len(corner) != 2 for corner in corners) or any(a > b for a, b in zip(*corners, strict=False)):
            yield Problem(where, "expected a top left corner before the bottom right one", "PS3.3 C.10.4")
        if bool(get(one, "PresentationPixelSpacing")) == bool(get(one, "PresentationPixelAspectRatio")):
            yield Problem(where, "expected either pixel spacing or pixel aspect ratio", "PS3.3 C.10.4")
        if get(one, "PresentationSizeMode") == "TRUE SIZE" and not get(one, "PresentationPixelSpacing"):
            yield Problem(where, "expected pixel spacing for true size, got none", "PS3.3 C.10.4")


def _grey(data: Item) -> Iterator[Problem]:
    rescale = [get(data, f"Rescale{word}") for word in ("Intercept", "Slope", "Type")]
    if any(rescale) and not all(rescale):
        yield Problem("RescaleIntercept", "expected intercept, slope and type together", "PS3.3 C.11.1")
    if bool(get(data, "PresentationLUTShape")) == bool(sequence(data, "PresentationLUTSequence")):
        yield Problem("PresentationLUTShape", "expected either a shape or a table", "PS3.3 C.11.6")
    for number, one in enumerate(sequence(data, "SoftcopyVOILUTSequence"), 1):
        centre, width = (get(one, f"Window{word}", "") for word in ("Center", "Width"))
        if centre.count("\\") != width.count("\\") or not (sequence(one, "VOILUTSequence") or (centre and width)):
            yield Problem(f"SoftcopyVOILUTSequence[{number}]", "expected centre with width, or a table", "PS3.3 C.11.8")


def _graphic(where: str, graphic: Item) -> Iterator[Problem]:
    clause = "PS3.3 C.10.5.1.2"
    points, data = get(graphic, "NumberOfGraphicPoints", (0,)), get(graphic, "GraphicData", ())
    least, most = _POINTS.get(get(graphic, "GraphicType", ""), (1, 32767))
    if len(points) != 1 or not least <= points[0] <= most or len(data) != 2 * points[0]:
        yield Problem(where, "expected two numbers for each graphic point, and as many as its type has", clause)
    if not all(math.isfinite(one) for one in data):
        yield Problem(where, "expected finite numbers, got others", clause)
    closed = len(data) > 4 and data[:2] == data[-2:]
    if (closed or get(graphic, "GraphicType") in ("CIRCLE", "ELLIPSE")) and not get(graphic, "GraphicFilled"):
        yield Problem(where, "expected Graphic Filled for a closed graphic, got none", "PS3.3 C.10.5")


def _text(where: str, text: Item) -> Iterator[Problem]:
    box, anchor = ([bool(get(text, keyword)) for keyword in group] for group in (_BOX, _ANCHOR))
    if len(set(box)) != 1 or len(set(anchor)) != 1 or not (box[0] or anchor[0]):
        yield Problem(where, "expected a whole bounding box or a whole anchor point", "PS3.3 C.10.5")
    if box[0] and not get(text, "BoundingBoxTextHorizontalJustification"):
        yield Problem(where, "expected a justification for text in a box, got none", "PS3.3 C.10.5")
    if any(len(get(text, keyword, (0, 0))) != 2 for keyword in (*_BOX[:2], "AnchorPoint")):
        yield Problem(where, "expected a column and a row", "PS3.3 C.10.5")


def ours(data: Item) -> Iterator[Problem]:
    """Judge what our own states have: the warning on every image, a layer for each colour."""
    texts = [
        get(text, "UnformattedTextValue", "")
        for one in sequence(data, _ANNOTATIONS)
        if not sequence(one, "ReferencedImageSequence")
        for text in sequence(one, "TextObjectSequence")
    ]
    if len(texts) != 1 or not texts[0].startswith(WARNING):
        yield Problem(_ANNOTATIONS, "expected the warning on every image, got none", HABIT)
    used = {get(one, "GraphicLayer") for one in sequence(data, _ANNOTATIONS)}
    if used != {get(one, "GraphicLayer") for one in sequence(data, "GraphicLayerSequence")}:
        yield Problem("GraphicLayerSequence", "expected something on every layer, got nothing", HABIT)
    for number, one in enumerate(sequence(data, _ANNOTATIONS), 1):
        images, graphics = sequence(one, "ReferencedImageSequence"), sequence(one, "GraphicObjectSequence")
        if bool(images) != bool(graphics) or not sequence(one, "TextObjectSequence"):
            yield Problem(f"{_ANNOTATIONS}[{number}]", "expected outlines with name and image", HABIT)
