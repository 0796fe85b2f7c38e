"""Operating points: the rules by which a recipe fixes a threshold, on patients that choose nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from wetread.errors import BadInput
from wetread.measures import accuracy, sensitivity, specificity, threshold_at_sensitivity

__all__ = ["rule_words", "threshold_by"]

Truth = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Logits are taken from probabilities so far from 0 and 1; a kernel is no narrower; where a threshold may stand.
CERTAIN, SHARPEST, PLACES = 1e-9, 1e-3, 801


def balanced_accuracy(truth: Truth, present: NDArray[np.bool_]) -> float:
    """The mean of sensitivity and specificity: where it is highest, so is Youden's index.

    References
    ----------
    Youden, "Index for rating diagnostic tests", Cancer 3 (1950).
    """
    return (sensitivity(truth, present) + specificity(truth, present)) / 2


def steady(truth: Truth, probability: Floats) -> float:
    """The threshold at which the balanced accuracy of the smoothed answers is highest.

    A few samples beside the highest step of the curve decide which step it is; smoothed by a Gaussian kernel a class,
    on the logits, all samples do.

    References
    ----------
    Fluss, Faraggi, Reiser, "Estimation of the Youden Index and its associated cutoff point", Biom J 47 (2005), the
    kernel method; with the width of Silverman, "Density Estimation" (1986), Eq. 3.28.
    """
    safe = np.clip(probability, CERTAIN, 1 - CERTAIN)
    logits = np.log(safe / (1 - safe))
    grid = np.linspace(logits.min(), logits.max(), PLACES)
    ill, well = (_below(logits[truth == kind], grid) for kind in (1, 0))
    return float(1 / (1 + np.exp(-grid[int(np.argmax(well - ill))])))


def _below(logits: Floats, grid: Floats) -> Floats:
    """The share of a class below each place of a grid, smoothed as suits a normal distribution."""
    width = max(SHARPEST, 1.06 * float(logits.std()) * len(logits) ** -0.2)
    return np.array([ndtr((place - logits) / width).mean() for place in grid])


#: What is highest at the threshold, by the rule's name.
HIGHEST: dict[str, Callable[[Truth, NDArray[np.bool_]], float]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
}

SMOOTHED = "smoothed_balanced_accuracy"


def threshold_by(rule: Mapping[str, float], truth: Truth, probability: Floats) -> float:
    """Return the threshold that a recipe's ``[operating_point]`` asks for.

    Parameters
    ----------
    rule
        ``sensitivity = s``: the highest threshold that keeps it; ``accuracy = 1`` or
        ``balanced_accuracy = 1``: that of the 99 inner percentiles at which it is highest;
        ``smoothed_balanced_accuracy = 1``: `steady`.
    truth, probability
        (n,) 0 or 1, and calibrated probabilities of the same samples.

    Raises
    ------
    BadInput
        The rule is none of these, or the sensitivity is no share.
    """
    name = _name(rule)
    if name == "sensitivity":
        return threshold_at_sensitivity(truth, probability, rule[name])
    if name == SMOOTHED:
        return steady(truth, probability)
    bounds = np.quantile(probability, np.linspace(0.01, 0.99, 99))
    return float(bounds[int(np.argmax([HIGHEST[name](truth, probability >= bound) for bound in bounds]))])


def rule_words(rule: Mapping[str, float]) -> str:
    """Return the rule in words that go on with "on ..."."""
    name = _name(rule)
    if name == "sensitivity":
        return f"the highest that keeps sensitivity {rule[name]:g}"
    return f"that of the highest {name.replace('_', ' ')}"


def _name(rule: Mapping[str, float]) -> str:
    known = ("sensitivity", *HIGHEST, SMOOTHED)
    if len(rule) != 1 or next(iter(rule)) not in known:
        raise BadInput(f"[operating_point]: expected one of {', '.join(known)}, got {dict(rule)}")
    name, value = next(iter(rule.items()))
    if name == "sensitivity" and not (isinstance(value, int | float) and 0 < value <= 1):
        raise BadInput(f"[operating_point] sensitivity: expected a share above 0 and at most 1, got {value!r}")
    return name
