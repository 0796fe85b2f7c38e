"""Intensities of a resized image: from what the detector gave to what a model expects."""

from __future__ import annotations

import numpy as np

from wetread.records import Recipe, Tensor


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
    content -= np.float32(low)
    content *= np.float32(1.0 / (high - low))
    np.clip(content, 0.0, 1.0, out=content)


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


def normalise(canvas: Tensor, recipe: Recipe) -> Tensor:
    """The tensor (1, c, ...) of a stretched canvas (y, x) or (z, y, x): its channels, centred, scaled."""
    shape = (-1, *(1,) * canvas.ndim)
    mean = np.asarray(recipe.mean, np.float32).reshape(shape)
    std = np.asarray(recipe.std, np.float32).reshape(shape)
    planes = beside(canvas) if recipe.beside else np.broadcast_to(canvas, (recipe.channels, *canvas.shape))
    return np.ascontiguousarray(((planes - mean) / std)[None], dtype=np.float32)
