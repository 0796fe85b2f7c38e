"""Picture files as arrays, whatever the files are called, and the question whether all pixels are numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput

__all__ = ["finite", "pixels_of", "read_picture"]


def pixels_of(path: Path, how: int = cv2.IMREAD_UNCHANGED) -> NDArray[Any] | None:
    """Return the pixels of a picture file, None for what is none.

    `cv2.imread` ends the process over a name that is not UTF-8.
    """
    data = np.frombuffer(path.read_bytes() if path.is_file() else b"", np.uint8)
    return cv2.imdecode(data, how) if data.size else None


def read_picture(path: Path, place: str) -> NDArray[Any]:
    """Read a picture, (y, x): of colours the mean.

    Parameters
    ----------
    place
        What to call it in messages.

    Raises
    ------
    BadInput
        The file holds no picture, or as `finite`.
    """
    image = pixels_of(path)
    if image is None:
        raise BadInput(f"{place}: expected an image, got {path.stat().st_size} bytes that are none")
    return finite(np.asarray(image if image.ndim == 2 else image[..., :3].mean(-1)), place)


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
