"""How good the search for copies is: copies are planted among real images, each changed in one known way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.lab.audit.judge import Audit
from wetread.lab.audit.looks import picture, small
from wetread.lab.audit.twins import pairs

__all__ = ["CHANGES", "found_shares"]

Grey = NDArray[np.uint8]
PLANTED = 200


def _jpeg(image: Grey) -> Grey:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 0), np.uint8)


def _turned(image: Grey) -> Grey:
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 2, 1)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _cropped(share: float) -> Callable[[Grey], Grey]:
    def crop(image: Grey) -> Grey:
        y, x = (max(1, round(share * side)) for side in image.shape)
        return image[y:-y, x:-x]

    return crop


def _noisy(image: Grey) -> Grey:
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


#: What was done to the copy -> how.
CHANGES: Mapping[str, Callable[[Grey], Any]] = {
    "JPEG, quality 30": _jpeg,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "gamma 0.7": lambda image: (255 * (image / 255.0) ** 0.7).astype(np.uint8),
    "brighter and steeper": lambda image: cv2.convertScaleAbs(image, alpha=1.2, beta=15),
    "local equalisation": lambda image: cv2.createCLAHE(2, (8, 8)).apply(image),
    "noise of 8 grey levels": _noisy,
    "mirrored": lambda image: image[:, ::-1],
    "inverted": lambda image: 255 - image,
    "cropped by 1 % a side": _cropped(0.01),
    "cropped by 2 % a side": _cropped(0.02),
    "turned by 2 degrees": _turned,
}


def found_shares(audit: Audit) -> dict[str, float]:
    """Return the share of planted copies that the search finds, by what was done to them."""
    rows = np.flatnonzero(~audit.looks.blank)
    rows = np.sort(np.random.default_rng(0).choice(rows, min(PLANTED, len(rows)), replace=False))
    images = [_grey(picture(audit.rows[row])) for row in rows]
    return {name: _found(audit, rows, [small(change(image)) for image in images]) for name, change in CHANGES.items()}


def _grey(plane: NDArray[np.float32]) -> Grey:
    return np.asarray((plane - plane.min()) / (np.ptp(plane) + 1e-6) * 255, np.uint8)


def _found(audit: Audit, rows: NDArray[np.int64], copies: list[NDArray[np.float32]]) -> float:
    looks, n = audit.looks, len(rows)
    digest = np.array([f"{side}{at}" for side in "ab" for at in range(n)])
    thumbnail = np.concatenate([looks.thumbnail[rows], np.stack(copies)])
    found = pairs(replace(looks, digest=digest, thumbnail=thumbnail))
    return sum(pair.second == pair.first + n for pair in found) / n
