"""Logits -> calibrated probabilities and findings."""

from __future__ import annotations

import numpy as np

from wetread.infer.model import Model
from wetread.infer.regions import tracking
from wetread.records import Finding, Image, Prediction


def findings(model: Model, prediction: Prediction, image: Image) -> tuple[Finding, ...]:
    """One finding a label, by temperature scaling and the model's own threshold.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Section 4.2.
    """
    logits = np.asarray(prediction.outputs["logits"], np.float64).reshape(-1)
    made = []
    for label, logit in zip(model.labels, logits, strict=True):
        probability = float(1.0 / (1.0 + np.exp(-logit / model.temperature)))
        uid, name = tracking(image, label)
        present = probability >= label.threshold
        made.append(Finding(label.code, probability, label.threshold, present, prediction.model, uid, name))
    return tuple(made)
