"""The grid of a model on an image, and the way back.

One rule relates the two: pixel i covers the half-open interval [i, i+1), so the
centre of pixel i stands at i + 0.5.  A box of the image is scaled, by axis, onto
a box of the model's grid; the rest of the grid is padding.
"""

from __future__ import annotations

import cv2
import numpy as np

from wetread.records import Box, Grid, Mask, Pixels, Tensor


def whole(shape: tuple[int, int]) -> Box:
    """The box that covers an image of `shape` (y, x)."""
    return Box(0, 0, shape[0], shape[1])


def letterbox(shape: tuple[int, int], pixel_aspect: float, target: tuple[int, int], region: Box | None = None) -> Grid:
    """Lay a region of an image, centred and in its physical aspect ratio, on a model's grid.

    Parameters
    ----------
    shape
        (y, x) of the image, pixels.
    pixel_aspect
        Height of a pixel over its width.
    target
        (y, x) of the model's grid, pixels.
    region
        The part of the image to lay on the grid; all of it by default.
    """
    region = _halvable(region or whole(shape), target)
    height = (region.y1 - region.y0) * pixel_aspect
    width = float(region.x1 - region.x0)
    scale = min(target[0] / height, target[1] / width)
    size = (max(1, min(target[0], round(height * scale))), max(1, min(target[1], round(width * scale))))
    y0, x0 = (target[0] - size[0]) // 2, (target[1] - size[1]) // 2
    return Grid(shape, region, target, Box(y0, x0, y0 + size[0], x0 + size[1]))


def _halvable(region: Box, target: tuple[int, int]) -> Box:
    """Drop the last rows and columns that keep a region from being halved while it shrinks more than twofold.

    Halving by 2 x 2 means first is exact then, and three times faster.
    """
    height, width = region.y1 - region.y0, region.x1 - region.x0
    by = 1
    while height >= 4 * by * target[0] and width >= 4 * by * target[1]:
        by *= 2
    return Box(region.y0, region.x0, region.y1 - height % by, region.x1 - width % by)


def forward(pixels: Pixels, grid: Grid) -> tuple[Tensor, Tensor]:
    """Resample an image onto a model's grid: area-averaged when it shrinks.

    Parameters
    ----------
    pixels
        (y, x), any real dtype; its shape is `grid.source_shape`.

    Returns
    -------
    canvas
        (y, x) float32 of `grid.target_shape`; zero outside the content.
    content
        View of the canvas where the region lies.
    """
    canvas = np.zeros(grid.target_shape, np.float32)
    return canvas, forward_onto(canvas, pixels, grid)


def forward_onto(canvas: Tensor, pixels: Pixels, grid: Grid) -> Tensor:
    """Resample an image onto a canvas of zeros, as `forward`; return the view of it where the region lies."""
    region, box = grid.region, grid.content
    part = _resizable(pixels[region.y0 : region.y1, region.x0 : region.x1])
    content = canvas[box.y0 : box.y1, box.x0 : box.x1]
    content[...] = _resize(part, content.shape)
    return content


def _resizable(part: Pixels) -> Pixels:
    """The dtypes that OpenCV resizes; the others become float32."""
    return part if part.dtype in (np.uint8, np.uint16, np.int16, np.float32) else part.astype(np.float32)


def _resize(part: Pixels, size: tuple[int, int]) -> Pixels:
    """Each axis by its own rule: area when it shrinks, linear when it grows."""
    rows, columns = part.shape
    if rows % 2 == columns % 2 == 0 and rows >= 4 * size[0] and columns >= 4 * size[1]:
        return _resize(cv2.resize(part, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA), size)
    if size[0] <= rows and size[1] <= columns:
        return cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA)
    if size[0] > rows and size[1] > columns:
        return cv2.resize(part.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    part = part.astype(np.float32)
    first = (size[0], columns) if size[0] <= rows else (rows, size[1])
    shrunk = cv2.resize(part, first[::-1], interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, size[::-1], interpolation=cv2.INTER_LINEAR)


def back(values: Pixels, grid: Grid, fill: float = 0.0) -> Pixels:
    """Resample a map from a model's grid onto the original grid of the image, linearly.

    Parameters
    ----------
    values
        (y, x) float32 or uint16 over the whole of the model's grid; a coarser map (the last
        feature map of a network) is taken to cover the same extent.
    fill
        Value outside the region that the model saw.

    Returns
    -------
    (y, x) of `grid.source_shape` and the dtype of `values`.
    """
    return _back(values, grid, fill)


def _back(values: Pixels, grid: Grid, fill: float) -> Pixels:
    region, box = grid.region, grid.content
    if values.shape != grid.target_shape:
        values = cv2.resize(values, grid.target_shape[::-1], interpolation=cv2.INTER_LINEAR)
    size = (region.y1 - region.y0, region.x1 - region.x0)
    content = np.ascontiguousarray(values[box.y0 : box.y1, box.x0 : box.x1])
    if size == grid.source_shape:
        return cv2.resize(content, size[::-1], interpolation=cv2.INTER_LINEAR)
    out = np.empty(grid.source_shape, content.dtype)
    # Only what the region leaves: the rest is written by the resize.
    out[: region.y0], out[region.y1 :] = fill, fill
    out[region.y0 : region.y1, : region.x0], out[region.y0 : region.y1, region.x1 :] = fill, fill
    place = out[region.y0 : region.y1, region.x0 : region.x1]
    cv2.resize(content, size[::-1], dst=place, interpolation=cv2.INTER_LINEAR)
    return out


def back_mask(values: Tensor, grid: Grid, level: float = 0.0) -> Mask:
    """A mask on the original grid: where the resampled `values` exceed `level`."""
    return back_steps(steps(values, level), grid)


def steps(values: Tensor, level: float) -> Tensor:
    """Values in 1/64 around a level, which becomes 128, clipped to 0..255.

    Only the place of a crossing matters to a mask, so the values may travel in 8 bits:
    a quarter of the bytes, and within half a pixel all the same.
    """
    made = np.subtract(values, np.float32(level), dtype=np.float32)
    made *= np.float32(64.0)
    made += np.float32(128.0)
    return np.clip(made, 0.0, 255.0, out=made)


def back_steps(stepped: Tensor, grid: Grid) -> Mask:
    """The mask (y, x) on the original grid where resampled `steps` lie above the level."""
    out = np.ascontiguousarray(_back(np.rint(stepped).astype(np.uint8), grid, 0.0))
    # In place, as a new array of this size costs more than the comparison.
    cv2.threshold(out, 128, 1, cv2.THRESH_BINARY, dst=out)
    return out.view(np.bool_)


def bounds(values: Tensor, grid: Grid, level: float = 0.0, margin: float = 0.0) -> Box | None:
    """The box on the image around `values` > `level` on the model's grid, or None if empty.

    `margin` grows it on each side by that share of its size; it stays inside the image.
    """
    inside = values > level
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not rows.size:
        return None
    region, box = grid.region, grid.content
    scale_y = (region.y1 - region.y0) / (box.y1 - box.y0) * grid.target_shape[0] / values.shape[0]
    scale_x = (region.x1 - region.x0) / (box.x1 - box.x0) * grid.target_shape[1] / values.shape[1]
    origin_y = region.y0 - box.y0 * (region.y1 - region.y0) / (box.y1 - box.y0)
    origin_x = region.x0 - box.x0 * (region.x1 - region.x0) / (box.x1 - box.x0)
    y0, y1 = rows[0] * scale_y + origin_y, (rows[-1] + 1) * scale_y + origin_y
    x0, x1 = columns[0] * scale_x + origin_x, (columns[-1] + 1) * scale_x + origin_x
    grow_y, grow_x = (y1 - y0) * margin, (x1 - x0) * margin
    height, width = grid.source_shape
    return Box(
        max(0, int(np.floor(y0 - grow_y))),
        max(0, int(np.floor(x0 - grow_x))),
        min(height, int(np.ceil(y1 + grow_y))),
        min(width, int(np.ceil(x1 + grow_x))),
    )
