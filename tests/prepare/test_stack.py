"""Series and volumes: the way to a model's grid and back, on random geometries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread.errors import NotRead
from wetread.prepare import back_mask_stack, back_stack, forward_stack, lay, prepare
from wetread.prepare.stack import along
from wetread.records import Recipe

Bools = npt.NDArray[np.bool_]


def ball(shape: tuple[int, int, int], centre: tuple[float, ...], radius: tuple[float, ...]) -> Bools:
    """An ellipsoid; voxel i covers [i, i+1)."""
    axes = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return np.asarray(sum(((a + 0.5 - c) / r) ** 2 for a, c, r in zip(axes, centre, radius, strict=True)) < 1.0)


def centroid(mask: Bools) -> npt.NDArray[np.float64]:
    return np.array([axis.mean() for axis in np.nonzero(mask)]) + 0.5


def there_and_back(mask: Bools, spacing: tuple[float, float, float], recipe: Recipe) -> Bools:
    grid = lay((mask.shape[0], mask.shape[1], mask.shape[2]), spacing[1] / spacing[2], recipe, None, spacing)
    canvas, _ = forward_stack(mask.astype(np.float32), grid)
    assert canvas.shape == (recipe.depth or mask.shape[0], *recipe.grid)
    return back_mask_stack(canvas, grid, 0.5)


sizes = st.tuples(st.integers(24, 60), st.integers(60, 140), st.integers(60, 140))
spacings = st.tuples(st.floats(0.8, 3.0), st.floats(0.5, 1.5), st.floats(0.5, 1.5))
places = st.tuples(*[st.floats(0.42, 0.58)] * 3)


@given(shape=sizes, spacing=spacings, place=places, wanted=spacings)
@settings(max_examples=150, deadline=None)
def test_volume_comes_back_within_half_a_voxel(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    place: tuple[float, float, float],
    wanted: tuple[float, float, float],
) -> None:
    """Cropped or padded, finer or coarser, along each axis by itself."""
    recipe = Recipe((64, 72), depth=32, spacing_mm=wanted, percentiles_of="series")
    covered = [min(n * s, g * w) / s for n, s, g, w in zip(shape, spacing, (32, 64, 72), wanted, strict=True)]
    centre = tuple(n / 2 + (p - 0.5) * c for n, p, c in zip(shape, place, covered, strict=True))
    cells = [w / s for w, s in zip(wanted, spacing, strict=True)]
    radius = tuple(max(0.3 * c, 2.5 * k) for c, k in zip(covered, cells, strict=True))
    if any(r > 0.4 * c or r < 3 for r, c in zip(radius, covered, strict=True)):
        return  # too few cells to draw a ball on
    mask = ball(shape, centre, radius)
    there = there_and_back(mask, spacing, recipe)
    assert there.shape == shape
    assert np.abs(centroid(there) - centroid(mask)).max() <= 0.5
    assert abs(int(there.sum()) - int(mask.sum())) <= 0.1 * mask.sum()


@given(shape=sizes, spacing=spacings, place=places, fit=st.booleans())
@settings(max_examples=100, deadline=None)
def test_slices_come_back_each_in_its_place(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], place: tuple[float, float, float], fit: bool
) -> None:
    recipe = Recipe((96, 96), spacing_mm=None if fit else (1.25, 1.25))
    centre = tuple(n / 2 + (p - 0.5) * n / 4 for n, p in zip(shape, place, strict=True))
    mask = ball(shape, centre, (shape[0] * 0.3, shape[1] * 0.22, shape[2] * 0.22))
    there = there_and_back(mask, spacing, recipe)
    assert np.abs(centroid(there) - centroid(mask)).max() <= 0.5
    for before, after in zip(mask, there, strict=True):
        assert before.any() or not after.any()


def test_cropping_leaves_the_outside_empty() -> None:
    recipe = Recipe((32, 32), depth=8, spacing_mm=(1.0, 1.0, 1.0), percentiles_of="series")
    there = there_and_back(np.ones((20, 80, 70), np.bool_), (1.0, 1.0, 1.0), recipe)
    assert there[6:14, 24:56, 19:51].all()
    assert there.sum() == 8 * 32 * 32


def test_same_spacing_changes_no_value() -> None:
    """At the model's own spacing nothing is interpolated: training may crop plain arrays."""
    pixels = np.random.default_rng(2).integers(-1000, 1000, (12, 40, 50)).astype(np.int16)
    recipe = Recipe((48, 48), depth=16, spacing_mm=(2.0, 0.7, 0.7), percentiles_of="series")
    grid = lay((12, 40, 50), 1.0, recipe, None, (2.0, 0.7, 0.7))
    canvas, content = forward_stack(pixels, grid)
    np.testing.assert_array_equal(content, pixels[:, :, 1:49])
    assert canvas.sum() == content.sum(dtype=np.float64) == pixels[:, :, 1:49].sum()
    np.testing.assert_array_equal(back_stack(canvas, grid)[:, :, 1:49], pixels[:, :, 1:49])


@pytest.mark.parametrize(("size", "target"), [(10, 10), (10, 3), (3, 10), (1, 5), (7, 1)])
def test_along_keeps_a_constant(size: int, target: int) -> None:
    np.testing.assert_allclose(along(size, target).sum(1), 1.0, atol=1e-6)


def test_along_averages_area_and_interpolates() -> None:
    np.testing.assert_allclose(along(4, 2) @ np.array([1, 3, 5, 7], np.float32), [2, 6])
    np.testing.assert_allclose(along(2, 4) @ np.array([0, 1], np.float32), [0, 0.25, 0.75, 1])


def test_coarse_volume_covers_the_same_extent() -> None:
    recipe = Recipe((64, 64), depth=32, spacing_mm=(1.0, 1.0, 1.0), percentiles_of="series")
    grid = lay((32, 64, 64), 1.0, recipe, None, (1.0, 1.0, 1.0))
    coarse = np.zeros((4, 8, 8), np.float32)
    coarse[1, 5, 2] = 1.0
    there = back_stack(coarse, grid)
    np.testing.assert_allclose(centroid(there >= 0.999 * there.max()), (12, 44, 20), atol=0.5)


def test_window_gives_units_of_the_window() -> None:
    pixels = np.array([-2000, -1000, 0, 400, 3000], np.int16).repeat(64 * 64).reshape(5, 64, 64)
    made = prepare(pixels, 1.0, Recipe((64, 64), window=(-1000.0, 400.0)))
    assert made.tensor.shape == (5, 1, 64, 64)
    np.testing.assert_allclose(made.tensor[:, 0, 0, 0], [0, 0, 1000 / 1400, 1, 1], atol=1e-6)


def test_percentiles_of_the_series_keep_slices_comparable() -> None:
    rng = np.random.default_rng(4)
    pixels = (rng.random((3, 64, 64)) * np.array([1, 2, 4]).reshape(3, 1, 1)).astype(np.float32)
    by_slice = prepare(pixels, 1.0, Recipe((64, 64))).tensor.max((1, 2, 3))
    by_series = prepare(pixels, 1.0, Recipe((64, 64), percentiles_of="series")).tensor.max((1, 2, 3))
    np.testing.assert_allclose(by_slice, 1.0)
    np.testing.assert_allclose(by_series, [0.25, 0.5, 1.0], atol=0.02)


def test_every_slice_is_prepared_as_a_film() -> None:
    """What a slice-wise model sees of a slice does not depend on how the slice came."""
    pixels = np.random.default_rng(6).normal(0, 300, (4, 90, 70)).astype(np.int16)
    recipe = Recipe((64, 64), channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    together = prepare(pixels, 1.2, recipe).tensor
    alone = np.concatenate([prepare(slice_, 1.2, recipe).tensor for slice_ in pixels])
    np.testing.assert_array_equal(together, alone)


def test_volume_tensor_has_one_batch_and_padding_of_zero() -> None:
    pixels = np.random.default_rng(1).random((10, 40, 40), np.float32) + 5
    recipe = Recipe((48, 48), depth=16, spacing_mm=(1.0, 1.0, 1.0), percentiles_of="series", mean=(0.5,), std=(0.5,))
    made = prepare(pixels, 1.0, recipe, None, (1.0, 1.0, 1.0))
    assert made.tensor.shape == (1, 1, 16, 48, 48)
    assert made.grid.span is not None
    assert made.grid.span.content == (3, 13)
    np.testing.assert_array_equal(made.tensor[0, 0, :3], -1.0)
    assert made.tensor[0, 0, 3:13, 4:44, 4:44].std() > 0.4


def test_spacing_that_nobody_knows_is_refused() -> None:
    with pytest.raises(NotRead, match="MISSING-TAG"):
        prepare(np.zeros((3, 40, 40), np.int16), 1.0, Recipe((64, 64), spacing_mm=(1.0, 1.0)))
