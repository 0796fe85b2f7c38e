"""Random geometry and appearance for volumes in [0, 1], as `augment` for slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wetread.lab.augment import Augment

__all__ = ["appear3d", "move3d"]

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


def move3d(image: Floats, mask: Labels, rng: np.random.Generator, augment: Augment) -> tuple[Floats, Labels]:
    """Return a volume (z, y, x) and its labels turned, scaled, shifted and mirrored left to right alike."""
    angles = np.deg2rad(np.clip(rng.normal(0, augment.rotate_deg, 3), -25, 25))
    scale = np.exp(rng.uniform(-augment.scale, augment.scale) + rng.uniform(-augment.stretch, augment.stretch, 3))
    mirror = -1.0 if rng.random() < augment.flip else 1.0
    matrix = _turn(angles) @ np.diag(scale * (1.0, 1.0, mirror))
    centre = (np.array(image.shape) - 1) / 2
    shift = rng.uniform(-augment.shift, augment.shift, 3) * image.shape
    offset = centre + shift - matrix @ centre
    moved = ndimage.affine_transform(image, matrix, offset, order=1)
    return np.asarray(moved, np.float32), np.asarray(ndimage.affine_transform(mask, matrix, offset, order=0), np.uint8)


def _turn(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = (at for at in range(3) if at != axis)
        step = np.eye(3)
        step[one, one] = step[two, two] = np.cos(angle)
        step[one, two], step[two, one] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ step
    return matrix


def appear3d(image: Floats, rng: np.random.Generator, augment: Augment) -> Floats:
    """Return a volume with another tone, unevenness, sharpness and noise, still in [0, 1]."""
    image = np.asarray(image ** np.exp(rng.normal(0, augment.gamma)), np.float32)
    if rng.random() < augment.bias_field:
        coarse = rng.standard_normal((3, 3, 3))
        field = ndimage.zoom(coarse, np.array(image.shape) / 3, order=1)
        image = np.asarray(image * np.exp(rng.uniform(0.05, 0.3) * field), np.float32)
    if rng.random() < augment.blur:
        image = np.asarray(ndimage.gaussian_filter(image, rng.uniform(0.3, 1.0)), np.float32)
    if rng.random() < augment.noise:
        image = image + np.float32(rng.uniform(0.005, 0.06)) * rng.standard_normal(image.shape).astype(np.float32)
    return np.clip(image, 0, 1).astype(np.float32)
