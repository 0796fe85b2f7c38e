"""Every figure of a card: the builds that ship, the site outside, the trivial rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.infer import Build, Model, calibrated
from wetread.lab.baselines import lung_baselines, pneumonia_baselines
from wetread.lab.certify import PARENT, boxes_of, shipped_boxes
from wetread.lab.data import Films, hannover, held_back, kermany, nih
from wetread.lab.folder import engines_for, runnable
from wetread.lab.lungs import film_dice
from wetread.lab.predict import Predictor, built, predict_logits, predict_lungs, predict_shares
from wetread.lab.roc import operating
from wetread.lab.train import Plan
from wetread.measures import (
    accuracy,
    auroc,
    bootstrap_interval,
    calibration_error,
    hausdorff95,
    sensitivity,
    specificity,
)
from wetread.prepare import back_mask, letterbox
from wetread.records import Tensor

__all__ = ["evaluate_lungs", "evaluate_pneumonia"]

Figures = dict[str, Any]
Rows = NDArray[np.int64]


def evaluate_lungs(model: Model, data: Path, cache: Path) -> Figures:
    """Return Dice and Hausdorff distance of each build on the test films and on Hannover's."""
    inside, outside = kermany(data, cache), hannover(data, cache)
    masked = inside.masked()
    test = np.flatnonzero((inside.split == "test") & masked)
    train = np.flatnonzero((inside.split == "train") & masked)
    builds = {
        build.name: {
            "kermany test": _overlap(model, build, inside, test),
            "hannover": _overlap(model, build, outside, np.arange(len(outside))),
        }
        for build in runnable(model)
    }
    return {"builds": builds, "baselines": lung_baselines(inside, train, test)}


def _overlap(model: Model, build: Build, films: Films, rows: Rows) -> Figures:
    logits = predict_lungs(
        built(build.path, build.precision, engines_for(build.precision)[0]), films, rows, model.recipe
    )
    overlap = np.array([film_dice(one, films, int(row), model.recipe) for one, row in zip(logits, rows, strict=True)])
    surface = np.array([_surface(one, films, int(row), model) for one, row in zip(logits, rows, strict=True)])
    patient = films.patient[rows]
    return {
        "dice": asdict(bootstrap_interval(_mean, (overlap,), patient)),
        "dice_p05": float(np.percentile(overlap, 5)),
        "hd95_percent": asdict(bootstrap_interval(_mean, (surface,), patient)),
        "hd95_percent_median": float(np.median(surface)),
    }


def _surface(logits: Tensor, films: Films, row: int, model: Model) -> float:
    """Return the 95th percentile Hausdorff distance in % of the film's diagonal, with its true aspect."""
    shape = (films.images.shape[1], films.images.shape[2])
    aspect = float(films.aspect[row])
    found = back_mask(logits, letterbox(shape, aspect, model.recipe.grid))
    counted = films.masks[row] != 127
    distance = hausdorff95(found & counted, films.masks[row] == 255, (aspect, 1.0))
    diagonal = float(np.hypot(shape[0] * aspect, shape[1]))
    return min(100.0, 100.0 * distance / diagonal)


def evaluate_pneumonia(model: Model, models: Path, data: Path, cache: Path, plan: Plan) -> Figures:
    """Return discrimination, operating point and calibration of each build, inside and outside.

    Parameters
    ----------
    plan
        How the model was trained: which patients it held back.
    """
    inside, outside = kermany(data, cache), nih(data, cache)
    test, train = np.flatnonzero(inside.split == "test"), np.flatnonzero(inside.split == "train")
    builds: dict[str, Figures] = {build.name: {} for build in runnable(model)}
    refused: dict[str, int] = {}
    looks: dict[str, dict[str, Figures]] = {}
    for name, films, rows in (("kermany test", inside, test), ("nih", outside, np.arange(len(outside)))):
        boxes, lungs, unread = shipped_boxes(models, films, model.recipe, cache)
        refused[name], looks[name] = int(unread[rows].sum()), {}
        for build in runnable(model):
            predictor = built(build.path, build.precision, engines_for(build.precision)[0])
            logits = predict_logits(predictor, films, rows, boxes, model.recipe)
            builds[build.name][name] = _discrimination(model, films, rows, logits)
            looks[name][build.name] = _looks(model, predictor, films, rows, (boxes, lungs), logits)
    aside = np.flatnonzero((inside.split == "train") & held_back(inside.patient, plan.held_back, plan.seed))
    sets = {"held-back patients": (inside, aside), "kermany test": (inside, test)}
    sets["nih"] = (outside, np.arange(len(outside)))
    points = {name: _point(model, models, films, rows, cache) for name, (films, rows) in sets.items()}
    baselines = pneumonia_baselines(inside, train, test)
    told = {"builds": builds, "refused": refused, "looks": looks, "operating": points, "baselines": baselines}
    return told | boxes_of(models, model.recipe)


def _point(model: Model, models: Path, films: Films, rows: Rows, cache: Path) -> Figures:
    """Return where the threshold lies on the curve of the fp32 build."""
    boxes, _, _ = shipped_boxes(models, films, model.recipe, cache)
    build = model.build(PARENT)
    predictor = built(build.path, build.precision, engines_for(build.precision)[0])
    logits = predict_logits(predictor, films, rows, boxes, model.recipe)
    probability = calibrated(logits, model.temperature)
    return operating(films.label[rows], probability, probability >= model.labels[0].threshold)


def _looks(
    model: Model,
    predictor: Predictor,
    films: Films,
    rows: Rows,
    found_in: tuple[NDArray[Any], NDArray[np.uint8]],
    logits: NDArray[np.float64],
) -> Figures:
    """Return where a build looks, and what is left of its answer without the lungs, or with them alone.

    Parameters
    ----------
    found_in
        Of each film the box that the build sees, and the lungs.
    logits
        What it answers.
    """
    boxes, lungs = found_in
    present = calibrated(logits, model.temperature) >= model.labels[0].threshold
    shares, chances = predict_shares(predictor, films, rows, boxes, lungs, model.recipe)
    doubted = shares < np.maximum(chances, model.map_bound)
    found: Figures = {
        "share": float(np.median(shares[present])),
        "chance": float(np.median(chances[present])),
        "doubted": float(doubted[present].mean()),
    }
    for name, hidden in (("lungs alone", lungs == 0), ("without lungs", lungs > 0)):
        blanked = replace(films, images=_blanked(films.images, hidden))
        found[f"auc {name}"] = auroc(films.label[rows], predict_logits(predictor, blanked, rows, boxes, model.recipe))
    return found


def _blanked(images: NDArray[np.uint8], hidden: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Give the hidden pixels of each film (n, y, x) the film's median."""
    grey = np.median(images, axis=(1, 2)).astype(np.uint8)
    return np.where(hidden, grey[:, None, None], images)


def _discrimination(model: Model, films: Films, rows: Rows, logits: NDArray[np.float64]) -> Figures:
    truth, patient = films.label[rows], films.patient[rows]
    probability = calibrated(logits, model.temperature)
    present = probability >= model.labels[0].threshold

    def interval(figure: Callable[..., float], column: NDArray[Any]) -> dict[str, Any]:
        return asdict(bootstrap_interval(figure, (truth, column), patient))

    return {
        "auc": interval(auroc, logits),
        "accuracy": interval(accuracy, present),
        "sensitivity": interval(sensitivity, present),
        "specificity": interval(specificity, present),
        "calibration_error": interval(calibration_error, probability),
        "accuracy_at_half": accuracy(truth, probability >= 0.5),
    }


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())
