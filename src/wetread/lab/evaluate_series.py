"""Every figure of a model that reads series: over all folds, of its builds, and of its trivial rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.infer import Model
from wetread.lab.cases import Cases
from wetread.lab.courses import labels_of, read_cases
from wetread.lab.crossed import Answers, answers
from wetread.lab.folder import engines_for
from wetread.lab.gridded import Gridded
from wetread.lab.held_out import held_out
from wetread.lab.predict import built
from wetread.lab.rivals import average_mask, bright_masks, nearest_label, ridge_scores, threshold_lungs
from wetread.lab.verdicts import (
    Overlap,
    Scores,
    mask_figures,
    measure_answers,
    measure_masks,
    operating_point,
    paired,
    score_figures,
)
from wetread.measures import accuracy, auroc, sensitivity, specificity
from wetread.records import Mask

__all__ = ["evaluate_series", "fixed_point", "names_of"]

Figures = dict[str, Any]
Rows = NDArray[np.int64]
#: Bounds of the threshold method: the usual one, and the best of three that were tried on all slices.
BOUNDS_HU = (-400.0, -320.0)
#: Rivals that draw masks, by the name that recipes give.
DRAWN: dict[str, Callable[[Gridded, Rows, int], Answers]] = {"average mask": average_mask, "brightness": bright_masks}


def evaluate_series(table: Mapping[str, Any], model: Model | None, data: Path, out: Path) -> Figures:
    """Return the figures of a recipe's folds and, if it ships, of its builds on the fold it never saw.

    Parameters
    ----------
    table
        The recipe.
    model
        The model folder, or None for a model that does not ship.
    out
        Run folder with the folds' weights.
    """
    cases, gridded, folds = read_cases(table, data)
    answered = held_out(table, gridded, folds, out)
    every = np.arange(len(gridded))
    figures: Figures = {"folds": _described(table, cases, gridded, folds), "crossed": {}, "rivals": {}, "builds": {}}
    figures["crossed"] = _figures(table, cases, gridded, folds, answered, every)
    figures["rivals"] = _rivals(table, cases, gridded, folds, answered)
    if model is not None:
        aside = np.flatnonzero(folds[gridded.series] == int(table["ship"]["fold"]))
        for build in model.builds:
            found = answers(
                built(build.path, build.precision, engines_for(build.precision)[0]),
                gridded,
                aside,
                model.recipe,
                table["task"],
            )
            figures["builds"][build.name] = _build_figures(table, cases, gridded, model, found, aside)
    return figures


def _described(table: Mapping[str, Any], cases: Cases, gridded: Gridded, folds: Rows) -> list[Figures]:
    """Return what each fold tests on."""
    told = []
    for fold in range(int(folds.max()) + 1):
        rows = folds[gridded.series] == fold
        told.append(
            {
                "fold": fold,
                "name": str(cases.site[folds == fold][0]) if table["folds"]["by"] == "site" else str(fold),
                "patients": len(np.unique(cases.patient[folds == fold])),
                "series": int((folds == fold).sum()),
                "slices": int(rows.sum()),
            }
        )
    return told


def names_of(table: Mapping[str, Any]) -> list[str]:
    """Return the names of the labels, and "whole" for their union if the recipe asks for it."""
    return [*table["labels"], *(["whole"] if table.get("whole") else [])]


def _figures(
    table: Mapping[str, Any], cases: Cases, gridded: Gridded, folds: Rows, answered: Answers, rows: Rows
) -> Figures:
    figures: Figures = {}
    if answered.masks is not None:
        overlap = measure_answers(answered, cases, gridded, rows, bool(table.get("whole")))
        figures["masks"] = mask_figures(overlap, cases, names_of(table))
        figures["masks by trait"] = _by_trait(cases, overlap, names_of(table))
        figures["masks by fold"] = [
            mask_figures(overlap.take(folds[overlap.series] == fold), cases, names_of(table))["mean dice"]
            for fold in range(int(folds.max()) + 1)
        ]
    if answered.logits is not None:
        figures |= _crossed_labels(table, cases, gridded, folds, answered.logits[:, 0].astype(np.float64))
    return figures


def _by_trait(cases: Cases, overlap: Overlap, names: list[str]) -> Figures:
    return {
        f"{trait}: {value}": mask_figures(overlap.take(column[overlap.series] == value), cases, names)
        for trait, column in cases.traits.items()
        for value in np.unique(column[overlap.series]).tolist()
        if value
    }


def _crossed_labels(
    table: Mapping[str, Any], cases: Cases, gridded: Gridded, folds: Rows, logits: NDArray[np.float64]
) -> Figures:
    """Return figures by slice and by series; temperature and threshold of a fold come from the others."""
    scores = Scores(gridded.present[:, 0], logits, gridded.series, table["ship"]["pool"])
    by_fold = [fixed_point(table, scores, folds, fold) for fold in range(int(folds.max()) + 1)]
    points = {series: by_fold[fold] for series, fold in enumerate(folds.tolist())}
    figures = score_figures(scores, points, cases.patient)
    figures["by fold"] = [
        score_figures(scores.take(np.flatnonzero(folds == fold)), points, cases.patient)["slices"]
        for fold in range(len(by_fold))
    ]
    return figures


def fixed_point(table: Mapping[str, Any], scores: Scores, folds: Rows, fold: int) -> tuple[float, float]:
    """Return temperature and threshold of one fold's network, fixed on what the others say of its training patients."""
    return operating_point(scores.take(np.flatnonzero(folds != fold)), table["operating_point"])


def _build_figures(
    table: Mapping[str, Any], cases: Cases, gridded: Gridded, model: Model, found: Answers, rows: Rows
) -> Figures:
    figures: Figures = {}
    if found.masks is not None:
        overlap = measure_answers(found, cases, gridded, rows, bool(table.get("whole")))
        figures["masks"] = mask_figures(overlap, cases, names_of(table))
    if found.logits is not None:
        logits, series = found.logits[:, 0].astype(np.float64), gridded.series[rows]
        scores = Scores(gridded.present[rows, 0], logits, series, table["ship"]["pool"])
        point = (model.temperature, model.labels[0].threshold)
        figures |= score_figures(scores, dict.fromkeys(np.unique(series).tolist(), point), cases.patient)
    return figures


def _rivals(table: Mapping[str, Any], cases: Cases, gridded: Gridded, folds: Rows, answered: Answers) -> Figures:
    figures: Figures = {}
    for rival in table["rivals"]:
        if rival == "threshold":
            ours = measure_answers(answered, cases, gridded, np.arange(len(gridded)), False)
            for bound in BOUNDS_HU:
                figures[f"threshold at {bound:g} HU with morphology"] = _against_threshold(table, cases, ours, bound)
        elif rival == "labels":
            figures |= _label_rivals(cases, gridded, folds)
        else:
            made = DRAWN[rival](gridded, folds, labels_of(table))
            overlap = measure_answers(made, cases, gridded, np.arange(len(gridded)), bool(table.get("whole")))
            figures[rival] = {"masks": mask_figures(overlap, cases, names_of(table))}
    return figures


def _against_threshold(table: Mapping[str, Any], cases: Cases, ours: Overlap, bound: float) -> Figures:
    """Return the figures of the threshold method, and how much better the network is, in each subgroup."""

    def drawn(one: int) -> Mask:
        return np.stack([threshold_lungs(slice_, bound) for slice_ in cases.images[one]])[None]

    theirs, names = measure_masks(cases, ours.series, drawn, False), names_of(table)
    return {
        "masks": mask_figures(theirs, cases, names),
        "masks by trait": _by_trait(cases, theirs, names),
        "ours minus theirs": paired(ours, theirs, cases),
        "ours minus theirs by trait": {
            f"{trait}: {value}": paired(ours.take(column == value), theirs.take(column == value), cases)
            for trait, column in cases.traits.items()
            for value in np.unique(column).tolist()
            if value
        },
    }


def _label_rivals(cases: Cases, gridded: Gridded, folds: Rows) -> Figures:
    """Return accuracy, balanced accuracy and AUROC by slice of the rivals that never learn what is ill."""
    truth = gridded.present[:, 0]
    nearest, linear = nearest_label(gridded, folds), ridge_scores(gridded, folds)

    def told(present: NDArray[Any], score: NDArray[Any] | None) -> Figures:
        balanced = (sensitivity(truth, present) + specificity(truth, present)) / 2
        area = None if score is None else auroc(truth, score)
        return {"accuracy": accuracy(truth, present), "balanced": balanced, "auroc": area}

    common = int(truth.mean() >= 0.5)
    return {
        "always " + ("positive" if common else "negative"): {"slices": told(np.full(len(truth), common), None)},
        "1-nearest neighbour on 32 x 32 thumbnails": {"slices": told(nearest, None)},
        "ridge regression on 32 x 32 thumbnails": {"slices": told(linear >= 0.5, linear)},
    }
