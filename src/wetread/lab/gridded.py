"""Cases on a model's grid by the very code that deployment runs, and training samples of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from wetread.lab.augment import Augment, affine_matrix, appearance, cutouts
from wetread.lab.augment3d import appear3d, move3d
from wetread.lab.bleeds import draw_bleed
from wetread.lab.cases import Cases
from wetread.lab.samples import Key
from wetread.prepare import forward_stack, prepare
from wetread.records import Grid, Recipe

__all__ = ["GridSamples", "Gridded", "centred", "lay_cases"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Gridded:
    """One row what a network sees at once: a slice, or for a volumetric recipe a volume."""

    images: Floats  # (n, [z,] y, x) in [0, 1]: before mean and deviation
    masks: NDArray[np.uint8]  # (n, [z,] y, x) 0 background, k label k; zeros without masks
    present: NDArray[np.int64]  # (n, k) is label k there
    series: NDArray[np.int64]  # (n,) row of the cases
    grids: tuple[Grid, ...]  # one a series: the way back

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.images)

    def channels(self, row: int, recipe: Recipe) -> Floats:
        """Return what the network sees of a row, (c, [z,] y, x) in [0, 1], as `prepare` lays it."""
        if not recipe.beside:
            return np.repeat(self.images[row][None], recipe.channels, 0)
        ends = np.clip([row - 1, row, row + 1], 0, len(self) - 1)
        return self.images[np.where(self.series[ends] == self.series[row], ends, row)]


def lay_cases(cases: Cases, recipe: Recipe, labels: int) -> Gridded:
    """Lay every series on the grid of a recipe.

    Parameters
    ----------
    labels
        Number of labels, where only masks tell which are there.
    """
    middle = recipe.channels // 2
    shift, scale = (np.float32(one[middle % len(one)]) for one in (recipe.mean, recipe.std))
    images, masks, present, series, grids = [], [], [], [], []
    for row, pixels in enumerate(cases.images):
        where = (cases.spacing_of(row), cases.directions_of(row))
        ready = prepare(pixels, cases.aspect_of(row), recipe, None, *where)
        planes = ready.tensor[:, middle] * scale + shift
        mask = _lay_mask(cases.masks[row], ready.grid, recipe) if cases.masks else np.zeros(planes.shape, np.uint8)
        images.append(planes)
        masks.append(mask)
        present.append(cases.present[row] if cases.present and not recipe.depth else _seen(mask, labels))
        series.append(np.full(len(planes), row))
        grids.append(ready.grid)
    return Gridded(
        np.concatenate(images), np.concatenate(masks), np.concatenate(present), np.concatenate(series), tuple(grids)
    )


def centred(planes: Floats, recipe: Recipe) -> Floats:
    """Return what a network sees of planes (..., c or 1, [z,] y, x) in [0, 1]: each channel by its mean and `std`."""
    shape = (-1, 1, 1, 1) if recipe.depth else (-1, 1, 1)
    mean, std = (np.asarray(one, np.float32).reshape(shape) for one in (recipe.mean, recipe.std))
    return np.ascontiguousarray((planes - mean) / std, np.float32)


def _lay_mask(mask: NDArray[np.uint8], grid: Grid, recipe: Recipe) -> NDArray[np.uint8]:
    """Return where each label covers more than half a cell."""
    out: NDArray[np.uint8] | None = None
    for value in range(1, int(mask.max()) + 1):
        share, _ = forward_stack((mask == value).astype(np.float32), grid)
        out = np.zeros(share.shape, np.uint8) if out is None else out
        out[share > 0.5] = value
    if out is None:
        out = np.zeros(forward_stack(mask, grid)[0].shape, np.uint8)
    return out[None] if recipe.depth else out


def _seen(masks: NDArray[np.uint8], labels: int) -> NDArray[np.int64]:
    flat = masks.reshape(len(masks), -1)
    return np.stack([(flat == value).any(1) for value in range(1, labels + 1)], 1).astype(np.int64)


class GridSamples(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image [C, (D,) H, W] and target: masks [K, (D,) H, W] in {0, 1}, or labels [K].

    A row beyond the number of images stands for the same image with other changes, so
    that rare ones can be shown more often.

    Parameters
    ----------
    labels : int
        Number of masks, K.
    masks : bool
        Give masks, not labels, as the target.
    """

    def __init__(self, data: Gridded, recipe: Recipe, augment: Augment, seed: int, labels: int, masks: bool) -> None:
        self.data, self.recipe, self.augment, self.seed = data, recipe, augment, seed
        self.labels, self.masks = labels, masks

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Return the sample of one (epoch, row)."""
        epoch, row = key
        rng = np.random.default_rng([self.seed, epoch, row])
        at = row % len(self.data)
        mask = self.data.masks[at]
        planes, labels = self._shown(at, rng)
        image, mask = (self._volume if self.recipe.depth else self._slice)(planes, mask, rng)
        tensor = torch.from_numpy(self._normalised(image))
        if self.masks:
            masks = np.stack([mask == value for value in range(1, self.labels + 1)])
            return tensor, torch.from_numpy(masks.astype(np.float32))
        return tensor, torch.from_numpy(labels.astype(np.float32))

    def _shown(self, at: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        """Return the planes of a row, or its volume, and its labels; with a bleed drawn into some that have none."""
        labels = self.data.present[at]
        if not self.recipe.beside:
            return self.data.images[at][None], labels
        planes = self.data.channels(at, self.recipe)
        if not labels.any() and rng.random() < self.augment.bleed:
            drawn = draw_bleed(planes, rng)
            if drawn is not None:
                return drawn, np.ones_like(labels)
        return planes, labels

    def _normalised(self, image: Floats) -> Floats:
        """Return (c, ...) of one plane or volume that is repeated, or of the planes of a slice and its neighbours."""
        planes = centred(image, self.recipe)
        return np.repeat(planes, self.recipe.channels // len(planes), 0)

    def _slice(
        self, planes: Floats, mask: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[Floats, NDArray[np.uint8]]:
        matrix = affine_matrix(rng, self.augment, self.recipe.grid)
        if rng.random() < self.augment.upend:
            matrix = np.diag([1.0, -1.0, 1.0]) @ matrix
            matrix[1, 2] += self.recipe.grid[0] - 1
        size = self.recipe.grid[::-1]
        still = cv2.warpAffine(mask, matrix[:2], size, flags=cv2.INTER_NEAREST)
        if self.recipe.beside and rng.random() < self.augment.flip:
            planes = planes[::-1]
        # Neighbours are of one scan: what is drawn for one holds for all.
        draws = [copy.deepcopy(rng) for _ in planes]
        shown = [self._appear(plane, matrix, draw) for plane, draw in zip(planes, draws, strict=True)]
        return _cut(np.stack(shown), np.asarray(still, np.uint8), self.augment.window, rng)

    def _appear(self, plane: Floats, matrix: NDArray[np.float64], rng: np.random.Generator) -> Floats:
        moved = cv2.warpAffine(plane, matrix[:2], self.recipe.grid[::-1], flags=cv2.INTER_LINEAR)
        return cutouts(appearance(np.asarray(moved, np.float32), rng, self.augment), rng, self.augment)

    def _volume(
        self, planes: Floats, mask: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[Floats, NDArray[np.uint8]]:
        image, mask = move3d(planes[0], mask, rng, self.augment)
        return appear3d(image, rng, self.augment)[None], mask


def _cut(
    image: Floats, mask: NDArray[np.uint8], size: Sequence[int], rng: np.random.Generator
) -> tuple[Floats, NDArray[np.uint8]]:
    """Return a part (c, y, x) of a slice, of `size` and drawn at random; all of it without a size."""
    if not size:
        return image, mask
    starts = [int(rng.integers(0, whole - part + 1)) for whole, part in zip(mask.shape, size, strict=True)]
    place = tuple(slice(start, start + part) for start, part in zip(starts, size, strict=True))
    return np.ascontiguousarray(image[:, *place]), np.ascontiguousarray(mask[place])
