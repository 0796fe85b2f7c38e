"""Series of slices and volumes as cases, and the folds that keep a patient on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput

__all__ = ["Cases", "by_size", "deal", "fold_of", "owners", "used_folds"]

Strings = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Cases:
    """One row a series: what deployment reads as one image."""

    images: tuple[NDArray[Any], ...]  # (z, y, x) each
    masks: tuple[NDArray[np.uint8], ...]  # (z, y, x) each, 0 background, k label k; () without masks
    present: tuple[NDArray[np.int64], ...]  # (z, k) each: is label k in the slice; () without such labels
    patient: Strings  # (n,)
    site: Strings  # (n,)
    spacing_mm: NDArray[np.float64]  # (n, 3), (z, y, x); NaN where not known
    traits: Mapping[str, Strings]  # name -> (n,): subgroups to report; "" stands in none

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.images)

    def spacing_of(self, row: int) -> tuple[float, float, float] | None:
        """Return (z, y, x) in mm, or None where it is not known."""
        z, y, x = self.spacing_mm[row]
        return None if np.isnan((z, y, x)).any() else (float(z), float(y), float(x))


def by_size(masks: Sequence[NDArray[np.uint8]]) -> Strings:
    """Return of each series whether what is marked in it is of the smaller or of the larger half, by voxels."""
    size = np.array([int((mask > 0).sum()) for mask in masks])
    return np.where(size < np.median(size), "smaller half", "larger half")


def fold_of(cases: Cases, settings: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the fold (n,) in which each series is tested, by a recipe's ``[folds]`` table.

    ``by = "site"``: one fold a site, in the order of their names.  ``by = "patient"``: the
    patients of each stratum (the trait named by ``stratify``, all of them by default) are
    dealt out in the order of their ids' hashes; groups of ``together`` stay in one fold.

    Raises
    ------
    BadInput
        ``by`` is something else.
    """
    if settings["by"] == "site":
        return np.unique(cases.site, return_inverse=True)[1].astype(np.int64)
    if settings["by"] != "patient":
        raise BadInput(f"[folds] by: expected 'patient' or 'site', got {settings['by']!r}")
    owner = owners(cases, settings)
    trait = settings.get("stratify")
    stratum = cases.traits[trait] if trait else np.full(len(cases), "")
    return deal(owner, stratum, str(int(settings.get("seed", 0))), int(settings["n"]))


def owners(cases: Cases, settings: Mapping[str, Any]) -> Strings:
    """Return of each series (n,) the patient, or the first of those that ``together`` of ``[folds]`` keeps together."""
    leader = {name: group[0] for group in settings.get("together", ()) for name in group}
    return np.array([leader.get(str(name), str(name)) for name in cases.patient])


def deal(owner: Strings, stratum: Strings, salt: str, count: int) -> NDArray[np.int64]:
    """Return the part (n,), 0 to `count` - 1, of each row: owners are dealt by stratum, in the order of their hashes.

    Parameters
    ----------
    owner
        (n,) whose rows stay together.
    stratum
        (n,) dealt out evenly; the last in order counts for an owner of several.
    """

    def key(name: str) -> tuple[str, str]:
        # A patient with one positive series counts as positive.
        return max(stratum[owner == name]), hashlib.sha256(f"{salt}:{name}".encode()).hexdigest()

    order = {name: at for at, name in enumerate(sorted(set(owner.tolist()), key=key))}
    return np.array([order[name] % count for name in owner.tolist()], np.int64)


def used_folds(settings: Mapping[str, Any], folds: NDArray[np.int64]) -> list[int]:
    """Return the folds that are trained and judged: ``used`` of a recipe's ``[folds]`` table, all by default."""
    return [int(fold) for fold in settings.get("used", range(int(folds.max()) + 1))]
