"""Random geometry and appearance for training, on single-channel images in [0, 1].

Each sample draws from its own generator, seeded by run, epoch and index, so
that a resumed run sees the same images as one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.plan import made_of

__all__ = ["Augment", "affine_matrix", "appearance", "belly", "cutouts", "frame_matrix", "opacities"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Augment:
    """Strength of each random change; probabilities are in [0, 1].

    Raises
    ------
    BadInput
        One is below 0, infinite or no number.
    """

    rotate_deg: float = 8.0
    scale: float = 0.15
    stretch: float = 0.08
    shift: float = 0.05
    flip: float = 0.5
    gamma: float = 0.35
    curve: float = 0.5
    bias_field: float = 0.4
    blur: float = 0.3
    shrink: float = 0.3
    sharpen: float = 0.2
    equalise: float = 0.1
    noise: float = 0.4
    jpeg: float = 0.15
    cutout: float = 0.3
    opacity: float = 0.0
    crop: float = 0.0
    border: float = 0.0
    belly: float = 0.0  # share of films that show more of what lies below the lungs
    outside: float = 0.0
    style: float = 0.0
    truncate: float = 0.0
    upend: float = 0.0
    bleed: float = 0.0  # share of slices of head CT without a bleed into which one is drawn
    window: tuple[int, ...] = ()  # ([z,] y, x) of the part of a slice or volume that is shown; empty: all of it

    def __post_init__(self) -> None:
        """See that all can be drawn."""
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "window" and not 0 <= value < math.inf:
                raise BadInput(f"recipe, [augment] {one.name}: expected 0 or more, got {value}")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Augment:
        """Return the record of a recipe's ``[augment]`` table; raises `BadInput` as `made_of`."""
        return made_of(cls, table, "augment")

    @classmethod
    def none(cls) -> Augment:
        """Return the record that changes nothing."""
        return cls(**{one.name: 0.0 for one in fields(cls) if one.name != "window"})  # type: ignore[arg-type]


def frame_matrix(
    box: tuple[float, float, float, float],
    spacing: tuple[float, float],
    grid: tuple[int, int],
) -> NDArray[np.float64]:
    """Return the 2 x 3 matrix (x, y) that letterboxes a box onto the grid.

    Parameters
    ----------
    box : (y0, x0, y1, x1)
        Edges in source pixels; pixel i spans [i, i + 1).
    spacing : (y, x)
        Pixel spacing of the source, any unit.
    grid : (y, x)
        Size of the target.
    """
    y0, x0, y1, x1 = box
    height, width = (y1 - y0) * spacing[0], (x1 - x0) * spacing[1]
    scale = min(grid[0] / height, grid[1] / width)
    sy, sx = scale * spacing[0], scale * spacing[1]
    # Edges are mapped onto edges; the half pixels turn edges into pixel centres.
    ty = grid[0] / 2 - sy * (y0 + y1) / 2 + 0.5 * sy - 0.5
    tx = grid[1] / 2 - sx * (x0 + x1) / 2 + 0.5 * sx - 0.5
    return np.array([[sx, 0.0, tx], [0.0, sy, ty]])


def affine_matrix(rng: np.random.Generator, augment: Augment, grid: tuple[int, int]) -> NDArray[np.float64]:
    """Return a random 3 x 3 matrix on the grid: turn, scale, stretch, shift, flip."""
    angle = np.deg2rad(np.clip(rng.normal(0, augment.rotate_deg), -25, 25))
    scale = np.exp(rng.uniform(-augment.scale, augment.scale))
    stretch = np.exp(rng.uniform(-augment.stretch, augment.stretch))
    mirror = -1.0 if rng.random() < augment.flip else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([mirror * scale * stretch, scale / stretch])
    centre = np.array([(grid[1] - 1) / 2, (grid[0] - 1) / 2])
    shift = rng.uniform(-augment.shift, augment.shift, 2) * np.array([grid[1], grid[0]])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre + shift - linear @ centre
    return matrix


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Floats:
    """Return a smooth random field of about unit deviation."""
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    field = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, np.float32)


def _resolution(image: Floats, rng: np.random.Generator, augment: Augment) -> Floats:
    height, width = image.shape
    if rng.random() < augment.shrink:
        factor = rng.uniform(0.28, 0.8)
        small = cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
        mode = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(small, (width, height), interpolation=mode), np.float32)
    if rng.random() < augment.blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0)), np.float32)
    if rng.random() < augment.sharpen:
        soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 4.0))
        image = np.clip(image + rng.uniform(0.3, 2.0) * (image - soft), 0, 1).astype(np.float32)
    return image


def _tone(image: Floats, rng: np.random.Generator, augment: Augment) -> Floats:
    if rng.random() < augment.equalise:
        cells = int(rng.integers(2, 9))
        clahe = cv2.createCLAHE(rng.uniform(1.0, 4.0), (cells, cells))
        image = np.asarray(clahe.apply((image * 255).astype(np.uint8)) / 255.0, np.float32)
    image = np.asarray(image ** np.exp(rng.normal(0, augment.gamma)), np.float32)
    if rng.random() < augment.curve:
        # A random monotone curve stands for another vendor's look-up table.
        steps = rng.uniform(0.3, 1.7, 6)
        knots = np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])
        image = np.asarray(np.interp(image, np.linspace(0, 1, 7), knots), np.float32)
    if rng.random() < augment.bias_field:
        field = smooth_field(rng, image.shape, int(rng.integers(2, 5)))
        uneven = image * np.exp(rng.uniform(0.05, 0.3) * field) + rng.uniform(0, 0.06) * field
        image = np.asarray(np.clip(uneven, 0, 1), np.float32)
    return image


def appearance(image: Floats, rng: np.random.Generator, augment: Augment) -> Floats:
    """Return the image with another tone, resolution and noise, still in [0, 1]."""
    image = _tone(image, rng, augment)
    image = _resolution(image, rng, augment)
    if rng.random() < augment.noise:
        grain = np.asarray(rng.standard_normal(image.shape), np.float32)
        if rng.random() < 0.5:
            # Grain with a size, as film scanners and plates give; 1.6 restores its deviation.
            grain = np.asarray(1.6 * cv2.GaussianBlur(grain, (0, 0), 0.7), np.float32)
        image = np.asarray(np.clip(image + rng.uniform(0.005, 0.06) * grain, 0, 1), np.float32)
    if rng.random() < augment.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
        code = cv2.imencode(".jpg", (image * 255).astype(np.uint8), quality)[1]
        decoded = cv2.imdecode(code, cv2.IMREAD_GRAYSCALE)
        image = np.asarray(np.asarray(decoded) / 255.0, np.float32)
    return np.asarray(image, np.float32)


def cutouts(image: Floats, rng: np.random.Generator, augment: Augment) -> Floats:
    """Return the image with up to three rectangles of one grey each."""
    if rng.random() >= augment.cutout:
        return image
    image = image.copy()
    height, width = image.shape
    for _ in range(int(rng.integers(1, 4))):
        h, w = (rng.uniform(0.04, 0.22, 2) * (height, width)).astype(int)
        y, x = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
        image[y : y + h, x : x + w] = rng.random()
    return image


def belly(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], rng: np.random.Generator, augment: Augment
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float]:
    """Return a film and its lungs with more rows below them, and how much flatter its pixels are: 1 as they were.

    A film of somebody who lies shows half the belly, and of a shallow breath, or through an opacity, no dome of the
    diaphragm.  What lies below the lungs is pulled longer, or mirrored over and over; then all is pressed together, by
    as much at most as brings the film back to its height.

    Parameters
    ----------
    image, mask
        (y, x); lungs are 255 in the mask.
    """
    lungs = np.flatnonzero((mask == 255).any(1))
    if not augment.belly or rng.random() >= augment.belly or not lungs.size:
        return image, mask, 1.0
    end, (height, width) = int(lungs[-1]) + 1, image.shape
    below, more = image[end:], int(rng.uniform(0.1, 0.7) * height)
    if len(below) < 0.04 * height:
        return image, mask, 1.0
    if rng.random() < 0.5:
        longer = np.asarray(cv2.resize(below, (width, len(below) + more), interpolation=cv2.INTER_LINEAR), np.uint8)
    else:
        longer = np.pad(below, ((0, more), (0, 0)), "symmetric")
    image = np.concatenate([image[:end], longer])
    mask = np.concatenate([mask[:end], np.zeros_like(longer)])
    return image, mask, float(rng.uniform(height / len(image), 1.0))


def opacities(image: Floats, mask: Floats, rng: np.random.Generator, augment: Augment) -> Floats:
    """Return the image with soft bright blobs laid into the lungs, which keep their mask."""
    inside = np.argwhere(mask > 0.5)
    if rng.random() >= augment.opacity or len(inside) < 100:
        return image
    tissue = float(np.percentile(image[mask < 0.5], 75))
    height, width = image.shape
    grid_y, grid_x = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(int(rng.integers(1, 5))):
        cy, cx = inside[rng.integers(len(inside))]
        ry, rx = rng.uniform(0.03, 0.18, 2) * height
        blob = np.exp(-(((grid_y - cy) / ry) ** 2) - ((grid_x - cx) / rx) ** 2)
        weight = rng.uniform(0.3, 1.0) * blob
        image = image + weight * np.maximum(tissue - image, 0)
    return np.asarray(image, np.float32)
