"""Study -> Prepared and back: grid, intensity, recipes; each spatial step beside its inverse.

May change freely: a recipe for a modality.  Must not: read DICOM; add a spatial
step without its inverse and a round-trip test.
"""

from __future__ import annotations

import numpy as np

from wetread.prepare.grid import back, back_mask, bounds, forward, letterbox
from wetread.prepare.head import head_box
from wetread.prepare.intensity import normalise, scale
from wetread.prepare.stack import back_mask_stack, back_stack, forward_stack, lay, seen
from wetread.prepare.turn import turn_to, turned, turned_back
from wetread.records import Box, Pixels, Prepared, Recipe, Vector

__all__ = [
    "back",
    "back_mask",
    "back_mask_stack",
    "back_stack",
    "bounds",
    "forward",
    "forward_stack",
    "lay",
    "letterbox",
    "prepare",
    "seen",
    "turn_to",
    "turned",
    "turned_back",
]


def prepare(
    pixels: Pixels,
    pixel_aspect: float,
    recipe: Recipe,
    region: Box | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    directions: tuple[Vector, Vector, Vector] | None = None,
) -> Prepared:
    """Apply a recipe to one film, to every slice of a series, or to a volume.

    Parameters
    ----------
    pixels
        (y, x) or (z, y, x), any real dtype, after the modality LUT.
    pixel_aspect
        Height of a pixel over its width, as acquired.
    recipe
        The model's recipe; with a depth it takes the whole volume at once.
    region
        The part of each slice the model is to see; all of it by default.
    spacing_mm
        (z, y, x) of the image; needed by a recipe with a spacing.
    directions
        Unit, in which the axes (z, y, x) of the image grow in the patient; without them the
        image is taken to lie on the recipe's axes already.

    Returns
    -------
    The tensor, (z, c, y, x) or for a volumetric model (1, c, z, y, x) float32, and the grid
    that leads back: by `back_stack` and `back_mask_stack`, or slice by slice by `back` and
    `back_mask`.

    Raises
    ------
    NotRead
        MISSING-TAG: the recipe wants a spacing and that of the image is not known.
    """
    volume = pixels if pixels.ndim == 3 else pixels[None]
    turn = turn_to(recipe.axes, directions, whole=recipe.depth > 0)
    shape = (volume.shape[0], volume.shape[1], volume.shape[2])
    if recipe.region == "head" and region is None:
        region = head_box(turned(volume, turn))
    grid = lay(shape, pixel_aspect, recipe, region, spacing_mm, turn)
    canvas, content = forward_stack(volume, grid)
    scale(content, recipe)
    tensor = normalise(canvas, recipe, keep=False)
    return Prepared(tensor if recipe.depth else np.ascontiguousarray(tensor[0].swapaxes(0, 1)), grid, recipe)
