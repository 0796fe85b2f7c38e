"""Trivial rivals on any data: the class or the mask from thumbnails, and from metadata alone.

Each is fitted on the folds' training rows and judged on the rows left out; intervals
are a bootstrap of patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.lab.audit.adapters import NAMES, Row
from wetread.lab.audit.looks import SIDE, Looks
from wetread.lab.audit.parts import Split
from wetread.lab.baselines import as_rows, linear, ridge
from wetread.measures import Interval, auroc, bootstrap_interval, dice

__all__ = ["Rival", "class_rivals", "mask_rivals", "metadata"]

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Features = Callable[[Rows, Rows], tuple[Floats, Floats]]

#: Rows and columns of the thumbnails that rivals see, pixels.
SEEN = 32
DRAWS = 1000
#: Quadratic penalties of the linear models, on features of unit deviation: as for the films' own baselines.
PENALTY = {"thumbnails": 300.0, "metadata": 10.0, "masks": 100.0}
#: A number is also cut into so many parts of equal count, so that a linear model can follow any curve.
CUTS = 8


@dataclass(frozen=True, slots=True)
class Rival:
    """What one trivial rival reaches."""

    name: str
    figures: Mapping[str, Interval]  # "auc", "accuracy", "balanced accuracy", or "dice"


def class_rivals(
    looks: Looks,
    columns: Mapping[str, NDArray[np.str_] | Floats],
    label: NDArray[np.str_],
    split: Split,
    group: NDArray[np.str_],
) -> list[Rival]:
    """Return the rivals for a class.

    Parameters
    ----------
    columns
        What `metadata` found.
    label
        (n,) class of each image, at least two in all.
    group
        (n,) what is drawn together: the patient.

    Returns
    -------
    Of several classes the AUC is the mean over each against the rest.
    """
    classes, truth = np.unique(label, return_inverse=True)
    judge = _Judge(len(classes), truth, split, group)
    seen = as_rows(looks.thumbnail, SEEN)

    def pixels(train: Rows, test: Rows) -> tuple[Floats, Floats]:
        return seen[train], seen[test]

    rivals = [
        judge.score("always the commonest class", _commonest(truth, len(classes))),
        judge.score(f"1-nearest neighbour on {SEEN} x {SEEN} thumbnails", _nearest(seen, truth, len(classes))),
        judge.fit(f"linear model on {SEEN} x {SEEN} thumbnails", pixels, PENALTY["thumbnails"]),
    ]
    for name, column in columns.items():
        rivals.append(judge.fit(f"{name} alone", _encoded([column]), PENALTY["metadata"]))
    if columns:
        rivals.append(judge.fit("all metadata, no pixels", _encoded(list(columns.values())), PENALTY["metadata"]))
    return rivals


def mask_rivals(looks: Looks, split: Split, group: NDArray[np.str_]) -> list[Rival]:
    """Return the rivals for a mask: Dice of whatever is marked, on the thumbnail's grid."""
    seen, rows = as_rows(looks.thumbnail, SEEN), np.flatnonzero(looks.masked)
    ways: dict[str, Callable[[Rows, Rows], Floats]] = {
        "the average training mask": lambda train, test: np.repeat(
            _small_masks(looks, train).mean(0)[None], len(test), 0
        ),
        "the mask of the nearest neighbour": lambda train, test: _small_masks(
            looks, train[_closest(seen, train, test)]
        ),
        f"linear model on {SEEN} x {SEEN} thumbnails": lambda train, test: _linear(
            seen[train], _small_masks(looks, train), seen[test], PENALTY["masks"]
        ),
    }
    rivals = []
    for name, way in ways.items():
        scores, judged = [], []
        for train, test in split.folds:
            train, test = np.intersect1d(train, rows), np.intersect1d(test, rows)
            if len(train) and len(test):
                scores += [_overlap(one, looks.mask[row]) for one, row in zip(way(train, test), test, strict=True)]
                judged += test.tolist()
        if judged:
            found = bootstrap_interval(lambda one: float(one.mean()), [np.array(scores)], group[judged], DRAWS)
            rivals.append(Rival(name, {"dice": found}))
    return rivals


def metadata(rows: Sequence[Row], looks: Looks) -> dict[str, NDArray[np.str_] | Floats]:
    """Return what is known without the anatomy: numbers (n, k), or words (n,); constant columns are left out."""
    size = np.log(np.maximum(_sizes(rows, looks), 1))
    columns: dict[str, NDArray[np.str_] | Floats] = {
        "image size": np.stack([size[:, 0], size[:, 1], size[:, 0] - size[:, 1]], 1),
        "sharpness": looks.sharpness[:, None],
        "border": looks.border,
    }
    for name in sorted({name for row in rows for name in row.facts if not name.startswith("=")}):
        if name not in ("split", "orig_h", "orig_w"):
            values = np.array([row.facts.get(name, "") for row in rows])
            columns[name] = _numbers(values) if name not in NAMES and _is_number(values) else values
    return {
        name: column for name, column in columns.items() if len(np.unique(column.reshape(len(rows), -1), axis=0)) > 1
    }


def _sizes(rows: Sequence[Row], looks: Looks) -> Floats:
    """Return the original height and width where the manifest knows them, else the file's."""
    sizes = looks.size.copy()
    for at, row in enumerate(rows):
        given = [row.facts.get(name, "") for name in ("orig_h", "orig_w")]
        if all(value.isdigit() for value in given):
            sizes[at] = [int(value) for value in given]
    return sizes


def _is_number(values: NDArray[np.str_]) -> bool:
    try:
        _numbers(values)
    except ValueError:
        return False
    return len(np.unique(values)) > 2


def _numbers(values: NDArray[np.str_]) -> Floats:
    known = np.array([float(value) if value else np.nan for value in values])
    return np.where(np.isnan(known), np.nanmedian(known) if (~np.isnan(known)).any() else 0.0, known)[:, None]


def _encoded(columns: Sequence[NDArray[np.str_] | Floats]) -> Features:
    """Return features of unit deviation: numbers and their parts of equal count, words one by one."""

    def encode(train: Rows, test: Rows) -> tuple[Floats, Floats]:
        here, there = [], []
        for column in columns:
            for one in [column] if column.ndim == 1 else np.asarray(column).T:
                for feature in _flags(one, train):
                    mean, spread = feature[train].mean(), feature[train].std() + 1e-9
                    here.append((feature[train] - mean) / spread)
                    there.append((feature[test] - mean) / spread)
        return np.stack(here, 1), np.stack(there, 1)

    return encode


def _flags(column: NDArray[np.str_] | Floats, train: Rows) -> list[Floats]:
    if column.dtype.kind == "U":
        return [np.asarray(column == value, np.float64) for value in np.unique(column[train])]
    column = np.asarray(column, np.float64)
    edges = np.unique(np.quantile(column[train], np.linspace(0, 1, CUTS + 1)[1:-1]))
    return [column, *(np.asarray(column > edge, np.float64) for edge in edges)]


Scores = Callable[[Rows, Rows], Floats]


@dataclass(frozen=True, slots=True)
class _Judge:
    classes: int
    truth: NDArray[np.int64]
    split: Split
    group: NDArray[np.str_]

    def fit(self, name: str, features: Features, penalty: float) -> Rival:
        """Judge a linear model of each class against the rest."""

        def scores(train: Rows, test: Rows) -> Floats:
            here, there = features(train, test)
            return _linear(here, np.eye(self.classes)[self.truth[train]], there, penalty)

        return self.score(name, scores)

    def score(self, name: str, scores: Scores) -> Rival:
        """Judge what gives each row a score a class."""
        found = np.concatenate([scores(train, test) for train, test in self.split.folds])
        rows = np.concatenate([test for _, test in self.split.folds])
        fold = np.repeat(np.arange(len(self.split.folds)), [len(test) for _, test in self.split.folds])
        truth, told = self.truth[rows], found.argmax(1)
        ways: dict[str, Callable[..., float]] = {
            "accuracy": lambda truth, told, *_: float((truth == told).mean()),
            "balanced accuracy": lambda truth, told, *_: _balanced(truth, told),
        }
        # A rival that knows only one answer has no area.
        if any(np.ptp(found[fold == one], axis=0).max() > 0 for one in np.unique(fold)) and len(np.unique(truth)) > 1:
            ways["auc"] = lambda truth, _, fold, found: _area(truth, fold, found)
        columns = [truth, told, fold, found]
        return Rival(name, {way: bootstrap_interval(f, columns, self.group[rows], DRAWS) for way, f in ways.items()})


def _balanced(truth: NDArray[np.int64], told: NDArray[np.int64]) -> float:
    return float(np.mean([(told[truth == one] == one).mean() for one in np.unique(truth)]))


def _area(truth: NDArray[np.int64], fold: NDArray[np.int64], found: Floats) -> float:
    """Return the AUC over pairs of one fold: scores of models fitted on different rows do not compare.

    Raises
    ------
    ValueError
        No fold holds two classes.
    """
    areas, weights = [], []
    for one in range(found.shape[1]) if found.shape[1] > 2 else (1,):
        for at in np.unique(fold):
            here = fold == at
            positive = truth[here] == one
            pairs = int(positive.sum()) * int((~positive).sum())
            if pairs:
                areas.append(auroc(positive, found[here, one]))
                weights.append(pairs)
    if not areas:
        raise ValueError("expected two classes in a fold, got one")
    return float(np.average(areas, weights=weights))


def _commonest(truth: NDArray[np.int64], classes: int) -> Scores:
    return lambda train, test: np.repeat(np.bincount(truth[train], minlength=classes)[None].astype(float), len(test), 0)


def _nearest(seen: Floats, truth: NDArray[np.int64], classes: int) -> Scores:
    return lambda train, test: np.eye(classes)[truth[train[_closest(seen, train, test)]]]


def _closest(seen: Floats, train: Rows, test: Rows) -> Rows:
    """Return which training row is nearest; rows are of one length, so the largest product is."""
    return np.asarray((seen[test] @ seen[train].T).argmax(1), np.int64)


def _linear(here: Floats, targets: Floats, there: Floats, penalty: float) -> Floats:
    return linear(ridge(here, targets, penalty), there)


def _small_masks(looks: Looks, rows: Rows) -> Floats:
    small = [cv2.resize(looks.mask[row].astype(np.float32), (SEEN, SEEN), interpolation=cv2.INTER_AREA) for row in rows]
    return np.asarray(small, np.float64).reshape(len(rows), -1)


def _overlap(found: Floats, truth: NDArray[np.bool_]) -> float:
    large = cv2.resize(found.reshape(SEEN, SEEN), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return dice(np.asarray(large) > 0.5, truth)
