"""Study -> Prepared and back: grid, intensity, recipes; each spatial step beside its inverse.

May change freely: a recipe for a modality.  Must not: read DICOM; add a spatial
step without its inverse and a round-trip test.
"""

from __future__ import annotations

from wetread.prepare.grid import back, back_mask, bounds, forward, letterbox
from wetread.prepare.intensity import normalise, stretch
from wetread.records import Box, Pixels, Prepared, Recipe

__all__ = ["back", "back_mask", "bounds", "forward", "letterbox", "prepare"]


def prepare(pixels: Pixels, pixel_aspect: float, recipe: Recipe, region: Box | None = None) -> Prepared:
    """Apply a recipe to one film.

    Parameters
    ----------
    pixels
        (y, x), any real dtype, larger = more attenuating.
    pixel_aspect
        Height of a pixel over its width.
    recipe
        The model's recipe.
    region
        The part of the image the model is to see; all of it by default.

    Returns
    -------
    The tensor (1, c, y, x) float32 and the grid that leads back.
    """
    grid = letterbox((pixels.shape[0], pixels.shape[1]), pixel_aspect, recipe.grid, region)
    canvas, content = forward(pixels, grid)
    stretch(content, recipe.percentiles)
    return Prepared(normalise(canvas, recipe), grid, recipe)
