"""Does a build lose where only some patients are looked at?  Each subgroup that the data knows is asked.

A build ships if it is proven not to be worse than the trained network over all patients,
and in each subgroup large enough to tell.  Within the subgroups of one comparison the chance
that any of these proofs is wrong is bounded together.

References
----------
Holm, "A simple sequentially rejective multiple test procedure", Scand J Stat 6 (1979).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.measures import Interval, auroc, bootstrap

__all__ = ["DRAWS", "FACTOR", "SEED", "SMALLEST", "Paired", "subgroup_rows"]

Strings = NDArray[np.str_]
Scores = NDArray[np.float64]

#: With fewer patients, for an area with fewer of either class, a subgroup is told and not judged.
SMALLEST = 20
#: In a subgroup the largest loss allowed is so many times that of all patients.
FACTOR = 2.0
#: Chance that any proof of one comparison is wrong.
LEVEL = 0.025
DRAWS, SEED = 2000, 0


@dataclass(frozen=True, slots=True)
class Paired:
    """What the trained network and a build of it say of the same samples."""

    metric: str  # "auc": scores are logits; "dice": scores are one Dice a film or series
    truth: NDArray[Any]  # (n,) 0 or 1; not looked at for Dice
    parent: Scores  # (n,)
    build: Scores  # (n,)
    patient: Strings  # (n,)
    traits: Mapping[str, Strings] = field(default_factory=dict)  # name -> (n,); "" stands in no subgroup
    meant: NDArray[np.bool_] | None = None  # (n,) is the model made for this patient; None: for all

    def take(self, rows: NDArray[np.int64]) -> Paired:
        """Return some of the samples, without their traits."""
        columns = (self.truth[rows], self.parent[rows], self.build[rows], self.patient[rows])
        return Paired(self.metric, *columns, meant=None if self.meant is None else self.meant[rows])

    @property
    def of_parent(self) -> float:
        """The parent's own figure."""
        return auroc(self.truth, self.parent) if self.metric == "auc" else float(self.parent.mean())

    @property
    def weight(self) -> int:
        """How many patients for whom the model is made the figure rests on: for an area, those of the rarer class."""
        meant = np.full(len(self.patient), True) if self.meant is None else self.meant
        classes = [meant & (self.truth == one) for one in (0, 1)] if self.metric == "auc" else [meant]
        return min(len(np.unique(self.patient[rows])) for rows in classes)

    def change(self, margin: float) -> tuple[Interval, float]:
        """Return how much better the build is, and the p-value of "it loses more than the margin"."""
        if self.metric == "auc":
            columns: tuple[Any, ...] = (self.truth, self.parent, self.build)
            interval, drawn = bootstrap(_area_gained, columns, self.patient, DRAWS, SEED)
        else:
            interval, drawn = bootstrap(_mean_gained, (self.parent, self.build), self.patient, DRAWS, SEED)
        return interval, float((1 + (drawn < -margin).sum()) / (1 + len(drawn)))

    def groups(self) -> Iterator[tuple[str, Paired]]:
        """Each subgroup by name; for an area, one of a single class stands against all of the other class.

        A trait that has one value is no subgroup.
        """
        for trait, column in self.traits.items():
            values = sorted(set(column.tolist()) - {""})
            for value in values if len(values) > 1 else []:
                inside = column == value
                if self.metric == "auc" and len(set(self.truth[inside].tolist())) == 1:
                    inside = inside | (self.truth != self.truth[inside][0])
                if self.metric != "auc" or len(set(self.truth[inside].tolist())) == 2:
                    yield f"{trait}: {value}", self.take(np.flatnonzero(inside))


def _area_gained(truth: NDArray[Any], parent: Scores, build: Scores) -> float:
    return auroc(truth, build) - auroc(truth, parent)


def _mean_gained(parent: Scores, build: Scores) -> float:
    return float((build - parent).mean())


def subgroup_rows(paired: Paired, margin: float) -> list[dict[str, Any]]:
    """Return one row a subgroup of one comparison, for the certificate.

    Parameters
    ----------
    margin
        The largest loss allowed over all patients.
    """
    rows: list[dict[str, Any]] = []
    judged: list[dict[str, Any]] = []
    for name, part in paired.groups():
        allowed = FACTOR * margin
        change, p = part.change(allowed)
        told: dict[str, Any] = {"subgroup": name, "difference": change.value}
        told["interval_95"] = [change.low, change.high]
        rows.append(told | {"margin": allowed, "n": change.n, "patients": change.groups, "p": p})
        judged += rows[-1:] if part.weight >= SMALLEST else []
    _judge(judged)
    return rows


def _judge(rows: list[dict[str, Any]]) -> None:
    """Adjust the p-values of one comparison together, and say which subgroups passed."""
    highest = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: float(row["p"]))):
        highest = max(highest, min(1.0, (len(rows) - rank) * float(row["p"])))
        row["p_holm"], row["passed"] = highest, bool(highest <= LEVEL)
