"""Trivial rivals of the models that read series; each is fitted on the other folds' patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wetread.lab.baselines import ridge
from wetread.lab.crossed import Answers
from wetread.lab.gridded import Gridded
from wetread.records import Mask

__all__ = ["average_mask", "bright_masks", "nearest_label", "ridge_scores", "threshold_lungs"]

Folds = NDArray[np.int64]


def threshold_lungs(image: NDArray[Any], bound_hu: float = -400.0) -> Mask:
    """Return the lungs of a CT slice (y, x) in HU: air that is enclosed by the body, closed and filled.

    References
    ----------
    The classical method, for instance S. Hu, E. A. Hoffman, J. M. Reinhardt, "Automatic
    lung segmentation for accurate quantitation of volumetric X-ray CT images", IEEE
    Trans Med Imaging 20 (2001), here with a fixed threshold and in the slice.
    """
    air = np.pad(image < bound_hu, 1, constant_values=True)
    labels = _connected(air)
    inside = (air & (labels != labels[0, 0]))[1:-1, 1:-1]
    parts = _connected(inside)
    if not parts.any():
        return np.zeros(image.shape, bool)
    sizes = np.bincount(parts.ravel())[1:]
    # Trachea, bronchi and gas in the bowel are small; a lung of a scan through the chest is not.
    kept = np.isin(parts, 1 + np.flatnonzero(sizes >= max(100.0, 0.1 * float(sizes.max()))))
    disc = np.hypot(*np.mgrid[-5:6, -5:6]) <= 5
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(kept, disc)), bool)


def _connected(mask: Mask) -> NDArray[np.int32]:
    """Return the number of the connected part of each pixel, 0 outside."""
    found = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]
    return np.asarray(found, np.int32)


def _parts(gridded: Gridded, folds: Folds) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows to fit on and rows to judge on, fold by fold."""
    of = folds[gridded.series]
    for fold in range(int(folds.max()) + 1):
        yield np.flatnonzero(of != fold), np.flatnonzero(of == fold)


def thumbnails(gridded: Gridded, side: int = 32) -> NDArray[np.float64]:
    """Return slices as rows (n, side * side) with zero mean and unit deviation."""
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).ravel() for image in gridded.images]
    flat = np.asarray(small, np.float64)
    return np.asarray((flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 1e-6), np.float64)


def nearest_label(gridded: Gridded, folds: Folds) -> NDArray[np.int64]:
    """Return the label (n,) of the nearest slice of another fold, by 32 x 32 thumbnails."""
    small, truth = thumbnails(gridded), np.asarray(gridded.present.any(1), np.int64)
    out = np.zeros(len(gridded), np.int64)
    for train, test in _parts(gridded, folds):
        out[test] = truth[train][(small[test] @ small[train].T).argmax(1)]
    return out


def ridge_scores(gridded: Gridded, folds: Folds, penalty: float = 300.0) -> NDArray[np.float64]:
    """Return the score (n,) of a linear regression on 32 x 32 thumbnails."""
    small, truth = thumbnails(gridded), np.asarray(gridded.present.any(1), np.float64)
    out = np.zeros(len(gridded))
    for train, test in _parts(gridded, folds):
        weights = ridge(small[train], truth[train], penalty)
        out[test] = small[test] @ weights[:-1] + weights[-1]
    return out


def average_mask(gridded: Gridded, folds: Folds, labels: int) -> Answers:
    """Return, as logits, where more than half of the other folds' masks lie; the image is not looked at."""
    masks = np.zeros((len(gridded), labels, *gridded.masks.shape[1:]), np.float16)
    for train, test in _parts(gridded, folds):
        for label in range(labels):
            share = (gridded.masks[train] == label + 1).mean(0)
            masks[test, label] = (share - 0.5).astype(np.float16)
    return Answers(masks, None)


def bright_masks(gridded: Gridded, folds: Folds, labels: int) -> Answers:
    """Return, as logits, what is brighter than one bound: that of the best pooled Dice on the other folds."""
    masks = np.zeros((len(gridded), labels, *gridded.masks.shape[1:]), np.float16)
    bounds = np.linspace(0.3, 0.98, 18)
    for train, test in _parts(gridded, folds):
        image, truth = gridded.images[train][..., ::2, ::2], gridded.masks[train][..., ::2, ::2] > 0
        scores = [2 * (truth & (image > b)).sum() / (truth.sum() + (image > b).sum()) for b in bounds]
        masks[test] = (gridded.images[test] - bounds[int(np.argmax(scores))]).astype(np.float16)[:, None]
    return Answers(masks, None)
