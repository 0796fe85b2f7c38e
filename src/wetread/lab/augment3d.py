"""Random geometry and appearance for volumes in [0, 1], as `augment` for slices."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from wetread.lab.augment import Augment

__all__ = ["appear3d", "move3d"]

Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


def move3d(image: Floats, mask: Labels, rng: np.random.Generator, augment: Augment) -> tuple[Floats, Labels]:
    """Return a volume (z, y, x) and its labels turned, scaled, shifted and mirrored left to right alike.

    Of them a part of `augment.window`, drawn at random; all of them without one.
    """
    angles = np.deg2rad(np.clip(rng.normal(0, augment.rotate_deg, 3), -25, 25))
    scale = np.exp(rng.uniform(-augment.scale, augment.scale) + rng.uniform(-augment.stretch, augment.stretch, 3))
    mirror = -1.0 if rng.random() < augment.flip else 1.0
    matrix = _turn(angles) @ np.diag(scale * (1.0, 1.0, mirror))
    whole, size = np.array(image.shape), np.array(augment.window or image.shape)
    centre = (whole - 1) / 2
    shift = rng.uniform(-augment.shift, augment.shift, 3) * whole
    # The middle of the part comes from here.
    source = centre + shift + matrix @ (rng.integers(0, whole - size + 1) + (size - 1) / 2 - centre)
    grid = _grid(matrix, source, whole, size)
    moved = [_sampled(image, grid, "bilinear"), _sampled(mask.astype(np.float32), grid, "nearest")]
    return moved[0], moved[1].astype(np.uint8)


def _grid(
    matrix: NDArray[np.float64], source: NDArray[np.float64], whole: NDArray[np.int64], size: NDArray[np.int64]
) -> torch.Tensor:
    """Return where each voxel of a part comes from, as torch counts: x first, -1 to 1 from first to last voxel."""
    scaled = np.diag(2 / (whole - 1)) @ matrix @ np.diag((size - 1) / 2)
    rows = np.concatenate([scaled[::-1, ::-1], (2 * source / (whole - 1) - 1)[::-1, None]], 1)
    return functional.affine_grid(torch.from_numpy(rows[None].astype(np.float32)), [1, 1, *size], align_corners=True)


def _sampled(volume: Floats, grid: torch.Tensor, mode: str) -> Floats:
    """Return the values of a volume (z, y, x) at a grid, 0 outside; scipy's way takes longer."""
    given = torch.from_numpy(volume)[None, None]
    return np.asarray(functional.grid_sample(given, grid, mode=mode, align_corners=True)[0, 0].numpy(), np.float32)


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
