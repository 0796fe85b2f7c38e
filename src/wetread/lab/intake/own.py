"""The images of whoever brings a model, as cases: what the audit found, read as deployment would read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.audit.adapters import DICOM, NIFTI, Row
from wetread.lab.audit.judge import Audit
from wetread.lab.cases import Cases
from wetread.lab.nifti import read_nifti

__all__ = ["cases_of", "judged", "set_aside"]

Rows = NDArray[np.int64]


def judged(found: Audit, usable: NDArray[np.bool_]) -> Rows:
    """Return the usable rows that the audit's rivals were judged on: a model is judged on the same."""
    rows = np.unique(np.concatenate([test for _, test in found.split.folds]))
    return np.asarray(rows[usable[rows]], np.int64)


def set_aside(found: Audit, usable: NDArray[np.bool_], most: int) -> Rows:
    """Return usable rows that nothing is judged on, at most so many, drawn at random."""
    tests = np.concatenate([test for _, test in found.split.folds])
    others = np.setdiff1d(np.flatnonzero(usable), tests)
    return np.sort(np.random.default_rng(0).permutation(others)[:most])


def cases_of(rows: Sequence[Row], table: Mapping[str, Any], positive: str) -> Cases:
    """Return rows of an audit as cases.

    Parameters
    ----------
    table
        What the model folder declares: task, and labels in ``[ship]``.
    positive
        The class of a model with one label; "": the classes bear the labels' names.

    Raises
    ------
    BadInput
        A file cannot be read, a mask is missing or does not fit, or no class bears a label's name.
    """
    labels = [str(label["name"]) for label in table["ship"]["label"]]
    read = [_pixels(row.image, row.place) for row in rows]
    images, spacing = tuple(one[0] for one in read), np.array([one[1] for one in read])
    segments = table["task"] == "segmentation"
    masks = tuple(_mask(row, image, len(labels)) for row, image in zip(rows, images, strict=True)) if segments else ()
    present: tuple[NDArray[np.int64], ...] = ()
    if not segments:
        truth = _truth([row.label for row in rows], labels, positive)
        present = tuple(np.repeat(one[None], len(image), 0) for one, image in zip(truth, images, strict=True))
    # Whose image it is, is not always known: then it stands for itself.
    patient = np.array([row.patient or f"image {at}" for at, row in enumerate(rows)])
    return Cases(images, masks, present, patient, np.full(len(rows), ""), spacing, {})


def _truth(classes: Sequence[str], labels: Sequence[str], positive: str) -> NDArray[np.int64]:
    """Return (n, k) whether label k is there."""
    wanted = [positive] if positive and len(labels) == 1 else labels
    known = sorted({one.casefold() for one in classes})
    for name in wanted:
        if name.casefold() not in known:
            raise BadInput(
                f"expected a class {name!r} for the model's label, got the classes {known[:10]}; name the column with "
                "--label, the class of a model with one label with --positive"
            )
    return np.array([[int(one.casefold() == name.casefold()) for name in wanted] for one in classes], np.int64)


def _pixels(path: Path, place: str) -> tuple[NDArray[Any], tuple[float, float, float]]:
    """Return pixels (z, y, x) and the spacing in mm, NaN where it is not known."""
    name = path.name.lower()
    if name.endswith(NIFTI):
        return read_nifti(path)
    if name.endswith(DICOM):
        raise BadInput(f"{place}: expected a picture or NIfTI, got DICOM; convert it first")
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BadInput(f"{place}: expected an image, got {path.stat().st_size} bytes that are none")
    grey = image if image.ndim == 2 else image[..., :3].mean(-1)
    return np.asarray(grey)[None], (np.nan, np.nan, np.nan)


def _mask(row: Row, image: NDArray[Any], labels: int) -> NDArray[np.uint8]:
    """Return label k as k; of a model with one label whatever is marked."""
    assert row.mask is not None
    mask, _ = _pixels(row.mask, row.place)
    if mask.shape != image.shape:
        raise BadInput(f"{row.place}: expected a mask of the image's shape {image.shape}, got {mask.shape}")
    if labels > 1:
        return np.round(mask).astype(np.uint8)
    return np.asarray(mask == 255 if mask.max() == 255 else mask > 0, np.uint8)
