"""From films to training samples: the deployed recipe, with random changes on top.

The order is that of deployment: geometry, then (in training) appearance, then
percentiles over the content, last the recipe's mean and deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from wetread.lab.augment import Augment, affine_matrix, appearance, belly, cutouts, frame_matrix, opacities
from wetread.lab.data import Films
from wetread.prepare import prepare
from wetread.prepare.intensity import normalise, stretch
from wetread.records import Box, Recipe

__all__ = ["Batches", "Key", "LungSamples", "PneumoniaSamples", "exact"]

Floats = NDArray[np.float32]
Key = tuple[int, int]
Change = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


def exact(films: Films, row: int, recipe: Recipe, box: Box | None = None, change: Change | None = None) -> Floats:
    """Return one film [1, C, H, W] by the very code that deployment runs; `change` damages the film before."""
    image = films.images[row] if change is None else change(films.images[row])
    return prepare(image, float(films.aspect[row]), recipe, box).tensor


class Batches(Sampler[list[Key]]):
    """Batches of (epoch, row) keys, from any step on: what makes a run resumable.

    Parameters
    ----------
    rows : array of int
        Rows to draw from, once an epoch, in a new order each time.
    least : int
        Steps; where the epochs are fewer, there are more epochs.
    """

    def __init__(
        self, rows: NDArray[np.int64], batch: int, epochs: int, seed: int, start: int = 0, least: int = 0
    ) -> None:
        self.rows, self.batch, self.seed, self.start = rows, batch, seed, start
        self.per_epoch = len(rows) // batch
        self.epochs = max(epochs, math.ceil(least / (self.per_epoch or 1)))

    def __len__(self) -> int:
        """Return the number of batches left."""
        return self.per_epoch * self.epochs - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the batches from `start` on."""
        for epoch in range(self.start // self.per_epoch, self.epochs):
            order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
            first = self.start % self.per_epoch if epoch == self.start // self.per_epoch else 0
            for step in range(first, self.per_epoch):
                yield [(epoch, int(row)) for row in order[step * self.batch : (step + 1) * self.batch]]


@dataclass(frozen=True, slots=True)
class Canvas:
    """A film laid on the grid by a random affine map."""

    image: Floats  # (y, x) in [0, 1]; 0 in the padding
    content: NDArray[np.bool_]  # (y, x)
    matrix: NDArray[np.float64]  # (2, 3) source index (x, y) -> grid index


def _lay(
    film: NDArray[np.uint8],
    aspect: float,
    box: tuple[float, float, float, float],
    recipe: Recipe,
    augment: Augment,
    rng: np.random.Generator,
) -> Canvas:
    frame = np.vstack([frame_matrix(box, (aspect, 1.0), recipe.grid), [0, 0, 1]])
    matrix = (affine_matrix(rng, augment, recipe.grid) @ frame)[:2]
    y0, x0, y1, x1 = box
    limit_y, limit_x = film.shape
    # Beyond the film lies a border of one grey only if the box asks for it.
    bordered = min(y0, x0, limit_y - y1, limit_x - x1) < 0
    image = cv2.warpAffine(
        film.astype(np.float32) / 255,
        matrix,
        recipe.grid[::-1],
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT if bordered else cv2.BORDER_REPLICATE,
        borderValue=float(rng.choice([0.0, 1.0, rng.random()])),
    )
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) - 0.5
    polygon = corners @ matrix[:, :2].T + matrix[:, 2]
    content = np.zeros(recipe.grid, np.uint8)
    cv2.fillConvexPoly(content, np.round(polygon).astype(np.int32), 1)
    inside = content.astype(bool)
    return Canvas(np.where(inside, image, 0).astype(np.float32), inside, matrix)


def _finish(image: Floats, content: NDArray[np.bool_], recipe: Recipe) -> Floats:
    values = image[content]
    if values.size:
        stretch(values, recipe.percentiles)
    canvas = np.zeros_like(image)
    canvas[content] = values
    return np.asarray(normalise(canvas, recipe)[0], np.float32)


class LungSamples(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image [C, H, W] and lung mask [1, H, W] in {0, 1}."""

    def __init__(self, films: Films, recipe: Recipe, augment: Augment, seed: int) -> None:
        self.films, self.recipe, self.augment, self.seed = films, recipe, augment, seed

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Return the sample of one (epoch, row)."""
        epoch, row = key
        rng = np.random.default_rng([self.seed, epoch, row])
        film, lungs, flatter = belly(self.films.images[row], self.films.masks[row], rng, self.augment)
        aspect = flatter * float(self.films.aspect[row])
        canvas = _lay(film, aspect, self._box(film.shape, rng), self.recipe, self.augment, rng)
        mask = cv2.warpAffine(
            lungs.astype(np.float32) / 255,
            canvas.matrix,
            self.recipe.grid[::-1],
            flags=cv2.INTER_LINEAR,
        )
        target = np.where(canvas.content, mask > 0.5, 0).astype(np.float32)
        image = opacities(canvas.image, target, rng, self.augment)
        image = cutouts(appearance(image, rng, self.augment), rng, self.augment)
        return torch.from_numpy(_finish(image, canvas.content, self.recipe)), torch.from_numpy(target[None])

    def _box(self, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[float, float, float, float]:
        """Return the whole film, a crop of it, or the film inside a border."""
        height, width = shape
        cut = np.zeros(4)
        if rng.random() < self.augment.crop:
            cut = rng.uniform(0, 0.14, 4)
        elif rng.random() < self.augment.border:
            cut = -rng.uniform(0, 0.14, 4)
        return cut[0] * height, cut[1] * width, (1 - cut[2]) * height, (1 - cut[3]) * width


class PneumoniaSamples(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of lung-centred image [C, H, W] and target [1 + cells]: the label, and how far each map cell is lung.

    Parameters
    ----------
    boxes : array of float
        (n, 4) y0, x0, y1, x1 of the lungs of each film, in its pixels, with the recipe's margin.
    lungs : array of uint8
        (n, y, x) predicted lung masks, 0 or 255, on the films' grid.
    donors : array of int
        Rows of the films whose tone may be given to others: training films only.
    stride : int
        Pixels of the grid a cell of the network's map.
    """

    def __init__(
        self,
        films: Films,
        boxes: NDArray[np.float64],
        lungs: NDArray[np.uint8],
        donors: NDArray[np.int64],
        recipe: Recipe,
        augment: Augment,
        seed: int,
        stride: int,
    ) -> None:
        self.films, self.boxes, self.lungs, self.donors = films, boxes, lungs, donors
        self.recipe, self.augment, self.seed, self.stride = recipe, augment, seed, stride

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Return the sample of one (epoch, row)."""
        epoch, row = key
        rng = np.random.default_rng([self.seed, epoch, row])
        aspect = float(self.films.aspect[row])
        canvas = _lay(self.films.images[row], aspect, self._box(row, rng), self.recipe, self.augment, rng)
        image = canvas.image
        if rng.random() < self.augment.style:
            image = self._restyle(image, canvas.content, rng)
        image = appearance(image, rng, self.augment)
        mask = np.asarray(
            cv2.warpAffine(self.lungs[row], canvas.matrix, self.recipe.grid[::-1], flags=cv2.INTER_LINEAR), np.uint8
        )
        if rng.random() < self.augment.outside:
            image = self._suppress(image, mask, rng)
        image = cutouts(image, rng, self.augment)
        target = np.concatenate([[self.films.label[row]], self._cells(mask)]).astype(np.float32)
        return torch.from_numpy(_finish(image, canvas.content, self.recipe)), torch.from_numpy(target)

    def _cells(self, mask: NDArray[np.uint8]) -> Floats:
        """Return how far each cell of the map is lung, 0..1; half of a cell is enough."""
        height, width = (side // self.stride for side in self.recipe.grid)
        covered = cv2.resize(mask.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(np.minimum(2 * covered, 1).ravel(), np.float32)

    def _box(self, row: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
        y0, x0, y1, x1 = self.boxes[row]
        move = rng.normal(0, self.augment.crop, 4)
        if rng.random() < self.augment.truncate:
            # How much of the lungs a film shows must not tell the label.
            move[[0, 2]] += rng.uniform(0, 0.25, 2) * (1, -1)
        height, width = y1 - y0, x1 - x0
        limit_y, limit_x = self.films.images[row].shape
        return (
            max(0.0, y0 + move[0] * height),
            max(0.0, x0 + move[1] * width),
            min(float(limit_y), y1 + move[2] * height),
            min(float(limit_x), x1 + move[3] * width),
        )

    def _restyle(self, image: Floats, content: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
        """Give the film another film's histogram, from either class.

        The other film is drawn regardless of its label, so that overall tone says nothing about the label.
        """
        other = self.films.images[int(rng.choice(self.donors))][32:192:2, 32:192:2]
        levels = np.linspace(0, 100, 33)
        theirs = np.percentile(other, levels).astype(np.float32) / 255
        ours = np.percentile(image[content], levels) + np.arange(33) * 1e-6
        matched = np.interp(image, ours, theirs)
        share = rng.uniform(0.3, 1.0)
        return np.where(content, share * matched + (1 - share) * image, 0).astype(np.float32)

    def _suppress(self, image: Floats, mask: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
        """Dim, blur or flatten what lies outside the widened lungs, 0 or 255 on the grid."""
        radius = int(rng.integers(4, 16))
        wide = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))
        weight = cv2.GaussianBlur(wide.astype(np.float32) / 255, (0, 0), 2.0)
        kind = rng.integers(3)
        if kind == 0:
            outside: Floats = np.full_like(image, rng.random())
        elif kind == 1:
            outside = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(4, 12)), np.float32)
        else:
            outside = image * np.float32(rng.uniform(0, 0.7))
        return np.asarray(weight * image + (1 - weight) * outside, np.float32)
