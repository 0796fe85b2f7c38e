"""Intensities of a resized image: from what the detector gave to what a model expects."""

from __future__ import annotations

import numpy as np

from wetread.records import Recipe, Tensor


def stretch(content: Tensor, percentiles: tuple[float, float]) -> None:
    """Map two percentiles of `content` (y, x) to 0 and 1, in place, and clip.

    A constant image becomes zero.  References: Nyul and Udupa, "On standardizing
    the MR image intensity scale", Magn Reson Med 42 (1999), reduced to two landmarks.
    """
    low, high = np.percentile(content, percentiles)
    if high <= low:
        content[...] = 0.0
        return
    content -= np.float32(low)
    content *= np.float32(1.0 / (high - low))
    np.clip(content, 0.0, 1.0, out=content)


def normalise(canvas: Tensor, recipe: Recipe) -> Tensor:
    """The tensor (1, c, y, x) of a stretched canvas (y, x): repeated, centred, scaled."""
    shape = (-1, 1, 1)
    mean = np.asarray(recipe.mean, np.float32).reshape(shape)
    std = np.asarray(recipe.std, np.float32).reshape(shape)
    planes = np.broadcast_to(canvas, (recipe.channels, *canvas.shape))
    return np.ascontiguousarray(((planes - mean) / std)[None], dtype=np.float32)
