"""What may be wrong with an image, in rising grades: the damages that every model is tried on.

The list was fixed before any of these models was tried on it, and is the same for all:
strengths are shares of the image's size and of the values between which a model looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Damage", "Span", "damages"]

Volume = NDArray[Any]
Plane = NDArray[np.float32]
#: The values of an image that stand for black and white.
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Damage:
    """One damage in one grade."""

    name: str
    grade: str  # how strong, for people
    image: Callable[[Volume, Span], Volume]  # (z, y, x) and its span -> the same, damaged
    mask: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda mask: mask  # where the truth is then


def _by_slice(change: Callable[[Plane, Span], Plane]) -> Callable[[Volume, Span], Volume]:
    """Apply a change to every slice, and keep the dtype and what it can hold."""

    def changed(volume: Volume, span: Span) -> Volume:
        made = np.stack([change(np.asarray(plane, np.float32), span) for plane in volume])
        if volume.dtype.kind in "iu":
            made = np.clip(made, np.iinfo(volume.dtype).min, np.iinfo(volume.dtype).max)
        return made.astype(volume.dtype)

    return changed


def _blurred(share: float) -> Callable[[Plane, Span], Plane]:
    return lambda plane, _: np.asarray(cv2.GaussianBlur(plane, (0, 0), share * plane.shape[0]), np.float32)


def _noisy(share: float) -> Callable[[Plane, Span], Plane]:
    def change(plane: Plane, span: Span) -> Plane:
        # Seeded by the image, so that a run can be repeated.
        grain = np.random.default_rng(abs(int(plane[::16, ::16].sum()))).normal(0, share, plane.shape)
        return np.asarray(plane + grain * (span[1] - span[0]), np.float32)

    return change


def _cut(share: float) -> Callable[[Plane, Span], Plane]:
    def change(plane: Plane, span: Span) -> Plane:
        kept = plane.copy()
        kept[round(plane.shape[0] * (1 - share)) :] = span[0]
        return kept

    return change


def _striped(share: float) -> Callable[[Plane, Span], Plane]:
    def change(plane: Plane, span: Span) -> Plane:
        wave = np.sin(np.arange(plane.shape[0]) * 2 * np.pi * 28 / plane.shape[0])
        return np.asarray(plane + share * (span[1] - span[0]) * wave[:, None], np.float32)

    return change


def _saturated(gain: float) -> Callable[[Plane, Span], Plane]:
    def change(plane: Plane, span: Span) -> Plane:
        middle = (span[0] + span[1]) / 2
        return np.asarray(np.clip((plane - middle) * gain + middle, *span), np.float32)

    return change


def _inverted(plane: Plane, span: Span) -> Plane:
    return np.asarray(span[0] + span[1] - np.clip(plane, *span), np.float32)


def _rotation(shape: tuple[int, ...], degrees: float) -> NDArray[np.float64]:
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    return np.asarray(cv2.getRotationMatrix2D(centre, degrees, 1.0), np.float64)


def _turned(degrees: float) -> Damage:
    def image(plane: Plane, span: Span) -> Plane:
        matrix, size = _rotation(plane.shape, degrees), plane.shape[::-1]
        return np.asarray(cv2.warpAffine(plane, matrix, size, borderValue=span[0]), np.float32)

    def mask(volume: NDArray[np.uint8]) -> NDArray[np.uint8]:
        matrix, size = _rotation(volume.shape[1:], degrees), volume.shape[:0:-1]
        return np.stack([np.asarray(cv2.warpAffine(one, matrix, size, flags=cv2.INTER_NEAREST)) for one in volume])

    return Damage("turned", f"{degrees:g} degrees", _by_slice(image), mask)


def _ends_cut(share: float) -> Callable[[Volume, Span], Volume]:
    def change(volume: Volume, span: Span) -> Volume:
        kept = volume.copy()
        kept[round(len(volume) * (1 - share)) :] = span[0]
        return kept

    return change


def damages(volumetric: bool = False) -> list[Damage]:
    """Return every damage in every grade.

    Parameters
    ----------
    volumetric
        Add slices that are missing at the end, which a model of slices does not notice.
    """
    found = [Damage("blur", f"{one:g} / 224 of the height", _by_slice(_blurred(one / 224))) for one in (2, 4, 8)]
    found += [Damage("noise", f"{one / 255:.0%} of the span", _by_slice(_noisy(one / 255))) for one in (15, 30, 60)]
    found += [_turned(one) for one in (30, 90, 180)]
    found += [Damage("lower part missing", f"{one:.0%}", _by_slice(_cut(one))) for one in (0.15, 0.3, 0.5)]
    found += [Damage("stripes", f"{one / 255:.0%} of the span", _by_slice(_striped(one / 255))) for one in (12, 25, 50)]
    found += [Damage("over-exposed", f"{one:g} times", _by_slice(_saturated(one))) for one in (2, 4, 8)]
    found += [Damage("inverted", "", _by_slice(_inverted))]
    if volumetric:
        found += [Damage("last slices missing", f"{one:.0%}", _ends_cut(one)) for one in (0.15, 0.3, 0.5)]
    return found
