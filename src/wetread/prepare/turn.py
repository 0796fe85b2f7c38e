"""The axes of an image, turned to those that a model expects, and back: no value is changed.

A turn tells for each axis (z, y, x) of the model which axis of the image it is, counted
from 1, and is negative where it runs the other way.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np

from wetread.records import Pixels, Turn, Vector

#: Where an axis may run to, as in Patient Orientation (PS3.3 Section C.7.6.1.1.1).
LETTERS: dict[str, Vector] = {
    "L": (1, 0, 0),
    "R": (-1, 0, 0),
    "P": (0, 1, 0),
    "A": (0, -1, 0),
    "H": (0, 0, 1),
    "F": (0, 0, -1),
}
AS_ACQUIRED: Turn = (1, 2, 3)


def turn_to(axes: str, directions: tuple[Vector, Vector, Vector] | None, whole: bool) -> Turn:
    """The turn that brings an image closest to the axes of a model.

    Parameters
    ----------
    axes
        Three letters, where z, y and x of the model run to, such as "HPL"; "" leaves the
        image as it was acquired.
    directions
        Unit vectors in which the axes (z, y, x) of the image grow; None: not known, the
        image is left as it is.
    whole
        Whether z may change its place: of a volume it may, of slices only rows and columns.
    """
    if not axes or directions is None:
        return AS_ACQUIRED
    wanted = np.array([LETTERS[letter] for letter in axes], np.float64)
    along = wanted @ np.array(directions).T  # (model's axis, image's axis)
    options = [order for order in permutations(range(3)) if whole or order[0] == 0]
    best = max(options, key=lambda order: sum(abs(along[axis, order[axis]]) for axis in range(3)))
    signs = [1 if along[axis, best[axis]] >= 0 else -1 for axis in range(3)]
    first = signs[0] * (best[0] + 1) if whole else 1
    return (first, signs[1] * (best[1] + 1), signs[2] * (best[2] + 1))


def turned(values: Pixels, turn: Turn) -> Pixels:
    """An array (z, y, x) of the image on the model's axes; a view."""
    made = values.transpose([abs(axis) - 1 for axis in turn])
    return made[tuple(slice(None, None, 1 if axis > 0 else -1) for axis in turn)]


def turned_back(values: Pixels, turn: Turn) -> Pixels:
    """An array (z, y, x) of the model on the image's axes; a view."""
    straight = values[tuple(slice(None, None, 1 if axis > 0 else -1) for axis in turn)]
    return straight.transpose(np.argsort([abs(axis) for axis in turn]))


def lengths(sizes: tuple[float, float, float], turn: Turn) -> tuple[float, float, float]:
    """What belongs to each axis of the image, such as its spacing, on the model's axes."""
    z, y, x = (sizes[abs(axis) - 1] for axis in turn)
    return (z, y, x)
