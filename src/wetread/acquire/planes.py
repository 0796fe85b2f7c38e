"""Where slices lie in the patient, and whether together they are a volume.

Positions and directions are in the patient's system, (x, y, z) in mm: to the left, to the
back, to the head (PS3.3 Section C.7.6.2.1.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from wetread.acquire.attributes import as_float, bad, values
from wetread.errors import NotRead
from wetread.records import Vector

Floats = npt.NDArray[np.float64]

#: Largest difference between two direction cosines that are taken for equal.
SAME_DIRECTION = 1e-3
#: Largest difference between a distance of slices and their mean distance, as a share of the mean.
EVEN = 0.1
#: Largest shift within the plane over the whole stack, as a share of a pixel: beyond it the stack is sheared.
SHEAR = 0.25
#: Slices closer than this share of the usual distance stand twice in the same place.
DOUBLED = 0.05
_FARTHEST_MM = 1e5


@dataclass(frozen=True, slots=True)
class Plane:
    """The first pixel's centre, and the directions in which columns and rows are counted."""

    position: Vector
    across: Vector  # unit; from one column to the next
    down: Vector  # unit; from one row to the next


@dataclass(frozen=True, slots=True)
class Stack:
    """Slices put in order."""

    order: tuple[int, ...]  # indices of the slices as they came
    distance_mm: float  # from one slice to the next
    positions_mm: tuple[Vector, ...]  # of the first pixel of each slice, in order
    directions: tuple[Vector, Vector, Vector]  # unit, of the array's axes (z, y, x)


def read_plane(header: Dataset) -> Plane | None:
    """Read where an image lies.

    Parameters
    ----------
    header
        Attributes of the image, or of one frame.

    Returns
    -------
    Plane or None
        None when Image Position (Patient) or Image Orientation (Patient) is missing.

    Raises
    ------
    NotRead
        BAD-TAG: they are no three and six finite numbers, or the directions are not
        at right angles and of length 1.

    References
    ----------
    DICOM PS3.3 Section C.7.6.2.1.1.
    """
    position = _numbers(header, "ImagePositionPatient", 3)
    cosines = _numbers(header, "ImageOrientationPatient", 6)
    if position is None or cosines is None:
        return None
    across, down = cosines[:3], cosines[3:]
    lengths = math.hypot(*across), math.hypot(*down)
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(_dot(across, down)) > 1e-2:
        raise bad("ImageOrientationPatient", "two unit vectors at right angles", "others")
    across = [one / lengths[0] for one in across]
    lean = _dot(down, across)
    down = [one - lean * other for one, other in zip(down, across, strict=True)]
    return Plane(vector(position), vector(across), vector([one / math.hypot(*down) for one in down]))


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    """Three numbers need no array."""
    return sum(one * other for one, other in zip(left, right, strict=True))


def _numbers(header: Dataset, keyword: str, count: int) -> list[float] | None:
    found = values(header, keyword)
    if not found:
        return None
    numbers = [number for number in map(as_float, found) if number is not None and abs(number) < _FARTHEST_MM]
    if len(numbers) != count or len(found) != count:
        raise bad(keyword, f"{count} finite numbers", f"{len(numbers)} of {len(found)}")
    return numbers


def normal(across: Vector, down: Vector) -> Vector:
    """The direction in which slices are counted: that of a right-handed system."""
    (a, b, c), (x, y, z) = across, down
    return (b * z - c * y, c * x - a * z, a * y - b * x)


def vector(values_: Sequence[float] | Floats) -> Vector:
    """Three plain numbers."""
    return (float(values_[0]), float(values_[1]), float(values_[2]))


def stack(planes: Sequence[Plane], pixel_mm: float) -> Stack:
    """Put slices in order along their normal, if together they are a volume.

    The normal is that of a right-handed system: to the head when a row runs to the left
    and a column to the back.  So the array is never a mirror image of the patient.

    Parameters
    ----------
    planes
        Two or more, in any order.
    pixel_mm
        The smaller side of a pixel.

    Raises
    ------
    NotRead
        MIXED-SERIES, DOUBLED-SLICES, MISSING-SLICES, UNEVEN-SLICES, SHEARED-SLICES.
    """
    across, down = planes[0].across, planes[0].down
    turned = [np.abs(np.subtract((one.across, one.down), (across, down))).max() for one in planes]
    if max(turned) > SAME_DIRECTION:
        raise NotRead("MIXED-SERIES", "Expected one Image Orientation (0020,0037) in all slices, got several.")
    up = np.array(normal(across, down))
    positions = np.array([one.position for one in planes])
    heights = positions @ up
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    _check_gaps(gaps)
    _check_shear(positions[order], up, pixel_mm)
    return Stack(
        tuple(int(one) for one in order),
        float(gaps.mean()),
        tuple(vector(one) for one in positions[order]),
        (vector(up), down, across),
    )


def _check_gaps(gaps: Floats) -> None:
    usual = float(np.median(gaps))
    twice = int(np.count_nonzero(gaps <= DOUBLED * usual)) if usual > 1e-3 else len(gaps)
    if twice:
        raise NotRead("DOUBLED-SLICES", f"Expected one slice a place, got {twice} more at places that were taken.")
    steps = gaps / usual
    far = steps > 1.5
    whole = np.abs(steps - np.rint(steps)) <= EVEN * np.rint(steps)
    if far.any() and whole[far].all():
        missing = int((np.rint(steps[far]) - 1).sum())
        raise NotRead(
            "MISSING-SLICES", f"{missing} are missing among {len(gaps) + 1}, by their distance of {usual:.3g} mm."
        )
    mean = float(gaps.mean())
    drift = np.abs(np.cumsum(gaps) - mean * np.arange(1, len(gaps) + 1)).max()
    if np.abs(gaps - mean).max() > EVEN * mean or drift > 2 * EVEN * mean:
        raise NotRead("UNEVEN-SLICES", f"Distances go from {gaps.min():.3g} to {gaps.max():.3g} mm.")


def _check_shear(positions: Floats, up: Floats, pixel_mm: float) -> None:
    away = positions - positions[0]
    sideways = np.linalg.norm(away - np.outer(away @ up, up), axis=1)
    if sideways.max() > SHEAR * pixel_mm:
        angle = float(np.degrees(np.arctan2(sideways[-1], away[-1] @ up)))
        raise NotRead("SHEARED-SLICES", f"Expected slices above each other, got them shifted by {angle:.1f} degrees.")
