"""The same image twice: exactly, or nearly, also mirrored or inverted.

A perceptual hash finds candidates, the correlation of fine detail confirms them.
Slices of one organ of two people look alike coarsely; only copies and neighbours in
time share the detail.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.lab.audit.looks import Looks

__all__ = ["Pair", "joined", "pairs"]

#: Rows and columns of the cosine coefficients whose signs are the hash; the mean is left out: 255 bits.
COEFFICIENTS = 16
#: Most bits that differ in a candidate, and least correlation of detail in a pair.  Over the radiographs, CT and MR
#: slices of `docs/evidence/audit.md` copies that were compressed, halved, brightened or equalised stay on the one
#: side, and all images of different people on the other.
MOST_BITS = 64
LEAST_DETAIL = 0.90
#: Deviation of the blur that is taken away before detail is compared, pixels of the thumbnail.
COARSE = 4.0
BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that are one."""

    first: int  # row
    second: int  # row, after the first
    kind: str  # "exact", "near", "mirrored" or "inverted"
    detail: float  # correlation of their detail, 0..1


def pairs(looks: Looks) -> list[Pair]:
    """Return all pairs of images that are copies of each other, exact ones first; blank images are left out.

    References
    ----------
    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010),
    Section 3.2.1: signs of low cosine coefficients.
    """
    rows = np.flatnonzero(~looks.blank)
    if not rows.size:
        return []
    thumbnails, digest = looks.thumbnail[rows], looks.digest[rows]
    found = {(one, other): Pair(one, other, "exact", 1.0) for one, other in _equal(rows, digest)}
    for first, second, kind, detail in _candidates(thumbnails):
        pair = Pair(int(rows[first]), int(rows[second]), kind, detail)
        known = found.setdefault((pair.first, pair.second), pair)
        if known.kind != "exact" and pair.detail > known.detail:
            found[pair.first, pair.second] = pair
    return sorted(found.values(), key=lambda pair: (pair.kind != "exact", -pair.detail, pair.first))


def _equal(rows: NDArray[np.int64], digest: NDArray[np.str_]) -> Iterator[tuple[int, int]]:
    """Yield each two rows of one digest, whatever their thumbnails say."""
    groups: dict[str, list[int]] = {}
    for row, one in zip(rows.tolist(), digest.tolist(), strict=True):
        groups.setdefault(one, []).append(row)
    for group in groups.values():
        yield from combinations(group, 2)


def _candidates(thumbnails: NDArray[np.float32]) -> Iterator[tuple[int, int, str, float]]:
    mirrored = np.ascontiguousarray(thumbnails[:, :, ::-1])
    there, detail = _hashes(thumbnails), _details(thumbnails)
    for kind, others in (("near", thumbnails), ("mirrored", mirrored)):
        here, fine = (there, detail) if kind == "near" else (_hashes(others), _details(others))
        for start in range(0, len(others), BLOCK):
            agreement = here[start : start + BLOCK] @ there.T
            for row, column in np.argwhere(np.abs(agreement) >= there.shape[1] - 2 * MOST_BITS):
                at = start + int(row)
                if at < column:
                    alike = float(fine[at] @ detail[column])
                    if alike >= LEAST_DETAIL:
                        yield at, int(column), kind, alike
                    elif kind == "near" and alike <= -LEAST_DETAIL:
                        yield at, int(column), "inverted", -alike


def _hashes(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the signs (n, 255) of the low cosine coefficients, -1 or 1."""
    low = np.stack([cv2.dct(one)[:COEFFICIENTS, :COEFFICIENTS].ravel()[1:] for one in thumbnails])
    return np.where(low > 0, 1, -1).astype(np.float32)


def _details(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a blur takes away, as rows of length 1."""
    fine = np.stack([(one - cv2.GaussianBlur(one, (0, 0), COARSE)).ravel() for one in thumbnails])
    fine -= fine.mean(1, keepdims=True)
    return np.asarray(fine / (np.linalg.norm(fine, axis=1, keepdims=True) + 1e-9), np.float32)


def joined(names: NDArray[np.str_], twins: Sequence[Pair]) -> NDArray[np.str_]:
    """Return a group for each image: its patient, and patients that share an image become one group."""
    parent = {str(name): str(name) for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for pair in twins:
        one, other = sorted((root(str(names[pair.first])), root(str(names[pair.second]))))
        parent[other] = one
    return np.array([root(str(name)) for name in names])
