"""The formulas behind every number that is claimed or watched: overlap, surfaces, discrimination, calibration.

Validation and monitoring use these same functions.  Only numpy is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Interval",
    "accuracy",
    "auroc",
    "bootstrap",
    "bootstrap_interval",
    "calibration_error",
    "dice",
    "energy_inside",
    "extent",
    "hausdorff95",
    "sensitivity",
    "sensitivity_at_specificity",
    "specificity",
    "threshold_at_sensitivity",
]

Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float
    n: int  # samples
    groups: int  # what was drawn: patients


def dice(found: Array, truth: Array, counted: Array | None = None) -> float:
    """Overlap of two masks: twice the common part over the sum of both.

    Parameters
    ----------
    found, truth
        Masks of one shape, bool; two empty masks agree: 1.
    counted
        Mask of the pixels that count, bool; all of them by default.

    References
    ----------
    Dice, "Measures of the Amount of Ecologic Association Between Species",
    Ecology 26 (1945).
    """
    found, truth = np.asarray(found, bool), np.asarray(truth, bool)
    if counted is not None:
        found, truth = found & counted, truth & counted
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else 1.0


def _edge(mask: Array) -> Array:
    """The pixels or voxels of a mask that touch the outside across an edge or a face."""
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask)
    for axis in range(mask.ndim):
        for shift in (-1, 1):
            inner &= np.roll(padded, shift, axis)[(slice(1, -1),) * mask.ndim]
    return np.asarray(mask & ~inner)


def _nearest(points: Floats, others: Floats) -> Floats:
    """Distance of each point to the nearest of the others; in slices, to bound the memory."""
    out = np.empty(len(points))
    for start in range(0, len(points), 256):
        part = points[start : start + 256]
        squared = ((part[:, None, :] - others[None]) ** 2).sum(-1)
        out[start : start + 256] = np.sqrt(squared.min(1))
    return out


def hausdorff95(found: Array, truth: Array, spacing: Sequence[float] = (1.0, 1.0)) -> float:
    """The larger of the two 95th percentiles of the distances between the outlines.

    Parameters
    ----------
    found, truth
        (y, x) or (z, y, x) masks, bool.
    spacing
        Size of a pixel or voxel, as many numbers as axes; the answer has its unit.

    Returns
    -------
    The distance; 0 for two empty masks, infinity if only one is empty.

    References
    ----------
    Huttenlocher et al., "Comparing Images Using the Hausdorff Distance", IEEE TPAMI
    15 (1993); the percentile as in Maier-Hein et al., "Metrics reloaded", Nat Methods
    21 (2024), HD95.
    """
    scale = np.asarray(spacing, np.float64)
    ours = np.argwhere(_edge(np.asarray(found, bool))) * scale
    theirs = np.argwhere(_edge(np.asarray(truth, bool))) * scale
    if not len(ours) or not len(theirs):
        return 0.0 if len(ours) == len(theirs) else float("inf")
    return float(max(np.percentile(_nearest(ours, theirs), 95), np.percentile(_nearest(theirs, ours), 95)))


def auroc(truth: Array, score: Array) -> float:
    """Probability that a positive scores above a negative; ties count half.

    Parameters
    ----------
    truth
        (n,) bool or 0/1.
    score
        (n,) real; larger means more likely positive.

    Raises
    ------
    ValueError
        Only one class is there: the figure is not defined.

    References
    ----------
    Hanley and McNeil, "The meaning and use of the area under a receiver operating
    characteristic (ROC) curve", Radiology 143 (1982); computed by ranks (Mann-Whitney U).
    """
    truth, score = np.asarray(truth, bool), np.asarray(score, np.float64)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        raise ValueError(f"expected both classes, got {positives} positive and {negatives} negative samples")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[truth].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def accuracy(truth: Array, present: Array) -> float:
    """Share of samples whose class was told rightly."""
    return float((np.asarray(truth, bool) == np.asarray(present, bool)).mean())


def sensitivity(truth: Array, present: Array) -> float:
    """Share of the positive samples that were found; NaN without any."""
    truth = np.asarray(truth, bool)
    return float(np.asarray(present, bool)[truth].mean()) if truth.any() else float("nan")


def specificity(truth: Array, present: Array) -> float:
    """Share of the negative samples that were left alone; NaN without any."""
    truth = np.asarray(truth, bool)
    return float((~np.asarray(present, bool)[~truth]).mean()) if (~truth).any() else float("nan")


def threshold_at_sensitivity(truth: Array, score: Array, wanted: float) -> float:
    """The highest score at which at least the wanted share of the positives is found (score >= threshold)."""
    positives = np.sort(np.asarray(score, np.float64)[np.asarray(truth, bool)])
    if not positives.size:
        raise ValueError("expected at least one positive sample, got none")
    return float(positives[int(np.floor((1.0 - wanted) * positives.size + 1e-9))])


def sensitivity_at_specificity(truth: Array, score: Array, wanted: float) -> float:
    """Share of the positives above the lowest score that leaves at least the wanted share of the negatives alone.

    Raises
    ------
    ValueError
        Only one class is there: the figure is not defined.
    """
    truth, score = np.asarray(truth, bool), np.asarray(score, np.float64)
    if not truth.any() or truth.all():
        raise ValueError(f"expected both classes, got {int(truth.sum())} positives among {truth.size} samples")
    negatives = np.sort(score[~truth])
    bound = negatives[min(int(np.ceil(wanted * negatives.size - 1e-9)), negatives.size) - 1]
    return float((score[truth] > bound).mean())


def calibration_error(truth: Array, probability: Array, bins: int = 15) -> float:
    """Mean distance between stated probability and observed share, over equal-width bins.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    truth, probability = np.asarray(truth, np.float64), np.asarray(probability, np.float64)
    place = np.minimum((probability * bins).astype(int), bins - 1)
    # A bin's mean gap times its size is the sum of its differences.
    gaps = [abs(float((probability - truth)[place == b].sum())) for b in np.unique(place)]
    return float(np.sum(gaps) / truth.size)


def energy_inside(heat: Array, organ: Array, step: int = 1) -> float:
    """Share of a map's mass that lies inside an organ.

    Parameters
    ----------
    heat
        (y, x), any real dtype, not negative.
    organ
        (y, x) bool, the same grid.
    step
        Every `step`-th pixel of each axis is looked at.

    Returns
    -------
    0..1; 0 for an empty map.

    References
    ----------
    Wang et al., "Score-CAM", CVPR Workshops 2020, Section 4.3 (energy-based pointing game).
    """
    sampled = heat[::step, ::step]
    total = float(sampled.sum(dtype=np.float64))
    return float(sampled[organ[::step, ::step]].sum(dtype=np.float64)) / total if total > 0 else 0.0


def bootstrap(
    figure: Callable[..., float],
    columns: Sequence[Array],
    groups: Array,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Interval, Floats]:
    """A figure with the 95 % interval of a bootstrap that draws whole groups, and what was drawn.

    A paired comparison is a `figure` that takes both answers and returns their
    difference: both are then drawn together.

    Parameters
    ----------
    figure
        Maps the columns, each cut to the same rows, to a number.  A draw for which
        it raises ValueError or gives NaN (one class only) is left out; of all rows it is NaN then.
    columns
        Arrays of n rows.
    groups
        (n,) what belongs together: the patient.

    References
    ----------
    Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), Chapter 13
    (percentile interval); clusters as in Field and Welsh, "Bootstrapping clustered
    data", J R Stat Soc B 69 (2007).
    """
    rng = np.random.default_rng(seed)
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(member, kind="stable")
    rows_of = np.split(order, np.cumsum(np.bincount(member))[:-1])
    drawn: list[float] = []
    for _ in range(draws):
        rows = np.concatenate([rows_of[g] for g in rng.integers(len(rows_of), size=len(rows_of))])
        with suppress(ValueError):
            drawn.append(figure(*(column[rows] for column in columns)))
    drawn = [one for one in drawn if not np.isnan(one)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (np.nan, np.nan)
    value = float("nan")
    with suppress(ValueError):
        value = float(figure(*columns))
    return Interval(value, float(low), float(high), len(order), len(rows_of)), np.array(drawn)


def bootstrap_interval(
    figure: Callable[..., float],
    columns: Sequence[Array],
    groups: Array,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The interval of `bootstrap` alone."""
    return bootstrap(figure, columns, groups, draws, seed)[0]


def extent(
    voxels: int, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float] | None
) -> tuple[float, str]:
    """Return the size of a mask, with its UCUM unit.

    Parameters
    ----------
    voxels
        Those inside.
    shape
        (z, y, x) of the whole image.
    spacing_mm
        (z, y, x); None: not known.

    Returns
    -------
    The volume in ml of a series; of one film or slice the area in cm2, or without a spacing its share in %.
    """
    if spacing_mm is None:
        return 100.0 * voxels / (shape[0] * shape[1] * shape[2]), "%"
    depth, row, column = spacing_mm
    if shape[0] > 1:
        return voxels * (depth * row * column / 1000.0), "ml"
    return voxels * row * column / 100.0, "cm2"
