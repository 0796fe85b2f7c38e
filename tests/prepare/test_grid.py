"""Every spatial step beside its inverse: the way there and back, on random geometries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread.prepare import back, back_mask, bounds, forward, letterbox, prepare
from wetread.prepare.grid import whole
from wetread.records import Box, Grid, Recipe

sizes = st.integers(200, 900)
aspects = st.floats(0.5, 2.0)


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """An ellipse; pixel i covers [i, i+1)."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return ((y + 0.5 - centre[0]) / radius[0]) ** 2 + ((x + 0.5 - centre[1]) / radius[1]) ** 2 < 1.0


def centroid(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return np.array([axis.mean() for axis in np.nonzero(mask)]) + 0.5


@given(
    height=sizes,
    width=sizes,
    aspect=aspects,
    place=st.tuples(st.floats(0.35, 0.65), st.floats(0.35, 0.65)),
    turn=st.integers(0, 7),
    grid=st.sampled_from([(128, 128), (192, 256), (256, 224)]),
)
@settings(max_examples=150, deadline=None)
def test_mask_comes_back_within_half_a_pixel(
    height: int, width: int, aspect: float, place: tuple[float, float], turn: int, grid: tuple[int, int]
) -> None:
    shape = (height, width)
    mask = disc(shape, (height * place[0], width * place[1]), (height * 0.22, width * 0.18))
    mask = np.rot90(mask[:, ::-1] if turn & 4 else mask, turn & 3).copy()  # the eight orientations
    lying = letterbox((mask.shape[0], mask.shape[1]), aspect, grid)
    canvas, _ = forward(mask.astype(np.float32), lying)
    there = back_mask(canvas, lying, 0.5)
    assert there.shape == mask.shape
    assert np.abs(centroid(there) - centroid(mask)).max() <= 0.5
    assert abs(int(there.sum()) - int(mask.sum())) <= 0.03 * mask.sum()


@given(height=sizes, width=sizes, aspect=aspects, corner=st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)))
@settings(max_examples=60, deadline=None)
def test_region_comes_back_where_it_was(height: int, width: int, aspect: float, corner: tuple[float, float]) -> None:
    region = Box(int(corner[0] * height), int(corner[1] * width), int(height * 0.9), int(width * 0.95))
    centre = ((region.y0 + region.y1) / 2, (region.x0 + region.x1) / 2)
    mask = disc((height, width), centre, ((region.y1 - region.y0) * 0.3, (region.x1 - region.x0) * 0.3))
    lying = letterbox((height, width), aspect, (160, 160), region)
    canvas, _ = forward(mask.astype(np.float32), lying)
    there = back_mask(canvas, lying, 0.5)
    assert np.abs(centroid(there) - centroid(mask)).max() <= 0.5
    outside = np.ones_like(there)
    outside[region.y0 : region.y1, region.x0 : region.x1] = False
    assert not there[outside].any()


@given(height=sizes, width=sizes, aspect=aspects)
@settings(max_examples=60, deadline=None)
def test_letterbox_keeps_the_physical_aspect_ratio(height: int, width: int, aspect: float) -> None:
    box = letterbox((height, width), aspect, (256, 256)).content
    on_grid = (box.y1 - box.y0) / (box.x1 - box.x0)
    physical = height * aspect / width
    assert on_grid == pytest.approx(physical, rel=1.5 / min(box.y1 - box.y0, box.x1 - box.x0))
    assert max(box.y1 - box.y0, box.x1 - box.x0) == 256


def test_coarse_map_covers_the_same_extent() -> None:
    """A 7 x 7 feature map: the cell that holds evidence lies over the pixels it saw."""
    lying = letterbox((700, 700), 1.0, (224, 224))
    coarse = np.zeros((7, 7), np.float32)
    coarse[2, 5] = 1.0
    there = back(coarse, lying)
    top = centroid(there >= 0.999 * there.max())
    np.testing.assert_allclose(top, (250, 550), atol=0.5)


def test_forward_averages_area() -> None:
    """A checkerboard finer than the grid becomes its mean: nothing aliases."""
    board = (np.indices((512, 512)).sum(0) % 2).astype(np.float32)
    _, content = forward(board, letterbox((512, 512), 1.0, (64, 64)))
    np.testing.assert_allclose(content, 0.5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_forward_takes_every_real_dtype(dtype: str) -> None:
    pixels = np.arange(100 * 90).reshape(100, 90).astype(dtype)
    _, content = forward(pixels, letterbox((100, 90), 1.0, (50, 45)))
    wanted = pixels.astype(np.float64).reshape(50, 2, 45, 2).mean((1, 3))
    np.testing.assert_allclose(content, wanted, atol=0.51 if pixels.dtype.kind in "iu" else 1e-2)


def test_forward_enlarges_one_axis_and_shrinks_the_other() -> None:
    lying = Grid((20, 400), whole((20, 400)), (100, 100), whole((100, 100)))
    _, content = forward(np.tile(np.arange(400, dtype=np.float32), (20, 1)), lying)
    np.testing.assert_allclose(content[50], np.arange(100) * 4 + 1.5, atol=1e-3)


@given(height=sizes, width=sizes, aspect=aspects)
@settings(max_examples=40, deadline=None)
def test_bounds_hold_the_mask(height: int, width: int, aspect: float) -> None:
    mask = disc((height, width), (height * 0.5, width * 0.45), (height * 0.3, width * 0.2))
    lying = letterbox((height, width), aspect, (192, 192))
    canvas, _ = forward(mask.astype(np.float32), lying)
    box = bounds(canvas, lying, 0.5)
    assert box is not None
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cell = (height / (lying.content.y1 - lying.content.y0), width / (lying.content.x1 - lying.content.x0))
    assert abs(box.y0 - rows[0]) <= 2 * cell[0] + 1
    assert abs(box.x1 - columns[-1]) <= 2 * cell[1] + 1


def test_bounds_of_nothing() -> None:
    assert bounds(np.zeros((64, 64), np.float32), letterbox((100, 100), 1.0, (64, 64)), 0.5) is None


def test_prepare_stretches_after_the_resize_and_ignores_padding() -> None:
    rng = np.random.default_rng(7)
    pixels = rng.normal(3000.0, 400.0, (400, 200)).astype(np.float32)
    recipe = Recipe((64, 64), percentiles=(1.0, 99.0), channels=3, mean=(0.5,), std=(0.25,))
    made = prepare(pixels, 1.0, recipe)
    assert made.tensor.shape == (1, 3, 64, 64)
    assert made.tensor.dtype == np.float32
    content = made.tensor[0, 0, :, 16:48] * 0.25 + 0.5
    np.testing.assert_allclose(np.percentile(content, (2, 98)), (0.03, 0.97), atol=0.06)
    np.testing.assert_allclose(made.tensor[0, :, :, :16], -2.0)
    np.testing.assert_array_equal(made.tensor[0, 0], made.tensor[0, 2])


def test_prepare_of_a_constant_image_is_zero() -> None:
    made = prepare(np.full((80, 80), 1234, np.uint16), 1.0, Recipe((64, 64)))
    assert not made.tensor.any()


def test_prepare_does_not_depend_on_gain_and_offset() -> None:
    """Another detector's gain and offset give the same tensor."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(1000.0, 100.0, (300, 320)).astype(np.float32)
    first = prepare(pixels, 1.0, Recipe((64, 64))).tensor
    second = prepare(pixels * 3.5 + 900, 1.0, Recipe((64, 64))).tensor
    np.testing.assert_allclose(first, second, atol=1e-3)
