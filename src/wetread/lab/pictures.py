"""Picture files as arrays, whatever the files are called, and the question whether all pixels are numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput

__all__ = ["finite", "marked", "pixels_of", "read_picture"]

#: Greys below are the numbers of labels.
LABELS = 32


def pixels_of(path: Path, how: int = cv2.IMREAD_UNCHANGED) -> NDArray[Any] | None:
    """Return the pixels of a picture file, None for what is none or says that it is too large.

    `cv2.imread` ends the process over a name that is not UTF-8.
    """
    return _decoded(_bytes_of(path), how)


def _bytes_of(path: Path) -> NDArray[np.uint8]:
    return np.frombuffer(path.read_bytes() if path.is_file() else b"", np.uint8)


def _decoded(data: NDArray[np.uint8], how: int = cv2.IMREAD_UNCHANGED) -> NDArray[Any] | None:
    try:
        return cv2.imdecode(data, how) if data.size else None
    except cv2.error:
        return None


def _goes_on(data: NDArray[np.uint8]) -> bool:
    """Return whether there is a second page, as in a TIFF of several; one that is too large is one too."""
    try:
        return cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED, range=(1, 2))[0]
    except cv2.error:
        return True


def read_picture(path: Path, place: str) -> NDArray[Any]:
    """Read a picture, (y, x): of colours the mean.

    Parameters
    ----------
    place
        What to call it in messages.

    Raises
    ------
    BadInput
        The file cannot be read, holds no picture, or several, or as `finite`.
    """
    try:
        data = _bytes_of(path)  # none where a link leads nowhere
    except OSError as error:
        raise BadInput(f"{place}: expected an image, got a file that cannot be read: {error.strerror}") from error
    image = _decoded(data)
    if image is None:
        raise BadInput(f"{place}: expected an image, got {data.size} bytes that are none")
    if _goes_on(data):
        raise BadInput(
            f"{place}: expected a picture of one page, got several, of which only the first would be seen; write each "
            "as a picture of its own, or a stack of slices as NIfTI"
        )
    return finite(np.asarray(image if image.ndim == 2 else image[..., :3].mean(-1)), place)


def marked(mask: NDArray[Any], place: str) -> NDArray[np.bool_]:
    """Return where a picture of one label is marked.

    What is not 0, if there is one other value or only small ones: the numbers of labels; 255, if the only other
    value is 127, which means ignore; else what is above 127: a mask that was compressed as JPEG or smoothed.

    Raises
    ------
    BadInput
        Nobody can tell what is meant.
    """
    eight_bits = mask.dtype == np.uint8
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)) if eight_bits else np.unique(mask)
    greys = {float(one) for one in values} - {0.0}
    if greys == {127.0, 255.0}:
        return np.asarray(mask == 255)
    if greys != {127.0} and (len(greys) < 2 or max(greys) < LABELS or max(greys) > 255):
        return np.asarray(mask > 0)
    if max(greys) <= 127 or max(greys - {255.0}) < LABELS:
        told = ", ".join(f"{one:g}" for one in sorted(greys)[:8])
        raise BadInput(
            f"{place}: expected a mask of one label, 0 and one other value (127 beside 255: ignore), got 0, {told}; "
            "write 0 and 255, as PNG"
        )
    return np.asarray(mask > 127)


def finite(pixels: NDArray[Any], place: str) -> NDArray[Any]:
    """Return the pixels.

    Raises
    ------
    BadInput
        One is NaN or infinite: it would make everything that is computed from the image the same, weights too.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        count = int((~np.isfinite(pixels)).sum())
        raise BadInput(
            f"{place}: expected pixels that are numbers, got {count} of {pixels.size} that are NaN or infinite; "
            "write what stands for air or background there"
        )
    return pixels
