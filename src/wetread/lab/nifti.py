"""NIfTI volumes as arrays in the axis order and orientation that an axial DICOM series gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.cases import Directions
from wetread.prepare.turn import LETTERS

__all__ = ["PLANES", "directions_of", "plane_of", "read_nifti"]

#: Plane of slices -> where (z, y, x) run to, as scanners lay them; z as `wetread.acquire` sorts slices: to the side
#: that rows and columns point to by the right-hand rule.
PLANES = {"axial": "HPL", "coronal": "PFL", "sagittal": "RFP"}
#: An axis is that of the slices when its voxels are so much longer than along any other.
THICK = 1.5


def directions_of(plane: str) -> Directions:
    """Return the unit vectors in which the axes (z, y, x) of slices of a plane, one of `PLANES`, grow."""
    z, y, x = (LETTERS[letter] for letter in PLANES[plane])
    return z, y, x


def plane_of(spacing_mm: tuple[float, float, float]) -> str:
    """Return the plane of the slices of a volume, by the spacing that `read_nifti` gives; "": any will do."""
    other, thickest = sorted(spacing_mm)[1:]
    return tuple(PLANES)[spacing_mm.index(thickest)] if thickest > THICK * other else ""


def read_nifti(path: Path) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Read a NIfTI volume, ``.nii`` or ``.nii.gz``.

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
        The file is no NIfTI volume of three axes.

    References
    ----------
    R. Cox et al., "A (sort of) new image data format standard: NIfTI-1", 2004.
    """
    try:
        image = nibabel.load(path)
    except ImageFileError as error:
        raise BadInput(f"{path.name}: expected a NIfTI volume, got another file") from error
    if not isinstance(image, nibabel.Nifti1Image) or len(image.shape) != 3:
        raise BadInput(f"{path.name}: expected a NIfTI volume of three axes, got {type(image).__name__}")
    # Canonical means right, front, head; DICOM's patient axes run to the left and to the back.
    canonical = nibabel.as_closest_canonical(image)  # type: ignore[no-untyped-call]
    pixels = np.asarray(canonical.dataobj).transpose()[:, ::-1, ::-1]
    x, y, z = (float(step) for step in canonical.header.get_zooms())
    return np.ascontiguousarray(pixels), (z, y, x)
