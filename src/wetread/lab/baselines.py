"""Trivial rivals: what a figure must beat before it says anything.

Numpy only; each is fitted on the training split and judged on the test split.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.lab.data import Films
from wetread.measures import auroc, dice

__all__ = ["as_rows", "linear", "lung_baselines", "pneumonia_baselines", "ridge", "thumbnails"]

Floats = NDArray[np.float64]


def thumbnails(films: Films, rows: NDArray[np.int64], side: int = 32) -> Floats:
    """Return area-averaged films as rows (n, side * side), each with zero mean and unit deviation."""
    return as_rows([films.images[row] for row in rows], side)


def as_rows(images: Iterable[NDArray[Any]], side: int = 32) -> Floats:
    """Return images (y, x) as rows (n, side * side), area-averaged, each with zero mean and unit deviation."""
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).ravel() for image in images]
    flat = np.asarray(small, np.float64)
    return np.asarray((flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 1e-6), np.float64)


def ridge(features: Floats, targets: Floats, penalty: float) -> Floats:
    """Return the weights of a linear regression with a quadratic penalty; the last row is the offset."""
    full = np.hstack([features, np.ones((len(features), 1))])
    gram = full.T @ full + penalty * np.eye(full.shape[1])
    return np.asarray(np.linalg.solve(gram, full.T @ targets), np.float64)


def linear(weights: Floats, features: Floats) -> Floats:
    """Return the answers (n, k) of what `ridge` found."""
    return np.asarray(features @ weights[:-1] + weights[-1], np.float64)


def lung_baselines(films: Films, train: NDArray[np.int64], test: NDArray[np.int64]) -> dict[str, float]:
    """Return the mean Dice of the average mask and of a ridge regression from thumbnails."""

    def small_masks(rows: NDArray[np.int64]) -> Floats:
        size = (32, 32)
        masks = [
            cv2.resize((films.masks[row] == 255).astype(np.float32), size, interpolation=cv2.INTER_AREA) for row in rows
        ]
        return np.asarray(masks, np.float64).reshape(len(rows), -1)

    def judged(found: Floats) -> float:
        scores = []
        for row, one in zip(test, found, strict=True):
            large = cv2.resize(one.reshape(32, 32), films.images[row].shape[::-1], interpolation=cv2.INTER_LINEAR)
            scores.append(dice(np.asarray(large) > 0.5, films.masks[row] == 255, films.masks[row] != 127))
        return float(np.mean(scores))

    targets = small_masks(train)
    weights = ridge(thumbnails(films, train), targets, 100.0)
    return {
        "the average training mask": judged(np.tile(targets.mean(0), (len(test), 1))),
        "ridge regression on 32 x 32 thumbnails": judged(linear(weights, thumbnails(films, test))),
    }


def pneumonia_baselines(
    films: Films, train: NDArray[np.int64], test: NDArray[np.int64]
) -> dict[str, tuple[float, float | None]]:
    """Return accuracy and AUC (None: not defined) of each rival.

    The size's rivals never see a pixel: what they reach is the data set's fault.
    """
    known, truth = films.label[train].astype(np.float64), films.label[test]

    def judged(here: Floats, there: Floats, penalty: float) -> tuple[float, float | None]:
        score = linear(ridge(here, known, penalty), there)
        return float(((score > 0.5) == truth).mean()), auroc(truth, score)

    small, other = thumbnails(films, train), thumbnails(films, test)
    nearest = films.label[train][(other @ small.T).argmax(1)]
    size = np.log(np.maximum(films.size, 1).astype(np.float64))
    shape = np.stack([size[:, 0], size[:, 1], size[:, 0] - size[:, 1]], 1)
    return {
        "always pneumonia": (float(truth.mean()), None),
        "1-nearest neighbour on 32 x 32 thumbnails": (float((nearest == truth).mean()), None),
        "ridge regression on 32 x 32 thumbnails": judged(small, other, 300.0),
        "original image size alone": judged(shape[train], shape[test], 1e-3),
        "aspect ratio alone": judged(shape[train][:, 2:], shape[test][:, 2:], 1e-3),
    }
