"""How rows are split: by a column, by folder, or by us into folds that no patient crosses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.audit.adapters import Row

__all__ = ["Split", "split_of"]

Rows = NDArray[np.int64]
TRAIN = ("train", "training")
TEST = ("test", "testing")


@dataclass(frozen=True, slots=True)
class Split:
    """Which part each row stands in, and what is fitted on what."""

    told: str  # how it was made, for people
    part: NDArray[np.str_]  # (n,)
    folds: tuple[tuple[Rows, Rows], ...]  # rows to fit on, rows to judge


def split_of(rows: Sequence[Row], group: NDArray[np.str_], way: str) -> Split:
    """Return the split that was asked for.

    Parameters
    ----------
    group
        (n,) patients, those that share an image joined.
    way
        ``""``: the column ``split`` if there is one, else ``patients:5``; ``patients:K``: K folds of
        patients; ``images:K``: K folds regardless of the patient, to see what that would have
        claimed; ``folders``: fitted on the first folder, judged on the others; or a column's name:
        ``train`` and ``test``, or, where no value is called so, each value is left out once.

    Raises
    ------
    BadInput
        There is no such column, or fewer than two parts.
    """
    named = np.array([row.facts.get("split", "") for row in rows])
    way = way or ("split" if (named != "").all() and len(set(named.tolist())) > 1 else "patients:5")
    kind, _, number = way.partition(":")
    if kind in ("patients", "images") and number.isdigit() and int(number) > 1:
        what = group if kind == "patients" else np.array([str(i) for i in range(len(rows))])
        part = np.array([f"fold {place}" for place in _places(what, int(number))])
        told = f"{number} folds by {'patient' if kind == 'patients' else 'image, whatever the patient'}"
    elif way == "folders":
        part = np.array([row.facts["folder"] for row in rows])
        return _two(f"fitted on {part[0]}, judged on the others", part, part == part[0], part != part[0])
    else:
        part, told = _column(rows, way), f"by the column {way}"
        low = np.array([value.lower() for value in part])
        if set(low.tolist()) & set(TRAIN):
            return _two(told, part, np.isin(low, TRAIN), np.isin(low, TEST))
        told = f"each {way} left out once"
    values = sorted(set(part.tolist()))
    if len(values) < 2:
        raise BadInput(f"--split {way}: expected at least two parts, got {len(values)}; name another way to split")
    return Split(told, part, tuple((np.flatnonzero(part != one), np.flatnonzero(part == one)) for one in values))


def _column(rows: Sequence[Row], name: str) -> NDArray[np.str_]:
    part = np.array([row.facts.get(f"={name}", row.facts.get(name, "")) for row in rows])
    if not (part != "").all():
        known = sorted({key.lstrip("=") for row in rows for key in row.facts})
        raise BadInput(
            f"--split: expected patients:K, images:K (K of 2 or more), folders or a column that is filled in every row "
            f"(there are {known}), got {name!r}"
        )
    return part


def _two(told: str, part: NDArray[np.str_], train: NDArray[np.bool_], test: NDArray[np.bool_]) -> Split:
    if not train.any() or not test.any():
        raise BadInput(f"split {told}: expected rows on both sides, got {int(train.sum())} and {int(test.sum())}")
    return Split(told, part, ((np.flatnonzero(train), np.flatnonzero(test)),))


def _places(names: NDArray[np.str_], folds: int) -> NDArray[np.int64]:
    """Deal names to folds, the largest first to the smallest fold; ties by the hash of the name."""
    unique, count = np.unique(names, return_counts=True)
    order = sorted(range(len(unique)), key=lambda i: (-count[i], hashlib.sha256(str(unique[i]).encode()).digest()))
    filled, place = np.zeros(folds, np.int64), {}
    for i in order:
        place[str(unique[i])] = int(filled.argmin())
        filled[filled.argmin()] += count[i]
    return np.array([place[str(name)] for name in names])
