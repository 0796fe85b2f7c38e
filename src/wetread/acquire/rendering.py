"""One frame as a picture for people: through its window, eight bits a sample.

References
----------
PS3.3 Sections C.11.1 (modality LUT), C.11.2 (VOI LUT and windows), C.7.6.3.1.2 (photometric interpretation),
C.7.6.16.2 (functional groups, which hold both for each frame of an enhanced object);
PS3.18 Section 8.3.5.1 (parameters of rendered resources).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from wetread.acquire.attributes import as_float, text
from wetread.acquire.instances import max_file_bytes
from wetread.acquire.parse import parse
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.acquire.tomography import shown_header
from wetread.acquire.view import decoded
from wetread.errors import NotRead
from wetread.settings import Settings

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class Window:
    """A window (PS3.3 Section C.11.2.1.2), in the units of the modality LUT's output."""

    centre: float
    width: float
    function: str = "LINEAR"  # of `FUNCTIONS`


def rendered(data: bytes, frame: int, window: Window | None, settings: Settings) -> npt.NDArray[np.uint8]:
    """Return one frame as a picture.

    Parameters
    ----------
    data
        A DICOM file.
    frame
        The first is 1.
    window
        None: the first of the frame, else its VOI LUT, else from its smallest to its largest value.

    Returns
    -------
    numpy.ndarray
        (y, x, 1) grey, larger is brighter, or (y, x, 3) RGB; uint8.

    Raises
    ------
    NotRead
        NOT-AN-IMAGE; BAD-PIXELS, TOO-LARGE, BAD-TAG, and what `wetread.acquire.parse.parse` raises.
    """
    with quiet():
        parsed = parse(data, max_file_bytes(settings))
        if parsed.pixel is None:
            raise NotRead("NOT-AN-IMAGE", "The object has no pixels.")
        try:
            values = decoded(data, frame, parsed, settings, raw=False)
            made = _shown(values, shown_header(parsed.header, frame), window)
        except FOREIGN_ERRORS as error:
            raise NotRead("BAD-PIXELS", f"The frame cannot be rendered ({type(error).__name__}).") from error
    return np.ascontiguousarray(made if made.ndim == 3 else made[:, :, np.newaxis])


def _shown(values: Any, header: Dataset, window: Window | None) -> npt.NDArray[np.uint8]:
    photometric = text(header, "PhotometricInterpretation")
    if photometric == "PALETTE COLOR":
        values = apply_color_lut(values, header)
    if values.ndim == 3:
        return np.asarray(values >> 8 * (values.dtype.itemsize - 1), np.uint8)
    made = _grey(apply_modality_lut(values, header), header, window)
    return 255 - made if photometric == "MONOCHROME1" else made


def _grey(values: Any, header: Dataset, window: Window | None) -> npt.NDArray[np.uint8]:
    own = window or _window(header)
    if own is None and "VOILUTSequence" in header:
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        return (apply_voi(values, header).astype(np.float64) * (255 / ((1 << bits) - 1))).round().astype(np.uint8)
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    if own is None:
        low, high = float(finite.min()), float(finite.max())
        own = Window((low + high) / 2, max(high - low, 1e-9), "LINEAR_EXACT")
    return (255 * _through(finite, own)).round().astype(np.uint8)


def _through(values: npt.NDArray[np.float64], window: Window) -> npt.NDArray[np.float64]:
    """Return what a window shows, 0 to 1 (PS3.3 Sections C.11.2.1.2.1 to C.11.2.1.3)."""
    centre, width = window.centre, window.width
    if window.function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700))))
    if window.function == "LINEAR":
        if width <= 1:
            return np.asarray(values > centre - 0.5, np.float64)
        centre, width = centre - 0.5, width - 1
    return np.clip((values - centre) / width + 0.5, 0.0, 1.0)


def _window(header: Dataset) -> Window | None:
    centre, width = (as_float(text(header, keyword)) for keyword in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    function = text(header, "VOILUTFunction")
    return Window(centre, width, function if function in FUNCTIONS else "LINEAR")
