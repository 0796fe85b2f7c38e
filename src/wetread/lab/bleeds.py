"""Bleeds drawn into slices of head CT that show none: few patients bleed, and each in his own way.

A drawn bleed is brighter than brain, keeps the slice's own grain, and fades over the neighbouring
slices as a lens does.  It lies against the skull, tapering to its ends, inside the brain, or in what
is dark there: sulci and ventricles.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_bleed"]

Floats = NDArray[np.float32]
#: Grey of a window from -20 to 100 HU: clotted blood is 55 to 85 HU.
BLOOD = (0.625, 0.875)
#: Fewer pixels inside the skull than this are the crown or the base: nothing is drawn there.
LEAST = 2000
KINDS = ("against the skull", "inside", "in what is dark")


def draw_bleed(planes: Floats, rng: np.random.Generator) -> Floats | None:
    """Return a slice and its neighbours (3, y, x) in [0, 1] with a bleed, or None where there is no room for one."""
    inside = _inside(planes[1])
    if inside is None:
        return None
    kind = rng.choice(3, p=(0.6, 0.25, 0.15))
    weight = _against_skull(inside, rng) if kind == 0 else _blob(inside, rng)
    blood, length, off = rng.uniform(*BLOOD), rng.uniform(1.2, 5.0), rng.uniform(-0.75, 0.75)
    out = planes.copy()
    for at, plane in enumerate(planes):
        thick = 1 - ((at - 1) / length - off) ** 2
        if thick <= 0:
            continue
        soft = cv2.GaussianBlur((weight > 1 - thick).astype(np.float32), (0, 0), rng.uniform(0.5, 1.2))
        if kind == 2:
            soft = soft * np.clip((0.52 - plane) / 0.12, 0, 1)
        smooth = cv2.GaussianBlur(plane, (0, 0), 2.0)
        bone = plane > 0.95
        out[at] = np.where(bone, plane, np.clip(plane + soft * (blood - smooth) * rng.uniform(0.85, 1.0), 0, 1))
    return out if np.abs(out[1] - planes[1]).sum() > 12 else None


def _inside(plane: Floats) -> NDArray[np.uint8] | None:
    """Return what the skull encloses, 0 or 1, or None where that is little."""
    bone = cv2.morphologyEx((plane > 0.95).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    outside = np.pad(bone, 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    _, parts, found, _ = cv2.connectedComponentsWithStats((outside[1:-1, 1:-1] == 0).astype(np.uint8), connectivity=4)
    if len(found) < 2:
        return None
    largest = 1 + int(np.argmax(found[1:, cv2.CC_STAT_AREA]))
    part = (parts == largest).astype(np.uint8)
    # Where most of it is air or bone, it is a sinus or the face.
    return part if part.sum() >= LEAST and 0.3 < float(np.median(plane[part > 0])) < 0.6 else None


def _against_skull(inside: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
    """Return how deep each pixel lies in a lens or crescent at the skull: 1 in its middle, 0 at its border."""
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    rim = np.argwhere((depth > 0) & (depth < 2))
    y, x = rim[rng.integers(len(rim))]
    grid_y, grid_x = np.mgrid[: inside.shape[0], : inside.shape[1]].astype(np.float32)
    half = float(np.exp(rng.uniform(np.log(6), np.log(40))))
    thick = min(float(np.exp(rng.uniform(np.log(3), np.log(16)))), half)
    along = np.hypot(grid_y - y, grid_x - x) / half
    # Parabola along the skull: its ends are thin.
    room = thick * np.clip(1 - along**2, 0, None) + 1e-3
    return np.where(inside > 0, np.clip(1 - depth / room, 0, 1), 0).astype(np.float32) ** np.float32(0.5)


def _blob(inside: NDArray[np.uint8], rng: np.random.Generator) -> Floats:
    """Return how deep each pixel lies in an uneven blob inside the brain, 0 to 1."""
    deep = np.argwhere(cv2.distanceTransform(inside, cv2.DIST_L2, 5) > 6)
    y, x = deep[rng.integers(len(deep))] if len(deep) else np.argwhere(inside)[0]
    grid_y, grid_x = np.mgrid[: inside.shape[0], : inside.shape[1]].astype(np.float32)
    angle, long = rng.uniform(0, np.pi), float(np.exp(rng.uniform(np.log(3), np.log(16))))
    short = long * rng.uniform(0.4, 1.0)
    u = (np.cos(angle) * (grid_x - x) + np.sin(angle) * (grid_y - y)) / long
    v = (np.cos(angle) * (grid_y - y) - np.sin(angle) * (grid_x - x)) / short
    coarse = rng.standard_normal((24, 20)).astype(np.float32)
    uneven = cv2.resize(coarse, inside.shape[::-1], interpolation=cv2.INTER_CUBIC)
    depth = 1 - u**2 - v**2 + 0.3 * uneven * (u**2 + v**2 < 1.3)
    return np.where(inside > 0, np.clip(depth, 0, 1), 0).astype(np.float32)
