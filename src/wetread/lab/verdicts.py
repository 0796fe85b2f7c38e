"""Figures of a model that reads series: masks, labels, operating points, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.infer import calibrated
from wetread.lab.cases import Cases
from wetread.lab.certify import fit_temperature
from wetread.lab.crossed import Answers
from wetread.lab.gridded import Gridded
from wetread.lab.held_out import found_masks, overlaps, pooled
from wetread.lab.points import threshold_by
from wetread.measures import (
    accuracy,
    auroc,
    bootstrap_interval,
    calibration_error,
    sensitivity,
    sensitivity_at_specificity,
    specificity,
)
from wetread.records import Mask

__all__ = [
    "Overlap",
    "Scores",
    "label_figures",
    "mask_figures",
    "measure_answers",
    "measure_masks",
    "operating_point",
    "paired",
    "score_figures",
]

Figures = dict[str, Any]
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Dice and Hausdorff distance of every label of some series."""

    series: Rows  # (n,)
    dice: Floats  # (n, k)
    hd95: Floats  # (n, k) mm, or pixels where the spacing is not known

    def take(self, chosen: NDArray[np.bool_]) -> Overlap:
        """Return the chosen series."""
        return Overlap(self.series[chosen], self.dice[chosen], self.hd95[chosen])


def measure_masks(cases: Cases, series: Rows, drawn: Callable[[int], Mask], whole: bool) -> Overlap:
    """Measure what `drawn` gives, (k, z, y, x) a series, against the masks of the cases."""
    rows = [overlaps(drawn(int(one)), cases, int(one), whole) for one in series]
    return Overlap(series, np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))


def measure_answers(
    answered: Answers, cases: Cases, gridded: Gridded, rows: Rows, table: Mapping[str, Any], whole: bool = False
) -> Overlap:
    """Measure the answers to the given rows of the gridded cases, drawn as the recipe says; the union too if asked."""
    series = np.unique(gridded.series[rows])
    return measure_masks(cases, series, lambda one: found_masks(answered, gridded, one, rows, table), whole)


def mask_figures(overlap: Overlap, cases: Cases, names: list[str]) -> Figures:
    """Return mean Dice, Hausdorff distance and the worst twentieth of each label, by patient."""
    patient = cases.patient[overlap.series]
    figures: Figures = {}
    for at, name in enumerate(names):
        far = overlap.hd95[:, at]
        figures[name] = {
            "dice": asdict(bootstrap_interval(_mean, (overlap.dice[:, at],), patient)),
            "dice_p05": float(np.percentile(overlap.dice[:, at], 5)),
            "hd95": asdict(bootstrap_interval(_finite_mean, (far,), patient)) if np.isfinite(far).any() else None,
            "hd95_undefined": int(np.isinf(far).sum()),
        }
    figures["mean dice"] = asdict(bootstrap_interval(_mean, (overlap.dice[:, : len(names)].mean(1),), patient))
    return figures


def paired(ours: Overlap, theirs: Overlap, cases: Cases) -> Figures:
    """Return how much better the first is in Dice and in Hausdorff distance (smaller is better), by patient."""
    patient = cases.patient[ours.series]
    both = np.isfinite(ours.hd95[:, 0]) & np.isfinite(theirs.hd95[:, 0])
    return {
        "dice": asdict(bootstrap_interval(_mean, (ours.dice[:, 0] - theirs.dice[:, 0],), patient)),
        "hd95": asdict(bootstrap_interval(_mean, (ours.hd95[both, 0] - theirs.hd95[both, 0],), patient[both])),
    }


def _mean(values: Floats) -> float:
    return float(values.mean())


def _finite_mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("expected a distance, got none: one of each two masks is empty")
    return float(finite.mean())


@dataclass(frozen=True, slots=True)
class Scores:
    """What a classifier says of slices, and what is true of them and of their series."""

    truth: Rows  # (n,) of each slice
    logits: Floats  # (n,) of each slice
    series: Rows  # (n,) each slice's series
    pool: str  # how a series' probability comes from those of its slices

    def take(self, series: Rows) -> Scores:
        """Return the slices of the given series."""
        kept = np.isin(self.series, series)
        return Scores(self.truth[kept], self.logits[kept], self.series[kept], self.pool)

    def of_series(self, temperature: Floats | float = 1.0) -> tuple[Rows, Rows, Floats]:
        """Return the series, whether each holds a positive slice, and the pooled probability."""
        which, member = np.unique(self.series, return_inverse=True)
        probability = calibrated(self.logits, temperature)
        ill = np.array([self.truth[member == one].max() for one in range(len(which))])
        return which, ill, pooled(probability, member, self.pool, len(which))


def operating_point(scores: Scores, rule: Mapping[str, float]) -> tuple[float, float]:
    """Return temperature and threshold that a recipe's rule fixes on these answers.

    The temperature fits the slices' probabilities; the threshold is that of the series'
    probabilities, or of the slices' where every series is positive.

    Parameters
    ----------
    rule
        See `wetread.lab.points.threshold_by`.

    Raises
    ------
    BadInput
        All slices are of one kind.
    """
    if len(np.unique(scores.truth)) < 2:
        raise BadInput(
            "[folds]: expected images with and without the label outside of every fold, to fix the threshold on, got "
            "one kind; deal the folds otherwise"
        )
    temperature = fit_temperature(scores.truth, scores.logits)
    _, truth, probability = scores.of_series(temperature)
    if truth.all():
        truth, probability = scores.truth, calibrated(scores.logits, temperature)
    return temperature, threshold_by(rule, truth, probability)


def label_figures(truth: Rows, probability: Floats, threshold: Floats | float, patient: NDArray[np.str_]) -> Figures:
    """Return discrimination and operating point of one label; the threshold may differ by row."""
    present = probability >= threshold

    def interval(figure: Callable[..., float], column: NDArray[Any]) -> Figures:
        return asdict(bootstrap_interval(figure, (truth, column), patient))

    return {
        "auroc": interval(auroc, probability),
        "sensitivity at 0.90 specificity": interval(lambda t, s: sensitivity_at_specificity(t, s, 0.9), probability),
        "accuracy": interval(accuracy, present),
        "sensitivity": interval(sensitivity, present),
        "specificity": interval(specificity, present),
        "calibration error": interval(calibration_error, probability),
        "prevalence": float(truth.mean()),
    }


def score_figures(scores: Scores, points: Mapping[int, tuple[float, float]], patient: NDArray[np.str_]) -> Figures:
    """Return the figures by slice, and by series where both kinds are there.

    Parameters
    ----------
    points
        Series -> temperature and threshold, fixed without its patient.
    patient
        (n,) of each series.
    """
    table = np.array([points[int(one)] for one in scores.series])
    probability = 1 / (1 + np.exp(-scores.logits / table[:, 0]))
    figures = {"slices": label_figures(scores.truth, probability, table[:, 1], patient[scores.series])}
    which, ill, whole = scores.of_series(table[:, 0])
    if 0 < ill.sum() < len(ill):
        threshold = np.array([points[int(one)][1] for one in which])
        figures["series"] = label_figures(ill, whole, threshold, patient[which])
    return figures
