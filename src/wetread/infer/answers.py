"""Logits -> calibrated probabilities and findings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wetread.infer.model import Model
from wetread.infer.regions import tracking
from wetread.records import Finding, Image, Prediction

Floats = npt.NDArray[np.float64]


def findings(model: Model, prediction: Prediction, image: Image) -> tuple[Finding, ...]:
    """One finding a label, by temperature scaling and the model's own threshold.

    The probability of a series is pooled from those of its slices, as the model says.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Section 4.2.
    """
    logits = np.asarray(prediction.outputs["logits"], np.float64).reshape(-1, len(model.labels))
    made = []
    for label, by_slice in zip(model.labels, calibrated(logits, model.temperature).T, strict=True):
        probability = pooled(by_slice, model.series.pool)
        present = probability >= label.threshold
        positive = np.flatnonzero(by_slice >= label.threshold) if present and len(by_slice) > 1 else ()
        uid, name = tracking(image, label)
        made.append(
            Finding(
                label.code,
                probability,
                label.threshold,
                present,
                prediction.model,
                uid,
                name,
                slices=tuple(map(int, positive)),
                peak=int(by_slice.argmax()),
            )
        )
    return tuple(made)


def calibrated(logits: Floats, temperature: Floats | float) -> Floats:
    """Probabilities 0..1 of logits."""
    return np.asarray(1.0 / (1.0 + np.exp(-logits / temperature)))


def pooled(probabilities: Floats, pool: str) -> float:
    """The probability of a series from those of its slices: the highest, or the mean of the three highest."""
    highest = np.sort(probabilities)[::-1]
    return float(highest[0] if pool == "max" else highest[:3].mean())
