"""Intensities of a resized image: from what the detector gave to what a model expects."""

from __future__ import annotations

import numpy as np

from wetread.records import Recipe, Tensor
from wetread.threads import each


def stretch(content: Tensor, percentiles: tuple[float, float]) -> None:
    """Map two percentiles of `content` to 0 and 1, in place, and clip.

    A constant image becomes zero.  References: Nyul and Udupa, "On standardizing
    the MR image intensity scale", Magn Reson Med 42 (1999), reduced to two landmarks.
    """
    low, high = np.percentile(content, percentiles)
    if high <= low:
        content[...] = 0.0
        return
    window(content, (float(low), float(high)))


def window(content: Tensor, ends: tuple[float, float]) -> None:
    """Map the values `ends` of `content` to 0 and 1, in place, and clip."""
    low, high = ends
    slices = content if content.ndim > 2 else content[None]  # one by one: what fits into a cache costs half as much

    def one(index: int) -> None:
        part = slices[index]
        part -= np.float32(low)
        part *= np.float32(1.0 / (high - low))
        np.clip(part, 0.0, 1.0, out=part)

    each(len(slices), one)


def scale(content: Tensor, recipe: Recipe) -> None:
    """Bring `content` (z, y, x) to 0..1 in place, as a recipe wants it: by window or percentiles."""
    if recipe.window is not None:
        window(content, recipe.window)
    elif recipe.depth or recipe.percentiles_of == "series":
        stretch(content, recipe.percentiles)
    else:
        for slice_ in content:
            stretch(slice_, recipe.percentiles)


def beside(canvas: Tensor) -> Tensor:
    """Slices (z, y, x) as (3, z, y, x): the one before, itself, the one after; at the ends itself again."""
    return np.stack([np.concatenate([canvas[:1], canvas[:-1]]), canvas, np.concatenate([canvas[1:], canvas[-1:]])])


def normalise(canvas: Tensor, recipe: Recipe, keep: bool = True) -> Tensor:
    """The tensor (1, c, ...) of a stretched canvas (y, x) or (z, y, x): its channels, centred, scaled.

    Parameters
    ----------
    keep
        Leave the canvas as it is; else the tensor may take its place.
    """
    planes = beside(canvas) if recipe.beside else np.broadcast_to(canvas, (recipe.channels, *canvas.shape))
    alone = recipe.channels == 1 and not (keep or recipe.beside)
    made = canvas[None, None] if alone else np.empty((1, *planes.shape), np.float32)
    means, stds = (np.broadcast_to(np.asarray(one, np.float32), len(planes)) for one in (recipe.mean, recipe.std))
    for out, plane, mean, std in zip(made[0], planes, means, stds, strict=True):
        _centred(out, plane, mean, std)
    return made


def _centred(out: Tensor, plane: Tensor, mean: np.float32, std: np.float32) -> None:
    """Fill (y, x) or (z, y, x) with (plane - mean) / std."""
    places, slices = (one if one.ndim > 2 else one[None] for one in (out, plane))

    def one(index: int) -> None:
        np.subtract(slices[index], mean, out=places[index])
        np.divide(places[index], std, out=places[index])

    each(len(slices), one)
