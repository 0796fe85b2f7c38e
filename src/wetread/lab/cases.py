"""Series of slices and volumes as cases, and the folds that keep a patient on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab.plan import made_of
from wetread.records import Vector

__all__ = ["Cases", "Directions", "Folds", "by_size", "deal", "fold_of", "owners", "used_folds"]

Strings = NDArray[np.str_]
Directions = tuple[Vector, Vector, Vector]


@dataclass(frozen=True, slots=True)
class Folds:
    """The ``[folds]`` table of a recipe.

    Raises
    ------
    BadInput
        ``together`` holds no lists of texts, or ``used`` no whole numbers.
    """

    by: str  # "patient" or "site"
    n: int = 0  # of patients
    seed: int = 0  # of the order in which they are dealt
    stratify: str = ""  # a trait that is dealt out evenly
    together: tuple[tuple[str, ...], ...] = ()  # groups of patients that share a fold
    used: tuple[int, ...] = ()  # folds that are trained and judged; all of them by default

    def __post_init__(self) -> None:
        """See what the lists hold."""
        if odd := [one for one in self.together if not (isinstance(one, list | tuple) and all(map(_is_text, one)))]:
            raise BadInput(
                f"[folds] together: expected groups of patients of the data, got {odd[0]!r}; write each as a list, "
                "such as [['a', 'b']]"
            )
        if any(type(fold) is not int for fold in self.used):
            raise BadInput(f"[folds] used: expected numbers of folds, such as [0, 1], got {self.used}")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


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
    directions: tuple[Directions | None, ...] = ()  # unit, in which (z, y, x) grow in the patient; None, (): not known

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self.images)

    def spacing_of(self, row: int) -> tuple[float, float, float] | None:
        """Return (z, y, x) in mm, or None where it is not known."""
        z, y, x = self.spacing_mm[row]
        return None if np.isnan((z, y, x)).any() else (float(z), float(y), float(x))

    def aspect_of(self, row: int) -> float:
        """Return the height of a pixel over its width, 1 where it is not known."""
        _, y, x = self.spacing_mm[row]
        return 1.0 if np.isnan((y, x)).any() else float(y / x)

    def directions_of(self, row: int) -> Directions | None:
        """Return the unit vectors in which the axes (z, y, x) grow in the patient, or None where they are not known."""
        return self.directions[row] if self.directions else None


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
        ``by`` is something else, there are fewer than two folds, sites or patients, or no such trait; or see `owners`.
    """
    told = made_of(Folds, settings, "folds")
    names = np.unique(cases.site if told.by == "site" else owners(cases, settings))
    if told.by not in ("patient", "site"):
        raise BadInput(f"[folds] by: expected 'patient' or 'site', got {told.by!r}")
    if len(names) < 2:
        raise BadInput(f"[folds]: expected two {told.by}s or more, got {len(names)}: who is left out is judged")
    if told.by == "site":
        return np.unique(cases.site, return_inverse=True)[1].astype(np.int64)
    if not 2 <= told.n <= len(names):
        raise BadInput(f"[folds] n: expected 2 to {len(names)}, the number of patients, got {told.n}")
    if told.stratify and told.stratify not in cases.traits:
        known = ", ".join(cases.traits) or "none"
        raise BadInput(f"[folds] stratify: expected a trait of the data ({known}), got {told.stratify!r}")
    stratum = cases.traits[told.stratify] if told.stratify else np.full(len(cases), "")
    return deal(owners(cases, settings), stratum, str(told.seed), told.n)


def owners(cases: Cases, settings: Mapping[str, Any]) -> Strings:
    """Return of each series (n,) the patient, or the first of those that ``together`` of ``[folds]`` keeps together.

    Raises
    ------
    BadInput
        It names a patient that there is not: one who is written otherwise would lie in two folds.
    """
    leader = {str(name).casefold(): str(group[0]) for group in settings.get("together", ()) for name in group}
    if unknown := sorted(set(leader) - {str(name).casefold() for name in cases.patient}):
        raise BadInput(f"[folds] together: expected groups of patients of the data, got {unknown[0]!r}")
    return np.array([leader.get(str(name).casefold(), str(name)) for name in cases.patient])


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
    """Return the folds that are trained and judged: ``used`` of a recipe's ``[folds]`` table, all by default.

    Raises
    ------
    BadInput
        There is no such fold.
    """
    known = range(int(folds.max()) + 1)
    used = [int(fold) for fold in settings.get("used", ())] or list(known)
    if strange := [fold for fold in used if fold not in known]:
        raise BadInput(f"[folds] used: expected some of 0 to {known[-1]}, got {strange}")
    return used
