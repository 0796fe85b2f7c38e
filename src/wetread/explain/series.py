"""Which pictures a result calls for: of a film the film, of a series its most telling slice and nine others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from wetread.counting import facing, listed, named
from wetread.explain.overlay import LARGEST, contours, display, ends, pictures
from wetread.records import Image, Mask, Picture, Pixels, Region, Result

#: Rows and columns of slices on a montage.
SIDE = 3


def drawn(image: Image, result: Result, window: tuple[float, float] | None = None) -> tuple[Picture, ...]:
    """The film or slice, the contours and the heat, the stronger the surer the model is; of a series a montage too.

    Parameters
    ----------
    image
        What was read.
    result
        What is said about it.
    window
        Values that become black and white; by default a two-hundredth of what is shown lies beyond each.
    """
    explanation = result.explanations[0] if result.explanations else None
    at = explanation.slice if explanation is not None else _fullest(result.regions)
    enlarge = image.directions is not None
    film = display(image.pixels[at], image.pixel_aspect, window, enlarge=enlarge)
    masks = [region.mask[at] for region in result.regions]
    masks = masks if any(mask.any() for mask in masks) else []
    heat = explanation.map if explanation is not None else None
    first = result.findings[0] if result.findings else None
    sure = 0.0 if first is None else 1.0 if first.present else first.probability / first.threshold
    strength, count = 0.25 + 0.5 * sure, len(image.pixels)
    if not enlarge and count == 1:
        return pictures(film, masks, heat, strength, _shown("The film", image))
    names = ", ".join(region.label.lower() for region in result.regions)
    made = pictures(film, masks, heat, strength, _shown(named(image, [at]).capitalize(), image), names)
    if count == 1:
        return made
    masks = [one.mask for one in result.regions]
    return (*made, montage(image.pixels, image.pixel_aspect, masks, window, partial(listed, image)))


def _shown(what: str, image: Image) -> str:
    """Say what is displayed, and which side of the patient is on the right, where that is known."""
    return ". ".join(one for one in (f"{what}, stretched for display", facing(image)) if one)


def _fullest(regions: Sequence[Region]) -> int:
    """The slice on which most is outlined."""
    return int(np.sum([one.mask.sum((1, 2)) for one in regions], axis=0).argmax()) if regions else 0


def montage(
    volume: Pixels,
    pixel_aspect: float,
    masks: Sequence[Mask],
    window: tuple[float, float] | None = None,
    called: Callable[[list[int]], str] | None = None,
) -> Picture:
    """Nine slices of a series, evenly from the first to the last that matters, with contours.

    Parameters
    ----------
    volume
        (z, y, x), any real dtype.
    pixel_aspect
        Height of a pixel over its width.
    masks
        (z, y, x) bool; where there are any, the slices run over what they hold.
    window
        Values that become black and white; by default a two-hundredth of the shown slices lies beyond each.
    called
        Names the slices that are shown; by default the first and the last are, by their place.
    """
    held = np.flatnonzero(np.any([mask.any((1, 2)) for mask in masks], axis=0)) if masks else np.arange(len(volume))
    first, last = (int(held[0]), int(held[-1])) if held.size else (0, len(volume) - 1)
    chosen = np.unique(np.rint(np.linspace(first, last, SIDE * SIDE)).astype(int))
    if window is None:
        window = ends(volume[chosen, ::2, ::2])
    tiles = [
        contours(display(volume[z], pixel_aspect, window, LARGEST // SIDE, True), [mask[z] for mask in masks], 1)
        for z in chosen
    ]
    height, width = tiles[0].shape[:2]
    sheet = np.zeros((height * -(-len(tiles) // SIDE), width * min(SIDE, len(tiles)), 3), np.uint8)
    for number, tile in enumerate(tiles):
        y, x = (number // SIDE) * height, (number % SIDE) * width
        sheet[y : y + height, x : x + width] = tile
    shown = [int(one) for one in chosen]
    caption = called(shown) if called else f"slices {shown[0] + 1} to {shown[-1] + 1} of {len(volume)}"
    return Picture("montage", caption.capitalize(), sheet)
