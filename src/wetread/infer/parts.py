"""Connected parts of a mask in three dimensions."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from wetread.records import Mask

Ints = npt.NDArray[np.int32]


def parts(mask: Mask) -> Ints:
    """Number the parts of a mask (z, y, x) that hang together by faces: 1, 2 and so on, 0 outside.

    Each slice is labelled by itself; then parts that touch from slice to slice are joined.
    """
    labels = np.zeros(mask.shape, np.int32)
    count = 0
    for index, plane in enumerate(mask):
        found, here = cv2.connectedComponents(plane.astype(np.uint8), connectivity=4)
        labels[index] = np.where(here > 0, here + count, 0)
        count += found - 1
    parent = list(range(count + 1))
    for one, other in _touching(labels):
        low, high = sorted((_root(parent, one), _root(parent, other)))
        parent[high] = low
    roots = np.array([_root(parent, label) for label in range(count + 1)])
    _, numbers = np.unique(roots, return_inverse=True)
    return np.asarray(numbers.astype(np.int32)[labels])


def _touching(labels: Ints) -> list[tuple[int, int]]:
    below, above = labels[:-1], labels[1:]
    both = (below > 0) & (above > 0)
    pairs = np.unique(np.stack([below[both], above[both]], axis=1), axis=0)
    return [(int(one), int(other)) for one, other in pairs]


def _root(parent: list[int], label: int) -> int:
    while parent[label] != label:
        parent[label] = parent[parent[label]]
        label = parent[label]
    return label


def largest(mask: Mask, count: int) -> Mask:
    """The `count` largest connected parts of a mask (z, y, x)."""
    labels = parts(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = [label for label in np.argsort(-sizes, kind="stable")[:count] if sizes[label] > 0]
    return np.isin(labels, kept)
