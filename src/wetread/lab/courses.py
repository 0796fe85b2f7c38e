"""What a network for series is trained on, by its recipe: the data, the fold, the loss."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wetread.lab.augment import Augment
from wetread.lab.cases import Cases, fold_of, owners
from wetread.lab.gridded import Gridded, GridSamples, lay_cases
from wetread.lab.losses import joint_loss, label_loss, mask_loss
from wetread.lab.plan import recipe_of
from wetread.lab.series import load
from wetread.lab.train import Aside, Course, Plan

__all__ = ["labels_of", "read_cases", "rows_digest", "series_course", "shown"]


def labels_of(table: Mapping[str, Any]) -> int:
    """Return how many labels the network of a recipe has."""
    return int(table["model"].get("labels", 1))


def read_cases(table: Mapping[str, Any], data: Path) -> tuple[Cases, Gridded, NDArray[np.int64]]:
    """Return the cases of a recipe, the same on the model's grid, and the fold of each series."""
    cv2.setNumThreads(1)
    cases = load(table, data)
    return cases, lay_cases(cases, recipe_of(table["recipe"]), labels_of(table)), fold_of(cases, table["folds"])


def series_course(
    table: Mapping[str, Any], cases: Cases, gridded: Gridded, folds: NDArray[np.int64], fold: int
) -> Course:
    """Return everything but one fold; with `patience`, less the patients who are asked when to stop."""
    plan, recipe = Plan.from_table(table["train"]), recipe_of(table["recipe"])
    masks = table["task"] != "classification"
    augment = Augment.from_table(table.get("augment", {}))
    samples, plain = (
        GridSamples(gridded, recipe, one, plan.seed, labels_of(table), masks) for one in (augment, Augment.none())
    )
    ours, asked = folds[gridded.series] != fold, plan.asked(owners(cases, table["folds"]), fold)[gridded.series]
    aside = Aside(plain, np.flatnonzero(ours & asked)) if plan.patience else None
    losses = {
        "segmentation": mask_loss,
        "classification": label_loss(plan.label_smoothing),
        "segmentation+classification": joint_loss,
    }
    rows = shown(gridded, np.flatnonzero(ours & ~asked), plan)
    of = rows_digest(gridded, ours & ~asked) + rows_digest(gridded, ours & asked)
    return Course(samples, rows, losses[table["task"]], lambda model: {}, aside=aside, of=of)


def rows_digest(gridded: Gridded, rows: NDArray[np.bool_] | NDArray[np.int64]) -> str:
    """Return the SHA-256, hex, of the images, masks and labels of some rows."""
    digest = hashlib.sha256()
    for column in (gridded.images, gridded.masks, gridded.present):
        digest.update(np.ascontiguousarray(column[rows]).data)
    return digest.hexdigest()


def shown(gridded: Gridded, rows: NDArray[np.int64], plan: Plan) -> NDArray[np.int64]:
    """Return the rows of samples that an epoch shows of some rows: those that hold a label more often."""
    rare = rows[gridded.present[rows].any(1)]
    return np.concatenate([rows, *(rare + turn * len(gridded) for turn in range(1, plan.repeat_positive))])
