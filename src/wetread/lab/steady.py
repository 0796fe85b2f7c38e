"""What makes a classifier's answer move: a logistic regression on measures of the image and the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from wetread.infer import Gate
from wetread.infer.gate import MEASURES, Term
from wetread.infer.signals import FAR

__all__ = ["fit_steady"]

#: Squares of up to `FAR` spreads would outweigh the distances in the penalty.
SQUARE = 0.25


def fit_steady(measured: Sequence[Mapping[str, float]], fell: NDArray[np.bool_], sound: NDArray[np.bool_]) -> Gate:
    """Return a gate without a bound whose terms tell the chance that an answer is that of a sound image.

    Parameters
    ----------
    measured
        (n,) `wetread.infer.signals.measures` of films, undamaged and damaged.
    fell, sound
        (n,) whether the film has fallen, and whether it is undamaged: those say what is typical.

    References
    ----------
    Ridge-penalised logistic regression: le Cessie and van Houwelingen, Appl Stat 41 (1992).
    """
    values = np.array([[one[name] for name in MEASURES] for one in measured])
    typical, spread = values[sound].mean(0), values[sound].std(0) + 1e-6
    # What is written has four digits: fitted to what is written.
    typical, spread = (
        np.array([float(f"{one:.4g}") for one in typical]),
        np.array([float(f"{one:.4g}") for one in spread]),
    )
    away = np.clip((values - typical) / spread, -FAR, FAR)
    found = LogisticRegression(C=1.0, max_iter=2000).fit(np.hstack([away, SQUARE * away**2]), fell)
    weights, squares = np.split(found.coef_[0], 2)
    rows = zip(MEASURES, typical, spread, weights.round(3), (SQUARE * squares).round(4), strict=True)
    terms = tuple(Term(name, *(float(value) for value in row)) for name, *row in rows)
    return Gate(terms=terms, constant=round(float(found.intercept_[0]), 3))
