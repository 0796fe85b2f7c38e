"""Small drawn series: bright balls in grey heads, enough to train on for a few steps."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from wetread.lab.cases import Cases


def drawn_cases(n: int = 12, side: int = 32, depth: int = 4, spacing: float = float("nan")) -> Cases:
    """Return heads, two a patient; label 1 the left ball, 2 the right one; every third head has none."""
    rng = np.random.default_rng(3)
    z, y, x = np.mgrid[:depth, :side, :side].astype(np.float64)
    images, masks = [], []
    for i in range(n):
        head = np.hypot(x - side / 2, y - side / 2) < 0.45 * side
        mask = np.zeros((depth, side, side), np.uint8)
        for label, centre in ((1, 0.33), (2, 0.66)):
            place = np.array((depth / 2, side / 2, centre * side)) + rng.uniform(-1, 1, 3)
            ball = ((z - place[0]) * side / depth / 2) ** 2 + (y - place[1]) ** 2 + (x - place[2]) ** 2
            mask[ball < (side / 8) ** 2] = label if i % 3 else 0
        images.append((100 * head + 100 * (mask > 0) + rng.normal(0, 4, mask.shape)).astype(np.float32))
        masks.append(mask)
    return Cases(
        images=tuple(images),
        masks=tuple(masks),
        present=(),
        patient=np.array([f"p{i // 2}" for i in range(n)]),
        site=np.array([("A", "B")[i % 4 // 2] for i in range(n)]),
        spacing_mm=np.full((n, 3), spacing),
        traits={"ball": np.array(["yes" if i % 3 else "no" for i in range(n)])},
    )


def save_cases(folder: Path, cases: Cases) -> None:
    """Write every slice and its mask, and the manifest that names them; each slice has a texture of its own."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["image", "mask", "patient_id", "site"])
        for series, (image, mask) in enumerate(zip(cases.images, cases.masks, strict=True)):
            for at in range(len(image)):
                names = [f"{kind}-{series}-{at}.png" for kind in ("image", "mask")]
                texture = 150 * cv2.GaussianBlur(rng.normal(size=image[at].shape), (0, 0), 2.0)
                cv2.imwrite(str(folder / names[0]), np.clip(image[at] / 2 + 60 + texture, 0, 255).astype(np.uint8))
                cv2.imwrite(str(folder / names[1]), mask[at])
                table.writerow([*names, cases.patient[series], cases.site[series]])
