"""The box around the skull: beside table and ear muffs, and where there is no head."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wetread.prepare import back_mask_stack, prepare
from wetread.prepare.head import head_box
from wetread.records import Box, Recipe

RECIPE = Recipe((96, 80), axes="HPL", region="head", window=(-20.0, 100.0))


def drawn_head(depth: int = 12) -> npt.NDArray[np.int16]:
    """Return a skull of rows 40 to 139 and columns 30 to 109 in air, over a table, between ear muffs; HU."""
    y, x = np.mgrid[:200, :180].astype(np.float64)
    far = np.hypot((y + 0.5 - 90) / 50, (x + 0.5 - 70) / 40)
    slice_ = np.full((200, 180), -1000, np.int16)
    slice_[far < 1] = 900
    slice_[far < 0.9] = 35
    slice_[180:184] = 300  # the table
    slice_[80:100, 5:15] = slice_[80:100, 130:140] = 800
    return np.repeat(slice_[None], depth, 0)


def test_box_holds_the_skull_and_nothing_else() -> None:
    assert head_box(drawn_head()) == Box(40, 30, 140, 110)


def test_metal_in_few_slices_does_not_widen_the_box() -> None:
    head = drawn_head()
    head[3, 90:95, 15:130] = 3000
    assert head_box(head) == Box(40, 30, 140, 110)


def test_without_bone_there_is_no_box() -> None:
    assert head_box(np.full((4, 64, 64), 40, np.int16)) is None
    speck = np.full((4, 64, 64), 40, np.int16)
    speck[:, 5, 5] = 500
    assert head_box(speck) is None


def test_model_sees_the_head_and_its_mask_comes_back() -> None:
    ready = prepare(drawn_head(), 1.0, RECIPE)
    assert ready.grid.region == Box(40, 30, 140, 110)
    assert ready.tensor.shape == (12, 1, 96, 80)
    brain = ready.tensor[:, 0] == np.float32((35 + 20) / 120)
    mask = back_mask_stack(brain.astype(np.float32), ready.grid)
    assert mask.shape == (12, 200, 180)
    middle = np.argwhere(mask).mean(0) + 0.5
    assert np.abs(middle - (6, 90, 70)).max() < 0.5


def test_image_that_lies_otherwise_is_turned_first() -> None:
    """Rows that run to the front instead of the back give the same tensor."""
    straight = prepare(drawn_head(), 1.0, RECIPE, directions=((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    upended = prepare(drawn_head()[:, ::-1], 1.0, RECIPE, directions=((0, 0, 1), (0, -1, 0), (1, 0, 0)))
    assert np.array_equal(straight.tensor, upended.tensor)


def test_image_without_a_head_is_seen_whole() -> None:
    assert prepare(np.full((4, 64, 64), 40, np.int16), 1.0, RECIPE).grid.region == Box(0, 0, 64, 64)
