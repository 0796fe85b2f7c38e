"""An image in any orientation reaches a model on the model's axes, and the mask comes back."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from wetread.prepare import back_mask_stack, back_stack, prepare, seen, turn_to, turned, turned_back
from wetread.prepare.turn import LETTERS
from wetread.records import Recipe, Vector

ORIENTATIONS = ["".join(letters) for order in permutations(("LR", "PA", "HF")) for letters in product(*order)]
Directions = tuple[Vector, Vector, Vector]


def directions_of(axes: str) -> Directions:
    z, y, x = (LETTERS[letter] for letter in axes)
    return (z, y, x)


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_every_orientation_reaches_the_model_upright(axes: str) -> None:
    upright = np.random.default_rng(0).random((5, 7, 9))
    lying = turned_back(upright, turn_to("HPL", directions_of(axes), whole=True))
    turn = turn_to("HPL", directions_of(axes), whole=True)
    np.testing.assert_array_equal(turned(lying, turn), upright)
    for axis, letter in enumerate("HPL"):
        source = directions_of(axes)[abs(turn[axis]) - 1]
        assert np.dot(source, LETTERS[letter]) == np.sign(turn[axis])


def test_oblique_image_takes_the_nearest_axes() -> None:
    angle = np.radians(20)
    across, down = (np.cos(angle), np.sin(angle), 0.0), (-np.sin(angle), np.cos(angle), 0.0)
    assert turn_to("HPL", ((0, 0, 1), down, across), whole=True) == (1, 2, 3)
    assert turn_to("FAL", ((0, 0, 1), down, across), whole=True) == (-1, -2, 3)


def test_slices_keep_their_order_and_turn_in_plane_only() -> None:
    feet_first_prone = directions_of("FAR")
    assert turn_to("HPL", feet_first_prone, whole=False) == (1, -2, -3)
    assert turn_to("HPL", directions_of("HLP"), whole=False) == (1, 3, 2)


def test_without_axes_or_directions_nothing_turns() -> None:
    assert turn_to("", directions_of("FAR"), whole=True) == (1, 2, 3)
    assert turn_to("HPL", None, whole=True) == (1, 2, 3)


@pytest.mark.parametrize("axes", ORIENTATIONS)
@pytest.mark.parametrize("depth", [0, 16])
def test_the_model_sees_the_same_and_masks_come_back(axes: str, depth: int) -> None:
    """One head in all 48 orientations: one tensor, and each mask back in its own array."""
    head = np.zeros((14, 40, 36), np.float32)
    head[4:9, 6:20, 10:31] = 1.0
    spacing = (2.0, 1.0, 0.8)
    recipe = Recipe(
        (48, 40), depth=depth, axes="HPL", window=(0.0, 1.0), spacing_mm=(2.0, 1.0, 0.8) if depth else (1.0, 0.8)
    )
    if not depth and axes[0] not in "HF":
        return  # slices of another plane: routing refuses them
    turn = turn_to("HPL", directions_of(axes), whole=True)
    lying = turned_back(head, turn)
    spaced = tuple(spacing[[abs(one) for one in turn].index(axis)] for axis in (1, 2, 3))
    made = prepare(lying, spaced[1] / spaced[2], recipe, None, (spaced[0], spaced[1], spaced[2]), directions_of(axes))
    planes = made.tensor[0, 0] if depth else made.tensor[:, 0]
    upright = prepare(head, 1.25, recipe, None, spacing)
    expected = upright.tensor[0, 0] if depth else upright.tensor[:, 0]
    np.testing.assert_array_equal(planes, expected[::-1] if not depth and axes[0] == "F" else expected)
    np.testing.assert_array_equal(back_mask_stack(planes, made.grid, 0.5), lying > 0.5)
    np.testing.assert_allclose(back_stack(planes, made.grid), lying, atol=1e-6)


def test_fitted_slices_that_lie_on_their_side_keep_their_aspect() -> None:
    """A pixel twice as high as wide, rows and columns exchanged: the model sees it upright."""
    pixels = np.random.default_rng(1).random((2, 30, 60)).astype(np.float32)
    recipe = Recipe((64, 64), axes="HPL", window=(0.0, 1.0))
    upright = prepare(pixels, 2.0, recipe, None, None, directions_of("HPL"))
    lying = prepare(np.ascontiguousarray(pixels.swapaxes(1, 2)), 0.5, recipe, None, None, directions_of("HLP"))
    np.testing.assert_array_equal(upright.tensor, lying.tensor)


@pytest.mark.parametrize("axes", [one for one in ORIENTATIONS if one[0] in "HF"])
def test_what_was_seen_stands_on_the_axes_of_the_image(axes: str) -> None:
    """A crop in the middle of 80 by 60: the box lies over the part that comes back."""
    turn = turn_to("HPL", directions_of(axes), whole=False)
    lying = turned_back(np.ones((1, 80, 60), np.float32), turn)
    recipe = Recipe((32, 40), axes="HPL", window=(0.0, 1.0), spacing_mm=(1.0, 1.0))
    made = prepare(lying, 1.0, recipe, None, (1.0, 1.0, 1.0), directions_of(axes))
    box = seen(made.grid)
    came = back_mask_stack(made.tensor[:, 0], made.grid, 0.5)[0]
    assert came[box.y0 : box.y1, box.x0 : box.x1].all()
    assert came.sum() == (box.y1 - box.y0) * (box.x1 - box.x0) == 32 * 40
