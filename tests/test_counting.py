"""Slices are named as a PACS counts them: by Instance Number or frame, else by place and from which end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.report import series
from wetread.counting import listed, named
from wetread.records import Image

NINE = replace(series.image("ct"), numbers=())


@pytest.mark.parametrize(
    ("numbers", "slices", "said"),
    [
        (range(1, 10), (5, 6, 7), "images 6 to 8"),
        (range(9, 0, -1), (5, 6, 7), "images 2 to 4"),
        (range(9, 0, -1), (0, 1, 5, 7), "images 2, 4, 8 to 9"),
        (range(101, 119, 2), (1, 2, 3), "images 103 to 107"),
        ((1, 6, 2, 7, 3, 8, 4, 9, 5), (0, 1, 2), "images 1 to 2, 6"),
        (range(1, 10), (4,), "image 5"),
        (range(-3, 6), (0, 1), "images -3 to -2"),
    ],
)
def test_ranges_are_of_the_numbers_that_slices_have(numbers: range, slices: tuple[int, ...], said: str) -> None:
    assert named(replace(NINE, numbers=tuple(numbers)), slices) == said


def test_slices_one_by_one_keep_their_order() -> None:
    assert listed(replace(NINE, numbers=tuple(range(9, 0, -1))), (0, 4, 8)) == "images 9, 5, 1"
    assert listed(NINE, (3,)) == "slice 4 of 9, counted from the feet"


def test_frames_of_one_instance_are_numbered_frames() -> None:
    assert named(series.image("mr-enhanced"), (0, 1, 2)) == "frames 2, 4, 6"


@pytest.mark.parametrize(
    ("along", "end"),
    [
        ((0, 0.2, 0.9), "feet"),
        ((0, 0.2, -0.9), "head"),
        ((0.9, 0.1, 0), "right"),
        ((-0.9, 0.1, 0), "left"),
        ((0, 1, 0), "front"),
        ((0, -1, 0), "back"),
    ],
)
def test_without_numbers_the_end_is_said(along: tuple[float, float, float], end: str) -> None:
    assert NINE.directions is not None
    image = replace(NINE, directions=(along, *NINE.directions[1:]))
    assert named(image, (5, 6, 8)) == f"slices 6 to 7, 9 of 9, counted from the {end}"


def test_a_single_slice_has_no_end() -> None:
    one: Image = replace(NINE, pixels=np.zeros((1, 4, 4), np.int16))
    assert named(one, (0,)) == "slice 1 of 1"
