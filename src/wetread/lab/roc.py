"""The curve of a classifier and the point on it that its threshold chose, as numbers and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wetread.lab.evidence import save_svg
from wetread.measures import sensitivity, specificity

__all__ = ["draw_curves_of", "operating"]

#: Corners of a curve that are kept.
CORNERS = 60


def operating(truth: NDArray[np.int64], probability: NDArray[Any], present: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the confusion counts and sensitivity and specificity at the threshold, and the curve it lies on.

    Parameters
    ----------
    truth, probability, present
        (n,) 0 or 1; probability; whether it was called.

    Returns
    -------
    ``found``, ``missed``, ``false_alarms``, ``left_alone``; ``sensitivity``, ``specificity``;
    ``curve``: at most 60 of its corners, [share of false alarms, sensitivity], both rising.

    References
    ----------
    Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27 (2006), Algorithm 1.
    """
    ill = truth == 1
    return {
        "found": int((ill & present).sum()),
        "missed": int((ill & ~present).sum()),
        "false_alarms": int((~ill & present).sum()),
        "left_alone": int((~ill & ~present).sum()),
        "sensitivity": sensitivity(truth, present),
        "specificity": specificity(truth, present),
        "curve": _curve(ill, probability),
    }


def _curve(ill: NDArray[np.bool_], probability: NDArray[Any]) -> list[list[float]]:
    order = np.argsort(-probability, kind="stable")
    # Only where the probability changes: equal ones are called together.
    last = np.append(np.diff(probability[order]) != 0, True)
    both = [np.append(0.0, np.cumsum(side[order])[last] / side.sum()) for side in (~ill, ill)]
    kept = np.unique(np.linspace(0, len(both[0]) - 1, CORNERS).round().astype(int))
    return [[round(float(x), 4), round(float(y), 4)] for x, y in zip(both[0][kept], both[1][kept], strict=True)]


def draw_curves_of(points: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw the curve of each set by name, with a dot where the threshold lies."""
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axis = figure.subplots()
    for at, (name, one) in enumerate(points.items()):
        axis.plot(*np.array(one["curve"]).T, color=f"C{at}", label=name)
        axis.plot(1 - one["specificity"], one["sensitivity"], "o", color=f"C{at}")
    axis.plot([0, 1], [0, 1], ":", color="grey", label="a coin")
    axis.set_xlabel("1 - specificity")
    axis.set_ylabel("sensitivity")
    axis.set_aspect("equal")
    axis.legend(fontsize=7, loc="lower right")
    save_svg(figure, path)
