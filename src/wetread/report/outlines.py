"""Masks as polylines in the pixels of the image, for what cannot show a mask.

References
----------
DICOM PS3.3 Section C.10.5.1.2: the top left corner of the top left pixel is (0, 0),
so the centre of a pixel lies half a pixel further.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from wetread.records import Mask

Line = npt.NDArray[np.float32]
#: Vertices of one polyline at most; Graphic Data (FL, 16-bit length) could hold 8191.
MOST_VERTICES = 400
#: Polylines of one mask on one image at most; the smallest are left out.
MOST_LINES = 64
_CLOSE = 0.3  # how far a line may lie from the border at first, pixels


def polylines(mask: Mask) -> list[Line]:
    """Trace the borders of a mask, holes too, the largest first.

    Parameters
    ----------
    mask
        (y, x) bool.

    Returns
    -------
    Closed lines, each (n, 2) float32 of (column, row), with at most 400 vertices; through
    the centres of the border's pixels, there and back along what is thin, around a straight
    row or column of pixels.
    """
    found, _ = cv2.findContours(np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    largest = sorted(found, key=lambda one: (-cv2.contourArea(one), one[:, 0].tolist()))[:MOST_LINES]
    return [_closed(one) for one in largest]


def _closed(border: npt.NDArray[Any]) -> Line:
    """Thin a border until it is short enough, and end it where it began."""
    x, y, width, height = cv2.boundingRect(border)
    if 1 in (width, height):
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height), (x, y)]
        return np.array(corners, np.float32)
    close, line = _CLOSE, cv2.approxPolyDP(border, _CLOSE, True)
    while len(line) >= MOST_VERTICES:
        close *= 1.5
        line = cv2.approxPolyDP(border, close, True)
    points = line[:, 0].astype(np.float32) + np.float32(0.5)
    return np.concatenate([points, points[:1]])
