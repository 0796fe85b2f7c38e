"""A drawn chest without noise: the golden input of every model, and no image of a patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wetread.records import Box

__all__ = ["LUNGS", "chest"]

#: (y0, x0, y1, x1) of the drawn lungs, pixels.
LUNGS = Box(150, 130, 690, 830)


def chest() -> NDArray[np.uint16]:
    """Return a frontal chest (y, x) of 900 x 960 pixels, 12 bit, bright = dense."""
    y, x = np.mgrid[:900, :960].astype(np.float64)
    body = 1 / (1 + np.exp((np.hypot((x - 480) / 430, (y - 520) / 620) - 1) * 14))
    film = 300 + 2500 * body
    ribs = 130 * np.sin(y / 15 + ((x - 480) / 190) ** 2)
    for centre in (300, 660):
        lean = (x - centre) / 170 - np.sign(centre - 480) * (y - 420) / 2600
        lung = 1 / (1 + np.exp((lean**2 + ((y - 420) / 270) ** 2 - 1) * 9))
        film -= lung * (1500 - ribs)
    heart = 1 / (1 + np.exp((((x - 530) / 150) ** 2 + ((y - 560) / 170) ** 2 - 1) * 6))
    spine = np.exp(-(((x - 480) / 60) ** 2))
    return np.asarray(np.clip(film + 700 * heart + 500 * spine, 0, 4095), np.uint16)
