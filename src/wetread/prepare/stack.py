"""Series and volumes on a model's grid, and the way back: what `grid` does in plane, and z beside it.

The rule is that of `wetread.prepare.grid`: slice i covers [i, i+1), so its centre
stands at i + 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from wetread.errors import NotRead
from wetread.prepare.grid import back, back_steps, forward_onto, letterbox, steps
from wetread.prepare.turn import AS_ACQUIRED, lengths, turned, turned_back
from wetread.records import Box, Grid, Mask, Pixels, Recipe, Span, Tensor, Turn
from wetread.threads import each


def lay(
    shape: tuple[int, int, int],
    pixel_aspect: float,
    recipe: Recipe,
    region: Box | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    turn: Turn = AS_ACQUIRED,
) -> Grid:
    """Lay the grid of a recipe on a film, a series or a volume.

    With a spacing in the recipe the grid is centred on the image: what does not fit is
    cropped, what is missing is padded.  Without one the region is fitted into the grid.

    Parameters
    ----------
    shape
        (z, y, x) of the image, pixels.
    pixel_aspect
        Height of a pixel over its width.
    recipe
        Its grid, depth and spacing.
    region
        The part of each slice that the model is to see, for a recipe without a spacing.
    spacing_mm
        (z, y, x) of the image; only a recipe with a spacing looks at it.
    turn
        From the axes of the image, on which all other arguments are, to those of the model.

    Raises
    ------
    NotRead
        MISSING-TAG: the recipe wants a spacing and that of the image is not known.
    """
    count, height, width = (shape[abs(axis) - 1] for axis in turn)
    if recipe.spacing_mm is None:
        aspect = 1.0 / pixel_aspect if abs(turn[1]) > abs(turn[2]) else pixel_aspect
        return replace(letterbox((height, width), aspect, recipe.grid, region), turn=turn)
    if spacing_mm is None:
        raise NotRead("MISSING-TAG", "Pixel Spacing (0028,0030): the model needs it, got none.")
    wanted, (depth_mm, height_mm, width_mm) = recipe.spacing_mm, lengths(spacing_mm, turn)
    rows, y = _centred(height, height_mm, recipe.grid[0], wanted[-2])
    columns, x = _centred(width, width_mm, recipe.grid[1], wanted[-1])
    span = None
    if recipe.depth:
        slices, z = _centred(count, depth_mm, recipe.depth, wanted[0])
        span = Span(count, slices, recipe.depth, z)
    region, content = Box(rows[0], columns[0], rows[1], columns[1]), Box(y[0], x[0], y[1], x[1])
    return Grid((height, width), region, recipe.grid, content, span, turn)


def _centred(size: int, spacing: float, target: int, wanted: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """Lay one axis, centred, at the spacing that is wanted: its part of the image, and of the grid."""
    cells = size * spacing / wanted
    if cells <= target:
        count = max(1, round(cells))
        first = (target - count) // 2
        return (0, size), (first, first + count)
    count = min(size, max(1, round(target * wanted / spacing)))
    start = (size - count) // 2
    return (start, start + count), (0, target)


def along(size: int, target: int) -> Tensor:
    """The matrix (target, size) float32 that resamples one axis: by area when it shrinks, linear when it grows."""
    if target <= size:
        edges = np.arange(target + 1) * (size / target)
        cells = np.arange(size)
        shares = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return np.asarray(np.clip(shares, 0.0, None) * (target / size), np.float32)
    centres = np.clip((np.arange(target) + 0.5) * (size / target) - 0.5, 0.0, size - 1.0)
    return np.asarray(np.clip(1.0 - np.abs(centres[:, None] - np.arange(size)), 0.0, None), np.float32)


def _through(matrix: Tensor, volume: Tensor) -> Tensor:
    """Apply a matrix to the first axis of (z, y, x)."""
    flat = matrix @ volume.reshape(volume.shape[0], -1)
    return np.asarray(flat.reshape(-1, *volume.shape[1:]), np.float32)


def _stacked(make: Callable[[Pixels], Pixels], values: Pixels) -> Pixels:
    """What is made of each plane of (z, y, x); of a film a view, as its copy would cost more than all the rest."""
    first = make(values[0])
    if len(values) == 1:
        return first[None]
    made = np.empty((len(values), *first.shape), first.dtype)
    made[0] = first

    def further(index: int) -> None:
        made[index + 1] = make(values[index + 1])

    each(len(values) - 1, further)
    return made


def forward_stack(pixels: Pixels, grid: Grid) -> tuple[Tensor, Tensor]:
    """Resample a series or a volume onto a model's grid.

    Parameters
    ----------
    pixels
        (z, y, x) of the image, any real dtype.

    Returns
    -------
    canvas
        (z, y, x) float32: every slice by itself, or with a span all of its target's slices;
        zero outside the content.
    content
        View of the canvas where the region lies.
    """
    box, span = grid.content, grid.span
    pixels = turned(pixels, grid.turn)
    first, last = span.region if span is not None else (0, pixels.shape[0])
    planes = np.zeros((last - first, *grid.target_shape), np.float32)

    def lay_slice(index: int) -> None:
        forward_onto(planes[index], pixels[first + index], grid)

    each(len(planes), lay_slice)
    low, high = 0, len(planes)
    if span is not None:
        low, high = span.content
        canvas = np.zeros((span.target, *grid.target_shape), np.float32)
        canvas[low:high] = _through(along(last - first, high - low), planes)
        planes = canvas
    return planes, planes[low:high, box.y0 : box.y1, box.x0 : box.x1]


def seen(grid: Grid) -> Box:
    """The part of each slice that the model saw, on the axes of the image, of slices turned in plane only."""
    region, (height, width) = grid.region, grid.source_shape
    ends = {
        abs(grid.turn[1]): (height - region.y1, height - region.y0) if grid.turn[1] < 0 else (region.y0, region.y1),
        abs(grid.turn[2]): (width - region.x1, width - region.x0) if grid.turn[2] < 0 else (region.x0, region.x1),
    }
    return Box(ends[2][0], ends[3][0], ends[2][1], ends[3][1])


def back_stack(values: Pixels, grid: Grid, fill: float = 0.0) -> Pixels:
    """Resample maps from a model's grid onto the original grid of the series or volume.

    Parameters
    ----------
    values
        (z, y, x): one map a slice, float32 or uint16, or one volume over the whole of the
        model's grid, float32; coarser ones are taken to cover the same extent.
    fill
        Value outside the region that the model saw.

    Returns
    -------
    (z, y, x) on the image's axes, of the dtype of `values`.
    """
    if grid.span is None:
        return turned_back(_stacked(lambda plane: back(plane, grid, fill), values), grid.turn)
    made = np.full((grid.span.source, *grid.source_shape), fill, np.float32)
    for index, slice_ in enumerate(_between(values, grid.span), grid.span.region[0]):
        made[index] = back(slice_, grid, fill)
    return turned_back(made, grid.turn)


def back_mask_stack(values: Tensor, grid: Grid, level: float = 0.0) -> Mask:
    """A mask (z, y, x) on the original grid: where the resampled `values` exceed `level`.

    As `back_stack` and `wetread.prepare.grid.back_mask`.
    """
    values = np.asarray(values, np.float32)
    if grid.span is None:  # one by one: what fits into a cache costs half as much
        return turned_back(_stacked(lambda plane: back_steps(steps(plane, level), grid), values), grid.turn)
    made = np.zeros((grid.span.source, *grid.source_shape), np.bool_)
    for index, slice_ in enumerate(_between(steps(values, level), grid.span), grid.span.region[0]):
        made[index] = back_steps(slice_, grid)
    return turned_back(made, grid.turn)


def _between(values: Tensor, span: Span) -> Tensor:
    """The slices of the image's region, from values over the whole of the model's grid."""
    if len(values) != span.target:
        values = _through(along(len(values), span.target), values)
    (first, last), (low, high) = span.region, span.content
    return _through(along(high - low, last - first), values[low:high])
