"""Training by folds, and what each fold's network says of the patients it never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wetread.errors import BadInput
from wetread.lab import zoo
from wetread.lab.cases import used_folds
from wetread.lab.courses import read_cases, rows_digest, series_course, shown
from wetread.lab.gridded import Gridded, GridSamples, centred
from wetread.lab.plan import digest_of
from wetread.lab.predict import Predictor
from wetread.lab.train import Aside, Plan, fit
from wetread.lab.views import Tail, Views
from wetread.lab.weights import save_weights
from wetread.records import Recipe, Tensor

__all__ = ["OUTPUTS", "answers", "calibration", "fold_folder", "tensors", "train_folds"]

#: What the network of each task returns, in order: the names of the graph's outputs.
OUTPUTS = {
    "segmentation": ("logits",),
    "classification": ("logits", "map"),
    "segmentation+classification": ("mask", "logits", "map"),
}


def fold_folder(out: Path, model: str, fold: int) -> Path:
    """Return where the run of one fold lies."""
    return out / model / f"fold{fold}"


def train_folds(
    table: Mapping[str, Any], data: Path, out: Path, *, fold: int | None = None, resume: bool = True
) -> list[Path]:
    """Train one fold, or one after the other; finished ones are left as they are.

    Returns
    -------
    The weights' files.

    Raises
    ------
    BadInput
        There is no such fold, or none that `[ship]` names, or that one has images of one kind.
    """
    cases, gridded, folds = read_cases(table, data)
    plan, views, files = Plan.from_table(table["train"]), None, []
    known = used_folds(table["folds"], folds)
    if fold is not None and fold not in known:
        raise BadInput(f"fold: expected one of {', '.join(map(str, known))}, got {fold}")
    if (ships := table["ship"].get("fold", known[0])) not in known:
        raise BadInput(f"recipe, [ship] fold: expected one of {', '.join(map(str, known))}, got {ships}")
    if table["task"] != "segmentation" and "withheld" not in table["ship"]:
        _check_kinds(gridded.present[folds[gridded.series] == ships, 0], int(ships))
    for one in known if fold is None else [fold]:
        folder = fold_folder(out, str(table["id"]), one)
        course = series_course(table, cases, gridded, folds, one)
        torch.manual_seed(plan.seed)
        network = zoo.build(table["model"])
        if plan.views:
            assert isinstance(course.samples, GridSamples)
            network = tail = Tail(network)
            rows, file = shown(gridded, np.arange(len(gridded)), plan), folder.parent / "views.pt"
            views = views or Views(course.samples, rows, plan.views, tail, file)
            course = replace(course, samples=views)
            if course.aside is not None:
                assert isinstance(course.aside.samples, GridSamples)
                plain = Views(course.aside.samples, course.aside.rows, 1, tail, folder / "views-aside.pt")
                course = replace(course, aside=Aside(plain, course.aside.rows))
        average = fit(network, course, plan, folder, learnt_by=digest_of(table, fold=one), resume=resume).average
        kept = average.network if isinstance(average, Tail) else average
        apart = rows_digest(gridded, folds[gridded.series] == one)
        save_weights(folder / "weights.pt", dict(table) | {"fold": one, "apart": apart}, kept)
        files.append(folder / "weights.pt")
    return files


def _check_kinds(present: NDArray[np.int64], fold: int) -> None:
    """See that there is an area under the curve on which builds can be compared."""
    if len(np.unique(present)) < 2:
        raise BadInput(
            f"recipe, [ship] fold: expected images with and without the label in fold {fold}, on which the builds are "
            "judged, got one kind; ship another fold, or deal them otherwise by [folds] n or seed"
        )


@dataclass(frozen=True, slots=True)
class Answers:
    """What networks say of rows of `Gridded`, on their grid."""

    masks: NDArray[np.float16] | None  # (n, k, [z,] y, x) logits
    logits: NDArray[np.float32] | None  # (n, k)

    def take(self, rows: NDArray[np.int64]) -> Answers:
        """Return the answers to some of the rows."""
        return Answers(
            None if self.masks is None else self.masks[rows], None if self.logits is None else self.logits[rows]
        )


def answers(predictor: Predictor, gridded: Gridded, rows: NDArray[np.int64], recipe: Recipe, task: str) -> Answers:
    """Return what one predictor says of the given rows, in their order."""
    masks: list[NDArray[np.float16]] = []
    logits: list[Tensor] = []
    batch = 4 if recipe.depth else 32
    for start in range(0, len(rows), batch):
        found = predictor.answer(tensors(gridded, rows[start : start + batch], recipe))
        if task == "segmentation":
            masks.append(found["logits"].astype(np.float16))
        else:
            logits.append(found["logits"])
        if task == "segmentation+classification":
            masks.append(found["mask"].astype(np.float16))
    return Answers(np.concatenate(masks) if masks else None, np.concatenate(logits) if logits else None)


def calibration(gridded: Gridded, rows: NDArray[np.int64], recipe: Recipe, most: int) -> list[Tensor]:
    """Return inputs of one row each that fix the ranges of int8: so many of the rows at most, drawn at random."""
    chosen = np.random.default_rng(0).choice(rows, min(most, len(rows)), replace=False)
    return [tensors(gridded, chosen[at : at + 1], recipe) for at in range(len(chosen))]


def tensors(gridded: Gridded, rows: NDArray[np.int64], recipe: Recipe) -> Tensor:
    """Return the network's input [N, C, (D,) H, W] of the given rows: what `prepare` made."""
    planes = np.stack([gridded.channels(int(row), recipe) for row in rows])
    return centred(planes, recipe)
