"""NIfTI volumes as arrays in the axis order and orientation that an axial DICOM series gives."""

from __future__ import annotations

import math
import zlib
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import OrientationError, inv_ornt_aff, io_orientation
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.cases import Directions
from wetread.lab.pictures import finite
from wetread.prepare.turn import LETTERS

__all__ = ["PLANES", "check_place", "directions_of", "plane_of", "read_nifti", "read_voxels"]

#: Plane of slices -> where (z, y, x) run to, as scanners lay them; z as `wetread.acquire` sorts slices: to the side
#: that rows and columns point to by the right-hand rule.
PLANES = {"axial": "HPL", "coronal": "PFL", "sagittal": "RFP"}
#: An axis is that of the slices when its voxels are so much longer than along any other.
THICK = 1.5
#: Larger volumes are refused before their voxels are read.
MOST_VOXELS = 1 << 28
#: Units of length by their codes in xyzt_units, mm; where there is none it is taken as mm, as everybody writes it.
UNITS_MM = {1: 1e3, 2: 1.0, 3: 1e-3}
NUMBERS = {3: "three", 4: "four"}
#: A mask lies elsewhere than its image where a voxel of it stands so far from the image's, in voxels.
ELSEWHERE = 0.5
#: What reading a file raises that was cut off or has fallen over.
DAMAGED = (OSError, EOFError, ValueError, zlib.error, HeaderDataError, OrientationError)


def directions_of(plane: str) -> Directions:
    """Return the unit vectors in which the axes (z, y, x) of slices of a plane, one of `PLANES`, grow."""
    z, y, x = (LETTERS[letter] for letter in PLANES[plane])
    return z, y, x


def plane_of(spacing_mm: tuple[float, float, float]) -> str:
    """Return the plane of the slices of a volume, by the spacing that `read_nifti` gives; "": any will do."""
    other, thickest = sorted(spacing_mm)[1:]
    return tuple(PLANES)[spacing_mm.index(thickest)] if thickest > THICK * other else ""


def read_nifti(path: Path, place: str = "") -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Read a NIfTI volume, ``.nii`` or ``.nii.gz``.

    Parameters
    ----------
    place
        What to call it in messages, by default the file's name.

    Returns
    -------
    pixels
        (z, y, x): z runs to the head, y to the back, x to the left of the patient, as far as
        whole axes can be swapped and reversed to get there.
    spacing_mm
        (z, y, x).

    Raises
    ------
    BadInput
        As `read_voxels`.

    References
    ----------
    R. Cox et al., "A (sort of) new image data format standard: NIfTI-1", 2004.
    """
    voxels, (x, y, z) = read_voxels(path, place or path.name, (3,))
    # DICOM's patient axes run to the left and to the back.
    return np.ascontiguousarray(voxels.transpose()[:, ::-1, ::-1]), (z, y, x)


def read_voxels(
    path: Path, place: str, axes: tuple[int, ...], dtype: type[np.float32] | None = None
) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Read the voxels of a NIfTI file, (x, y, z) or with channels behind, and the spacing (x, y, z) in mm.

    x runs to the right, y to the front and z to the head of the patient, as far as whole axes can be swapped and
    reversed to get there.

    Parameters
    ----------
    axes
        Numbers of axes that it may have.
    dtype
        What the voxels become, by default what the file holds.

    Raises
    ------
    BadInput
        The file cannot be read, is damaged or no NIfTI, has other axes, is too large, says not how it lies, or a voxel
        is no number.
    """
    try:
        path.open("rb").close()  # nibabel takes one that it may not read for another file
    except OSError as error:
        raise BadInput(f"{place}: expected a NIfTI volume, got a file that cannot be read: {error.strerror}") from error
    try:
        image = nibabel.load(path)
        shape = image.shape if isinstance(image, nibabel.Nifti1Image) else ()
        if len(shape) not in axes or not 0 < math.prod(shape) <= MOST_VOXELS:
            raise BadInput(
                f"{place}: expected a NIfTI volume of {' or '.join(NUMBERS[one] for one in axes)} axes and at most "
                f"{MOST_VOXELS} voxels, got {type(image).__name__} {shape}"
            )
        if (kind := image.get_data_dtype()).kind not in "iuf":  # type: ignore[attr-defined]
            raise BadInput(f"{place}: expected one real number a voxel, got {kind}; write its size or a grey value")
        if not any(image.header[code] for code in ("qform_code", "sform_code")):  # type: ignore[index]
            raise BadInput(
                f"{place}: expected a NIfTI header that says how the voxels lie in the patient, got neither qform nor "
                "sform; write it anew with the affine of its source: nibabel.Nifti1Image(voxels, affine)"
            )
        image = nibabel.as_closest_canonical(image)  # type: ignore[no-untyped-call]
        voxels = np.asarray(image.dataobj, dtype)
    except ImageFileError as error:
        raise BadInput(f"{place}: expected a NIfTI volume, got another file") from error
    except DAMAGED as error:
        raise BadInput(f"{place}: expected a NIfTI volume, got {type(error).__name__}; fetch the file again") from error
    x, y, z = (float(step) * _unit_mm(image) for step in image.header.get_zooms()[:3])
    return finite(voxels, place), (x, y, z)


def _unit_mm(image: Any) -> float:
    """Return the unit of lengths in a header."""
    return UNITS_MM.get(int(image.header["xyzt_units"]) & 7, 1.0)


def check_place(image: Path, mask: Path, place: str) -> None:
    """See that a mask lies in the patient where its image does, by the headers of two NIfTI files that can be read.

    Raises
    ------
    BadInput
        It lies elsewhere: each is turned by its own header, so the mask would mark something else.
    """
    (theirs, shape), (ours, _) = _affine(mask), _affine(image)
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in shape))])
    apart = float(np.abs(corners @ (np.linalg.inv(ours) @ theirs - np.eye(4)).T).max())
    if not apart <= ELSEWHERE:
        raise BadInput(
            f"{place}: expected a mask that lies in the patient where its image does, got a header that puts it up to "
            f"{apart:.4g} voxels away; resample it to the image, or write it with the image's affine if they are of "
            "the same voxels"
        )


def _affine(path: Path) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Return where the voxels of a file stand that is turned as `read_voxels` turns it, homogeneous, mm; its shape."""
    image: Any = nibabel.load(path)
    order = io_orientation(image.affine)  # type: ignore[no-untyped-call]
    shape = image.shape[:3]
    affine = np.asarray(image.affine @ inv_ornt_aff(order, shape), np.float64)  # type: ignore[no-untyped-call]
    affine[:3] *= _unit_mm(image)
    return affine, tuple(shape[int(axis)] for axis in np.argsort(order[:, 0]))
