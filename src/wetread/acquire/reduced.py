"""JPEG 2000 films by a lower resolution level: most of the time goes into detail that no model looks at.

A wavelet codestream holds the image at half, a quarter and so on of its rows and columns.  What
is left out is interpolated, so that the array keeps the grid of the film: masks, spacings and
references are none the wiser.  Detail finer than the level is lost; `Image.reduction` says so.

References
----------
ITU-T T.800 Annexes A.5.1 (SIZ), A.6.1 (COD), B.5 (reduced resolution images), F.3.
"""

from __future__ import annotations

import os
import struct
from io import BytesIO

import cv2
import numpy as np
from PIL import Image as Pillow

from wetread.acquire.layout import Layout
from wetread.acquire.quiet import FOREIGN_ERRORS
from wetread.errors import NotRead
from wetread.records import Pixels

# Pillow's OpenJPEG asks the environment, at each image, how many threads decode it: by itself one.
os.environ.setdefault("OPJ_NUM_THREADS", str(len(os.sched_getaffinity(0))))
#: What no film has; OpenCV counts the pixels of a side in 16 bits.
_LONGEST = 32_000
_BROKEN: tuple[type[Exception], ...] = (*FOREIGN_ERRORS, Pillow.DecompressionBombError)
_SIZ, _COD, _COC, _SOT, _SOD = 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93


def levels(frame: bytes, layout: Layout, least_side: int) -> int:
    """How many resolution levels of a frame may be left out.

    Parameters
    ----------
    frame
        One JPEG 2000 frame that `wetread.acquire.codestream.check_frame` has passed.
    layout
        What the DICOM header says.
    least_side
        Pixels that the longer side keeps at least.

    Returns
    -------
    0 wherever anything is unusual: several tiles or components, an offset, signed values, coding
    that differs by component or tile.
    """
    narrow = layout.stored == 8 if layout.allocated == 8 else 8 < layout.stored <= 16
    if layout.signed or not narrow or max(layout.rows, layout.columns) > _LONGEST:
        return 0
    try:
        found = _decompositions(frame, layout)
    except (struct.error, IndexError):
        return 0
    sides = (layout.rows, layout.columns)
    fitting = [
        level
        for level in range(1, found + 1)
        if max(sides) >> level >= least_side and all(_rounds_up(side, 1 << level) for side in sides)
    ]
    return max(fitting, default=0)


def _rounds_up(side: int, by: int) -> bool:
    """Whether rounding, as Pillow does, and rounding up, as the standard does, give the same."""
    return (side + by // 2) // by == -(-side // by)


def _decompositions(frame: bytes, layout: Layout) -> int:
    """Decomposition levels by the main header; 0 for what is no plain codestream of one tile."""
    at = 2
    if frame[:2] != b"\xff\x4f" or struct.unpack_from(">H", frame, at)[0] != _SIZ:
        return 0
    x1, y1, x0, y0, wide, high, tile_x, tile_y = struct.unpack_from(">8L", frame, at + 6)
    bits, step_x, step_y = frame[at + 40], frame[at + 41], frame[at + 42]
    if (
        (x0, y0, tile_x, tile_y, step_x, step_y, bits) != (0, 0, 0, 0, 1, 1, layout.stored - 1)
        or wide < x1
        or high < y1
    ):
        return 0
    found = 0
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker == _COC:
            return 0
        if marker == _COD:
            found = frame[at + 9]
        if marker == _SOT:
            break
        at += 2 + length
    at += 12  # the header of the first tile-part may say otherwise
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        if marker == _SOD:
            return found
        if marker in (_COD, _COC):
            return 0
        at += 2 + length


def reduced(frame: bytes, layout: Layout) -> Pixels:
    """Decode a frame without its `layout.level` finest levels, and interpolate to its own grid.

    Returns
    -------
    (y, x) uint8 or uint16, `layout.rows` by `layout.columns`.

    Raises
    ------
    NotRead
        BAD-PIXELS: the frame is damaged.
    """
    try:
        with Pillow.open(BytesIO(frame), formats=("JPEG2000",)) as opened:
            opened.reduce = layout.level  # type: ignore[assignment,method-assign]
            small = np.asarray(opened)
    except _BROKEN as error:
        raise NotRead("BAD-PIXELS", "The JPEG 2000 frame cannot be decoded by pillow.") from error
    by = 1 << layout.level
    expected = (-(-layout.rows // by), -(-layout.columns // by))
    if small.shape != expected or small.dtype not in (np.uint8, np.uint16):
        raise NotRead("BAD-PIXELS", f"Expected {expected} grey pixels at level {layout.level}, got others.")
    if small.dtype == np.uint16:
        small = small >> np.uint16(16 - layout.stored)  # Pillow moves values up to 16 bits
    # A low-pass sample stands where every second sample stood, the first at the first.
    way = np.array([[1 / by, 0.0, 0.0], [0.0, 1 / by, 0.0]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    made = cv2.warpAffine(small, way, (layout.columns, layout.rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(made, f"=u{layout.allocated // 8}")
