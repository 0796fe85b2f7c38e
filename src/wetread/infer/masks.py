"""Mask cleaning on the model's own grid: what a pair of lungs can look like, and what it cannot."""

from __future__ import annotations

import cv2
import numpy as np

from wetread.errors import NotRead
from wetread.infer.model import Model
from wetread.infer.parts import largest
from wetread.records import Grid, Mask, Prediction, Tensor

#: The label whose two sides are told apart on a projection.
LUNG = ("SCT", "39607008")


def is_pair(model: Model) -> bool:
    """Whether a model outlines the two lungs of a projection: only those have views."""
    codes = [(label.code.scheme, label.code.value) for label in model.labels]
    return model.segments and bool(model.views) and codes == [LUNG]


def outlines(model: Model, prediction: Prediction, grid: Grid) -> tuple[Tensor, ...]:
    """The logits of what a model outlined, cleaned: their zero crossing is the outline.

    Returns
    -------
    tuple of Tensor
        (z, y, x) on the model's grid, one a label; for the lungs of a film one a side of
        the picture, left first.

    Raises
    ------
    NotRead
        NOT-A-CHEST: a film without a plausible pair of lungs.
    """
    values = prediction.outputs[model.mask_output]
    if is_pair(model):
        content = (grid.content.y1 - grid.content.y0, grid.content.x1 - grid.content.x0)
        sides = lungs(values[0, 0], content)
        if sides is None:
            raise NotRead("NOT-A-CHEST", f"Model {model.id} found no pair of lungs of plausible size and place.")
        return tuple(soft(side, values[0, 0])[None] for side in sides)
    by_label = values[0] if model.recipe.depth else np.swapaxes(values, 0, 1)
    return tuple(kept(logits, label.largest) for label, logits in zip(model.labels, by_label, strict=True))


def kept(logits: Tensor, count: int) -> Tensor:
    """Logits (z, y, x) whose zero crossing is that of the `count` largest parts; of all of them where it is 0."""
    return soft(largest(logits > 0, count), logits) if count else logits


def lungs(logits: Tensor, content: tuple[int, int]) -> tuple[Mask, Mask] | None:
    """The two largest parts of a lung mask, if they can be a pair of lungs.

    Parameters
    ----------
    logits
        (y, x) float32 on the model's grid.
    content
        (y, x) size of the part of the grid that holds the image, pixels.

    Returns
    -------
    The lung at the left and the one at the right of the picture, (y, x) bool on the
    model's grid, without holes.  None when no plausible pair is there: each lung covers 1.5 to 40 % of the image,
    the smaller at least a fifth of the larger, side by side.
    """
    mask = (logits > 0).astype(np.uint8)
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(mask, connectivity=4)
    size = stats[:, cv2.CC_STAT_AREA]
    parts = sorted(range(1, count), key=lambda i: -size[i])
    if not parts:
        return None
    area = float(content[0] * content[1])
    if len(parts) == 1 or size[parts[1]] < 0.2 * size[parts[0]]:
        halves = _cut(labels == parts[0])
        return _plausible(*halves, area) if halves else None
    first, second = sorted(parts[:2], key=lambda i: centroids[i][0])
    return _plausible(labels == first, labels == second, area)


def _cut(joined: Mask) -> tuple[Mask, Mask] | None:
    """Cut two lungs that touch at the thinnest column between them; one lung has no such column."""
    columns = joined.sum(0)
    where = np.flatnonzero(columns)
    left, right = int(where[0]), int(where[-1]) + 1
    third = max(1, (right - left) // 3)
    cut = left + third + int(np.argmin(columns[left + third : max(left + third + 1, right - third)]))
    if columns[cut] > 0.6 * min(columns[left:cut].max(initial=0), columns[cut:right].max(initial=0)):
        return None
    image_left, image_right = joined.copy(), joined.copy()
    image_left[:, cut:] = False
    image_right[:, :cut] = False
    return image_left, image_right


def _plausible(image_left: Mask, image_right: Mask, area: float) -> tuple[Mask, Mask] | None:
    shares = (image_left.sum() / area, image_right.sum() / area)
    if not (min(shares) >= 0.015 and max(shares) <= 0.4 and min(shares) >= 0.2 * max(shares)):
        return None
    rows = [np.flatnonzero(side.any(1)) for side in (image_left, image_right)]
    overlap = min(rows[0][-1], rows[1][-1]) - max(rows[0][0], rows[1][0])
    if overlap < 0.4 * min(rows[0][-1] - rows[0][0], rows[1][-1] - rows[1][0]):
        return None
    return filled(image_left), filled(image_right)


def filled(side: Mask) -> Mask:
    """The side without holes: what is enclosed by lung is lung."""
    outside = np.pad(~side, 1, constant_values=True).astype(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    return np.asarray(outside[1:-1, 1:-1] != 2, bool)


def soft(side: Mask, logits: Tensor) -> Tensor:
    """Logits that agree with a cleaned mask: their zero crossing keeps its sub-pixel place."""
    size = np.maximum(np.abs(logits), np.float32(0.05))
    return np.where(side, size, -size)
