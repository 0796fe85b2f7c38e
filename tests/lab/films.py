"""Small drawn films: enough to train on for a few steps."""

from __future__ import annotations

import numpy as np

from wetread.lab.data import Films


def drawn_films(n: int = 24, side: int = 64) -> Films:
    """Two dark ellipses on grey, every third film opaque on one side; two films a patient."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:side, :side] / side
    images, masks = np.zeros((n, side, side), np.uint8), np.zeros((n, side, side), np.uint8)
    for i in range(n):
        shift = rng.uniform(-0.05, 0.05, 2)
        lungs = np.zeros((side, side), bool)
        for centre in (0.3, 0.7):
            lungs |= ((x - centre - shift[0]) / 0.15) ** 2 + ((y - 0.5 - shift[1]) / 0.3) ** 2 < 1
        film = np.where(lungs, 60.0, 190.0) + rng.normal(0, 5, lungs.shape)
        if i % 3 == 0:
            film[lungs & (x > 0.5)] += 80
        images[i], masks[i] = np.clip(film, 0, 255), lungs * 255
    return Films(
        images=images,
        masks=masks,
        aspect=np.full(n, 0.8),
        label=(np.arange(n) % 3 == 0).astype(np.int64),
        patient=np.array([f"p{i // 2}" for i in range(n)]),
        split=np.array(["train"] * (n - 6) + ["test"] * 6),
        size=np.full((n, 2), side),
    )
