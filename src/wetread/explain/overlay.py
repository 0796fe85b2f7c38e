"""Pictures for people: a film or slice as displayed, with contours and the heat on it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from wetread.records import FULL_SCALE, Levels, Mask, Picture, Pixels

RGB = npt.NDArray[np.uint8]
#: Largest height and width of a picture, pixels.
LARGEST = 660
#: RGB of the contours, by order of the masks; distinguishable without red and green.
COLOURS = ((86, 180, 233), (240, 228, 66), (204, 121, 167), (230, 159, 0))


def display(
    pixels: Pixels,
    pixel_aspect: float,
    window: tuple[float, float] | None = None,
    largest: int = LARGEST,
    enlarge: bool = False,
) -> npt.NDArray[np.uint8]:
    """Reduce a film or slice to at most 660 pixels a side and stretch its grey values for the eye.

    Square pixels shrink by a whole number, which takes a tenth of the time of any other.

    Parameters
    ----------
    pixels
        (y, x), any real dtype, larger = more attenuating = brighter.
    pixel_aspect
        Height of a pixel over its width.
    window
        Values that become black and white; by default a two-hundredth of the picture lies beyond each.
    largest
        Largest height and width, pixels.
    enlarge
        Whether a smaller picture is enlarged to that size.

    Returns
    -------
    (y, x) uint8.
    """
    part = pixels if pixels.dtype in (np.uint8, np.uint16, np.int16) else pixels.astype(np.float32)
    by = max(1, -(-min(part.shape) // largest) if pixel_aspect != 1.0 else -(-max(part.shape) // largest))
    by = min(by, *part.shape)
    rows, columns = part.shape[0] // by, part.shape[1] // by
    small = cv2.resize(part[: rows * by, : columns * by], (columns, rows), interpolation=cv2.INTER_AREA)
    height, width = rows * pixel_aspect, float(columns)
    scale = largest / max(height, width) if enlarge else min(1.0, largest / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR if enlarge else cv2.INTER_AREA)
    low, high = ends(small[::2, ::2]) if window is None else window
    shown = np.subtract(small, np.float32(low), dtype=np.float32)
    shown *= np.float32(255.0 / max(high - low, 1e-6))
    return np.clip(shown, 0, 255, out=shown).astype(np.uint8)


def ends(values: Pixels) -> tuple[float, float]:
    """The values beyond which lies a two-hundredth on each side; by sorting, in a third of the time of percentiles."""
    ordered = np.sort(values, axis=None)
    return float(ordered[round(0.005 * (ordered.size - 1))]), float(ordered[round(0.995 * (ordered.size - 1))])


def contours(film: npt.NDArray[np.uint8], masks: Sequence[Mask], thickness: int = 2) -> RGB:
    """Draw the outline of each mask, given on the image's grid, on a displayed film."""
    rgb = cv2.cvtColor(film, cv2.COLOR_GRAY2RGB)
    for mask, colour in zip(masks, COLOURS * len(masks), strict=False):
        small = cv2.resize(mask.view(np.uint8), film.shape[::-1], interpolation=cv2.INTER_NEAREST)
        lines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(rgb, lines, -1, colour, thickness)
    return np.asarray(rgb, np.uint8)


def heated(film: RGB, heat: Levels, strength: float) -> RGB:
    """Lay a map (y, x) uint16, given on the image's grid, over an RGB film.

    `strength` 0..1 is the opacity where the map is 1.
    """
    small = cv2.resize(heat, film.shape[1::-1], interpolation=cv2.INTER_LINEAR) * np.float32(1.0 / FULL_SCALE)
    # Turned round by OpenCV: as a view it would be copied pixel by pixel.
    colour = cv2.cvtColor(cv2.applyColorMap((small * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    alpha = np.minimum(small * np.float32(1.4), np.float32(1.0)) * np.float32(strength)
    return np.asarray(cv2.blendLinear(colour, film, alpha, 1 - alpha), np.uint8)


def pictures(
    film: npt.NDArray[np.uint8],
    masks: Sequence[Mask],
    heat: Levels | None,
    strength: float,
    what: str = "The film, stretched for display",
    organ: str = "the lungs",
) -> tuple[Picture, ...]:
    """The film, the film with contours, and with the heat of the first finding if there is one.

    `what` is the caption of the film; `organ` names what is outlined.
    """
    plain = np.asarray(cv2.cvtColor(film, cv2.COLOR_GRAY2RGB), np.uint8)
    made, drawn = [Picture("film", what, plain)], plain
    if masks:
        drawn = contours(film, masks)
        made.append(Picture("contours", f"Outline of {organ}", drawn))
    if heat is not None:
        made.append(Picture("heat", "Where the model found its evidence", heated(drawn, heat, strength)))
    return tuple(made)
