"""NIfTI-1 volumes as arrays in the axis order and orientation that DICOM gives.

References
----------
R. Cox et al., "A (sort of) new image data format standard: NIfTI-1", 2004;
https://nifti.nimh.nih.gov/nifti-1 (header of 348 bytes, offsets as in nifti1.h).
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput

__all__ = ["read_nifti"]

#: datatype -> NumPy's name.
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 512: "u2"}


def read_nifti(path: Path) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Read a single-file NIfTI-1 volume, ``.nii`` or ``.nii.gz``.

    Returns
    -------
    pixels
        (z, y, x): NIfTI's x grows towards the right and y towards the front of the patient;
        both are reversed, so that an axial DICOM series of the same head looks alike.
    spacing_mm
        (z, y, x).

    Raises
    ------
    BadInput
        Not a three-dimensional NIfTI-1 file of a known type.
    """
    data = path.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    if len(data) < 348 or data[344:348] != b"n+1\0":
        raise BadInput(f"expected a single-file NIfTI-1 volume, got another file: {path.name}")
    order = "<" if struct.unpack("<i", data[:4])[0] == 348 else ">"
    dims = struct.unpack(f"{order}8h", data[40:56])
    kind = struct.unpack(f"{order}h", data[70:72])[0]
    if dims[0] != 3 or kind not in TYPES:
        raise BadInput(f"expected three axes and a type of {sorted(TYPES)}, got {dims[0]} and {kind} in {path.name}")
    step = struct.unpack(f"{order}8f", data[76:108])
    start = int(struct.unpack(f"{order}f", data[108:112])[0])
    flat = np.frombuffer(data, order + TYPES[kind], count=int(np.prod(dims[1:4])), offset=start)
    volume = flat.reshape(dims[3], dims[2], dims[1])
    slope, offset = struct.unpack(f"{order}2f", data[112:120])
    if slope not in (0.0, 1.0) or offset:
        volume = volume * np.float32(slope or 1.0) + np.float32(offset)
    return np.ascontiguousarray(volume[:, ::-1, ::-1]), (step[3], step[2], step[1])
