"""One look at each image: digest, thumbnail, and what a rival may measure without seeing the anatomy.

A volume is seen through its three middle slices, side by side; its digest is that of all voxels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.audit.adapters import DICOM, NIFTI, Row
from wetread.lab.pictures import marked, read_picture

__all__ = ["SIDE", "Decoded", "Decoder", "Looks", "check_mask", "look", "picture", "small"]

#: Rows and columns of a thumbnail, pixels.
SIDE = 64


@dataclass(frozen=True, slots=True)
class Decoded:
    """A DICOM file, read by who may read it."""

    pixels: NDArray[Any]  # (y, x) or (z, y, x)
    patient: str
    facts: Mapping[str, str]  # what the header says that must not tell the class: view, manufacturer
    mask: NDArray[Any] | None = None  # as `pixels`, whatever is marked; None: nobody looked


#: What reads a DICOM file; None: it holds no image.  The command hands it over: no DICOM in this room.
Decoder = Callable[[Path], Decoded | None]


@dataclass(frozen=True, slots=True)
class Looks:
    """What was seen of n images."""

    digest: NDArray[np.str_]  # (n,) SHA-256 of shape and pixels, hex
    thumbnail: NDArray[np.float32]  # (n, SIDE, SIDE) area-averaged, in the image's own values
    mask: NDArray[np.bool_]  # (n, SIDE, SIDE) whatever is marked, more than half a pixel
    masked: NDArray[np.bool_]  # (n,) whether there is a mask file
    size: NDArray[np.float64]  # (n, 2) height, width, pixels
    sharpness: NDArray[np.float64]  # (n,) log of the Laplacian's variance over the image's
    border: NDArray[np.float64]  # (n, 2) mean of the outermost ring in deviations, share of it at the minimum

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Which images are of one grey: they say nothing, and equal each other."""
        return np.asarray(np.ptp(self.thumbnail.reshape(len(self.thumbnail), -1), axis=1) < 1e-3)


def look(rows: Sequence[Row], decode: Decoder | None = None, workers: int = 2) -> tuple[list[Row], Looks]:
    """Look at every image once.

    Returns
    -------
    The rows that hold an image, with what DICOM headers said and nothing else did; and the looks.

    Raises
    ------
    BadInput
        A file cannot be read or is too large, or is DICOM and no `decode` was given; a mask is of another shape than
        its image; or none holds an image.
    """
    with ThreadPoolExecutor(workers) as pool:
        seen = [one for one in pool.map(lambda row: _one(row, decode), rows) if one is not None]
    if not seen:
        raise BadInput(f"expected images in {len(rows)} files, found none")
    told, *columns = zip(*seen, strict=True)
    return list(told), Looks(*(np.array(column) for column in columns))


def picture(row: Row) -> NDArray[np.float32]:
    """Return the image (y, x) of a row that is no DICOM: itself, or the middle slices of a volume."""
    return _plane(_pixels(row.image, row.place))


def _one(row: Row, decode: Decoder | None) -> tuple[Any, ...] | None:
    mask = None if row.mask is None else _pixels(row.mask, row.place)
    if row.image.name.lower().endswith(DICOM):
        decoded = _decoded(row, decode)
        if decoded is None:
            return None
        pixels, mask = decoded.pixels, decoded.mask if mask is None else mask
        row = replace(row, patient=row.patient or decoded.patient.casefold(), facts={**decoded.facts, **row.facts})
    else:
        pixels = _pixels(row.image, row.place)
        check_mask(row)
    if mask is not None and row.mask is not None and _stack(mask) != _stack(pixels):  # a SEG may have its own grid
        raise BadInput(f"{row.place}: expected a mask of the image's shape {pixels.shape}, got {mask.shape}")
    plane = _plane(pixels)
    mask = None if mask is None else _plane(_foreground(mask, row))
    return (
        row,
        hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest(),
        small(plane),
        np.zeros((SIDE, SIDE), bool) if mask is None else small(mask) > 0.5,
        mask is not None,
        plane.shape,
        _sharpness(plane),
        _border(plane),
    )


def _stack(pixels: NDArray[Any]) -> tuple[int, ...]:
    """Return the shape (z, y, x) of an image (y, x) or (z, y, x)."""
    return pixels.reshape(-1, *pixels.shape[-2:]).shape


def _decoded(row: Row, decode: Decoder | None) -> Decoded | None:
    if decode is None:
        raise BadInput(f"{row.place}: expected a picture or NIfTI, got DICOM; only `wetread lab data` reads it")
    try:
        return decode(row.image)
    except BadInput as error:
        raise BadInput(f"{row.place}: {error}") from error


def _pixels(path: Path, place: str) -> NDArray[Any]:
    if path.name.lower().endswith(NIFTI):
        return _volume(path, place)
    return read_picture(path, place)


def _volume(path: Path, place: str) -> NDArray[Any]:
    try:
        from wetread.lab.nifti import read_voxels
    except ImportError as error:
        raise BadInput(f"{place}: NIfTI needs nibabel; pip install 'wetread[lab]'") from error
    # One volume may be stored in many orders, and is the same to whoever trains on it.
    voxels, _ = read_voxels(path, place, (3, 4), np.float32)
    # NIfTI's order is x, y, z; of several channels the first is looked at.
    return np.asarray(voxels[..., 0].T if voxels.ndim == 4 else voxels.T)


def check_mask(row: Row) -> None:
    """See that a mask in NIfTI lies where its image does; raises `BadInput` as `wetread.lab.nifti.check_place`."""
    if row.mask is not None and all(one.name.lower().endswith(NIFTI) for one in (row.image, row.mask)):
        from wetread.lab.nifti import check_place

        check_place(row.image, row.mask, row.place)


def _plane(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return an image (y, x): itself, or the three middle slices of a volume side by side."""
    flat = pixels.astype(np.float32)
    if flat.ndim == 2 or len(flat) == 1:
        return flat.reshape(flat.shape[-2:])
    slices = [flat[len(flat) // 2], flat[:, flat.shape[1] // 2], flat[:, :, flat.shape[2] // 2]]
    height = max(one.shape[0] for one in slices)
    return np.hstack([np.pad(one, ((0, height - one.shape[0]), (0, 0))) for one in slices])


def _foreground(mask: NDArray[Any], row: Row) -> NDArray[np.float32]:
    """Return where anything is marked, 0 or 1."""
    drawn = row.mask is not None and not row.mask.name.lower().endswith(NIFTI)
    return np.asarray(marked(mask, row.place) if drawn else mask > 0, np.float32)


def small(plane: NDArray[Any]) -> NDArray[np.float32]:
    """Return the thumbnail (SIDE, SIDE) of an image (y, x), area-averaged."""
    plane = np.ascontiguousarray(plane, np.float32)
    return np.asarray(cv2.resize(plane, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _sharpness(plane: NDArray[np.float32]) -> float:
    return float(np.log((cv2.Laplacian(plane, cv2.CV_32F).var() + 1e-6) / (plane.var() + 1e-6)))


def _border(plane: NDArray[np.float32]) -> tuple[float, float]:
    ring = np.concatenate([plane[0], plane[-1], plane[:, 0], plane[:, -1]])
    low = plane.min()
    return float((ring.mean() - plane.mean()) / (plane.std() + 1e-6)), float((ring <= low + 1e-6).mean())
