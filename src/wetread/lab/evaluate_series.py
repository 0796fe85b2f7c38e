"""Every figure of a model that reads series: over all folds, of its builds, and of its trivial rivals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.infer import Model, calibrated
from wetread.lab.cases import Cases, owners, used_folds
from wetread.lab.courses import labels_of, read_cases
from wetread.lab.crossed import Answers, answers
from wetread.lab.folder import engines_for, runnable
from wetread.lab.gridded import Gridded
from wetread.lab.held_out import held_out
from wetread.lab.predict import built
from wetread.lab.rivals import average_mask, bright_masks, nearest_label, ridge_scores, threshold_lungs
from wetread.lab.roc import operating
from wetread.lab.train import Plan
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

__all__ = ["evaluate_series", "names_of", "told_by_others"]

Figures = dict[str, Any]
Rows = NDArray[np.int64]
#: Bounds of the threshold method: the usual one, and the best of three that were tried on all slices.
BOUNDS_HU = (-400.0, -320.0)
#: Rivals that draw masks, by the name that recipes give.
DRAWN: dict[str, Callable[[Gridded, Rows, int], Answers]] = {"average mask": average_mask, "brightness": bright_masks}


@dataclass(frozen=True, slots=True)
class Ground:
    """What is judged: the cases, and the rows of those folds that are in use."""

    table: Mapping[str, Any]
    cases: Cases
    gridded: Gridded
    folds: Rows
    rows: Rows

    def overlap(self, answered: Answers) -> Overlap:
        """Measure the masks of answers to the rows."""
        return measure_answers(answered, self.cases, self.gridded, self.rows, self.table, bool(self.table.get("whole")))


def evaluate_series(
    table: Mapping[str, Any], model: Model | None, data: Path, out: Path, standing: Figures | None = None
) -> Figures:
    """Return the figures of a recipe's folds and, if it ships, of its builds on the fold it never saw.

    Parameters
    ----------
    table
        The recipe.
    model
        The model folder, or None for a model that does not ship.
    out
        Run folder with the folds' weights.
    standing
        The figures of all folds where these weights are gone: `wetread.lab.recover.standing_figures`.
    """
    cases, gridded, folds = read_cases(table, data)
    figures: Figures = {"unit": _unit(cases), **(standing or {}), "builds": {}}
    if standing is None:
        rows, answered = held_out(table, gridded, folds, out)
        ground = Ground(table, cases, gridded, folds, rows)
        figures |= {"folds": _described(ground), "crossed": _crossed(ground, answered)}
        figures["rivals"] = _rivals(ground, answered)
    if model is not None:
        aside = np.flatnonzero(folds[gridded.series] == int(table["ship"]["fold"]))
        for build in runnable(model):
            found = answers(
                built(build.path, build.precision, engines_for(build.precision)[0]),
                gridded,
                aside,
                model.recipe,
                table["task"],
            )
            figures["builds"][build.name] = _build_figures(table, cases, gridded, model, found, aside)
    return figures


def _unit(cases: Cases) -> str:
    """Return what distances are given in."""
    known = np.isfinite(cases.spacing_mm[:, 1:]).all(1)
    if known.all():
        return "mm"
    return "mm, or pixels where the spacing is not known" if known.any() else "pixels"


def _described(ground: Ground) -> list[Figures]:
    """Return what each fold in use tests on."""
    told, folds = [], ground.folds
    for fold in used_folds(ground.table["folds"], folds):
        by_site = ground.table["folds"]["by"] == "site"
        told.append(
            {
                "fold": fold,
                "name": str(ground.cases.site[folds == fold][0]) if by_site else str(fold),
                "patients": len(np.unique(ground.cases.patient[folds == fold])),
                "series": int((folds == fold).sum()),
                "slices": int((folds[ground.gridded.series] == fold).sum()),
            }
        )
    return told


def names_of(table: Mapping[str, Any]) -> list[str]:
    """Return the names of the labels, and "whole" for their union if the recipe asks for it."""
    return [*table["labels"], *(["whole"] if table.get("whole") else [])]


def _crossed(ground: Ground, answered: Answers) -> Figures:
    figures: Figures = {}
    names = names_of(ground.table)
    if answered.masks is not None:
        overlap = ground.overlap(answered)
        figures["masks"] = mask_figures(overlap, ground.cases, names)
        figures["masks by trait"] = _by_trait(ground.cases, overlap, names)
        figures["masks by fold"] = [
            mask_figures(overlap.take(ground.folds[overlap.series] == fold), ground.cases, names)["mean dice"]
            for fold in used_folds(ground.table["folds"], ground.folds)
        ]
    if answered.logits is not None:
        figures |= _crossed_labels(ground, answered.logits[:, 0].astype(np.float64))
    return figures


def _by_trait(cases: Cases, overlap: Overlap, names: list[str]) -> Figures:
    return {
        f"{trait}: {value}": mask_figures(overlap.take(column[overlap.series] == value), cases, names)
        for trait, column in cases.traits.items()
        for value in np.unique(column[overlap.series]).tolist()
        if value
    }


def _crossed_labels(ground: Ground, logits: NDArray[np.float64]) -> Figures:
    """Return figures by slice and by series; temperature and threshold of a fold come from the others."""
    table, folds, used = ground.table, ground.folds, used_folds(ground.table["folds"], ground.folds)
    series, truth = ground.gridded.series[ground.rows], ground.gridded.present[ground.rows, 0]
    scores = Scores(truth, logits, series, table["ship"].get("pool", "max"))
    by_fold = {
        fold: operating_point(told_by_others(table, ground.cases, scores, folds, fold), table["operating_point"])
        for fold in used
    }
    points = {int(one): by_fold[int(folds[one])] for one in np.unique(series)}
    figures = score_figures(scores, points, ground.cases.patient)
    fixed = np.array([points[int(one)] for one in series])
    probability = calibrated(logits, fixed[:, 0])
    figures["operating"] = {"slices": operating(truth, probability, probability >= fixed[:, 1])}
    figures["by fold"] = [
        score_figures(scores.take(np.flatnonzero(folds == fold)), points, ground.cases.patient)["slices"]
        for fold in used
    ]
    return figures


def told_by_others(table: Mapping[str, Any], cases: Cases, scores: Scores, folds: Rows, fold: int) -> Scores:
    """Return what the other networks say of a fold's training patients, who fix its temperature and threshold.

    Less those who were asked when it stops.
    """
    asked = Plan.from_table(table["train"]).asked(owners(cases, table["folds"]), fold)
    return scores.take(np.flatnonzero((folds != fold) & ~asked))


def _build_figures(
    table: Mapping[str, Any], cases: Cases, gridded: Gridded, model: Model, found: Answers, rows: Rows
) -> Figures:
    figures: Figures = {}
    if found.masks is not None:
        overlap = measure_answers(found, cases, gridded, rows, table, bool(table.get("whole")))
        figures["masks"] = mask_figures(overlap, cases, names_of(table))
    if found.logits is not None:
        logits, series = found.logits[:, 0].astype(np.float64), gridded.series[rows]
        scores = Scores(gridded.present[rows, 0], logits, series, table["ship"].get("pool", "max"))
        point = (model.temperature, model.labels[0].threshold)
        figures |= score_figures(scores, dict.fromkeys(np.unique(series).tolist(), point), cases.patient)
    return figures


def _rivals(ground: Ground, answered: Answers) -> Figures:
    figures: Figures = {}
    table = ground.table
    for rival in table["rivals"]:
        if rival == "threshold":
            ours = ground.overlap(answered)
            for bound in BOUNDS_HU:
                figures[f"threshold at {bound:g} HU with morphology"] = _against_threshold(ground, ours, bound)
        elif rival == "labels":
            figures |= _label_rivals(ground)
        else:
            made = DRAWN[rival](ground.gridded, ground.folds, labels_of(table)).take(ground.rows)
            figures[rival] = {"masks": mask_figures(ground.overlap(made), ground.cases, names_of(table))}
    return figures


def _against_threshold(ground: Ground, ours: Overlap, bound: float) -> Figures:
    """Return the figures of the threshold method, and how much better the network is, in each subgroup."""
    cases = ground.cases

    def drawn(one: int) -> Mask:
        return np.stack([threshold_lungs(slice_, bound) for slice_ in cases.images[one]])[None]

    theirs, names = measure_masks(cases, ours.series, drawn, False), names_of(ground.table)
    return {
        "masks": mask_figures(theirs, cases, names),
        "masks by trait": _by_trait(cases, theirs, names),
        "ours minus theirs": paired(ours, theirs, cases),
        "ours minus theirs by trait": {
            f"{trait}: {value}": paired(ours.take(of == value), theirs.take(of == value), cases)
            for trait, of in ((trait, column[ours.series]) for trait, column in cases.traits.items())
            for value in np.unique(of).tolist()
            if value
        },
    }


def _label_rivals(ground: Ground) -> Figures:
    """Return accuracy, balanced accuracy and AUROC by slice of the rivals that never learn what is ill."""
    rows, truth = ground.rows, ground.gridded.present[ground.rows, 0]
    nearest = nearest_label(ground.gridded, ground.folds)[rows]
    linear = ridge_scores(ground.gridded, ground.folds)[rows]

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
