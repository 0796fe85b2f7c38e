"""From weights to certified builds of models that read films: quantize, certify."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread.infer import calibrated
from wetread.lab.builds import float_builds, int8_builds, judged_builds
from wetread.lab.certify import (
    PARENT,
    boxes_of,
    document,
    film_scores,
    fit_temperature,
    network,
    shipped_boxes,
    standing,
    verdict,
)
from wetread.lab.crossed import OUTPUTS
from wetread.lab.data import Films, hannover, held_back, kermany, nih
from wetread.lab.folder import PRECISION, REFERENCE, engines_for, passing, write_folder
from wetread.lab.plan import recipe_of
from wetread.lab.points import rule_words, threshold_by
from wetread.lab.predict import Predictor, built, eager, predict_logits, predict_shares
from wetread.lab.samples import exact
from wetread.lab.subgroups import Paired
from wetread.lab.train import Plan
from wetread.lab.weights import load_weights
from wetread.measures import auroc, sensitivity, specificity
from wetread.records import Box, Tensor

__all__ = ["certify", "quantize"]

CALIBRATION_FILMS = 320


def quantize(plan: Mapping[str, Any], data: Path, out: Path, models: Path, aware: bool = False) -> dict[str, Path]:
    """Write the int8 build of each float build, calibrated on films of the training split.

    Raises
    ------
    BadInput
        The model was not exported, or a classifier comes before cxr-lungs has shipped.
    """
    float_builds(plan, out)
    table, _ = load_weights(out / str(plan["id"]) / "weights.pt")
    recipe, films = recipe_of(table["recipe"]), kermany(data, out / "cache")
    rows = np.flatnonzero((films.split == "train") & ~_aside(table, films))
    rows = np.random.default_rng(0).choice(rows, CALIBRATION_FILMS, replace=False)
    boxes: list[Box | None] = [None] * len(films)
    if recipe.region == "lungs":
        found, _, _ = shipped_boxes(models, films, recipe, out / "cache")
        boxes = [Box(*(int(edge) for edge in box)) for box in found]
    samples: list[Tensor] = [exact(films, int(row), recipe, boxes[row]) for row in rows]
    return int8_builds({**table, "quantize": plan.get("quantize", {})}, out, samples, aware)


def certify(plan: Mapping[str, Any], data: Path, out: Path, models: Path) -> dict[str, Any]:
    """Compare each build with the trained network and write the folder of those that pass.

    On the test split and on the site outside, on every engine that runs the build's
    precision here: a build that fails once does not ship.

    Threshold and temperature are fixed here, on held-back training patients and the
    fp32 build, by the rule in the recipe's ``[ship]`` table.

    Returns
    -------
    The certificate, also of the builds that did not pass and do not ship.
    """
    model = str(plan["id"])
    table, trained = load_weights(out / model / "weights.pt")
    parent = eager(trained, OUTPUTS[table["task"]], bf16=False)
    table["ship"] = plan["ship"]
    files = judged_builds(table, out)
    films = kermany(data, out / "cache")
    operating: dict[str, Any] = {}
    if table["task"] == "classification":
        score = _scorer(table, films, models, out / "cache")
        aside = np.flatnonzero((films.split == "train") & _aside(table, films))
        found = score(built(files[PARENT], PRECISION[PARENT], REFERENCE), aside)
        operating = _operating_point(table["ship"], plan["operating_point"], films.label[aside], found)
        table["ship"] |= _map_bound(table, films, aside[films.label[aside] == 1], files[PARENT], models, out / "cache")
    sites = _sites(table["task"], films, data, out / "cache")
    verdicts = [row for site in sites for row in _verdicts(table, parent, files, site, models, out / "cache")]
    verdicts += standing(models / model, files, verdicts)
    notes = operating | boxes_of(models, recipe_of(table["recipe"]))
    certificate = document(model, network(parent, table), [name for name, _, _ in sites], verdicts, notes)
    write_folder(models / model, table, passing(files, verdicts), certificate)
    return certificate


#: Name, films and the rows of them that count.
Site = tuple[str, Films, NDArray[np.int64]]


def _sites(task: str, inside: Films, data: Path, cache: Path) -> list[Site]:
    if task == "segmentation":
        outside, name, usable = hannover(data, cache), "xray/hannover_lungs", inside.masked()
    else:
        outside, name, usable = nih(data, cache), "xray/nih_pneumonia", np.ones(len(inside), bool)
    test = np.flatnonzero((inside.split == "test") & usable)
    return [("xray/kermany, test split", inside, test), (name, outside, np.arange(len(outside)))]


def _verdicts(
    table: Mapping[str, Any], parent: Predictor, files: Mapping[str, Path], site: Site, models: Path, cache: Path
) -> list[dict[str, Any]]:
    """Compare every build on every engine with the trained network on one site."""
    where, films, rows = site
    score = _scorer(table, films, models, cache)
    metric, margin = table["ship"]["metric"], float(table["ship"]["margin"])
    truth, patient = films.label[rows], films.patient[rows]
    wanted = score(parent, rows)
    traits = {name: column[rows] for name, column in films.traits.items()}
    meant = films.meant(table["ship"].get("intended", {}).get("age_years"))[rows]
    verdicts = []
    for name, path in files.items():
        for kind in engines_for(PRECISION[name]):
            found = score(built(path, PRECISION[name], kind), rows)
            paired = Paired(metric, truth, wanted, found, patient, traits, meant)
            verdicts.append({"data": where, **verdict(name, kind, path, paired, margin)})
    return verdicts


#: What answers, rows -> one score a film.
Score = Callable[[Predictor, NDArray[np.int64]], NDArray[np.float64]]


def _scorer(table: Mapping[str, Any], films: Films, models: Path, cache: Path) -> Score:
    recipe = recipe_of(table["recipe"])
    if table["task"] == "segmentation":
        return lambda predictor, rows: film_scores(predictor, films, rows, recipe)
    boxes, _, _ = shipped_boxes(models, films, recipe, cache)
    return lambda predictor, rows: predict_logits(predictor, films, rows, boxes, recipe)


def _operating_point(
    ship: dict[str, Any], rule: Mapping[str, float], truth: NDArray[np.int64], logits: NDArray[np.float64]
) -> dict[str, Any]:
    """Fix temperature and threshold in ``[ship]``, and return what was fixed."""
    ship["temperature"] = round(fit_temperature(truth, logits), 4)
    probability = calibrated(logits, ship["temperature"])
    threshold = np.floor(threshold_by(rule, truth, probability) * 1e4) / 1e4
    label = ship["label"][0]
    label["threshold"] = float(threshold)
    label["threshold_rule"] = f"{rule_words(rule)} on {len(truth)} films of held-back training patients, fp32 build"
    present = probability >= threshold
    return {
        "held_back": {
            "n": len(truth),
            "auc": auroc(truth, logits),
            "sensitivity": sensitivity(truth, present),
            "specificity": specificity(truth, present),
            "threshold": label["threshold"],
            "temperature": ship["temperature"],
        }
    }


def _map_bound(
    table: Mapping[str, Any], films: Films, positive: NDArray[np.int64], parent: Path, models: Path, cache: Path
) -> dict[str, Any]:
    """Fix below which share of its map inside the lungs an explanation is not trustworthy."""
    recipe = recipe_of(table["recipe"])
    boxes, lungs, _ = shipped_boxes(models, films, recipe, cache)
    predictor = built(parent, PRECISION[PARENT], REFERENCE)
    shares, _ = predict_shares(predictor, films, positive, boxes, lungs, recipe)
    return {
        "map_bound": float(np.floor(1e3 * np.percentile(shares, 5)) / 1e3),
        "map_bound_rule": "the 5th percentile of the share inside the lungs on "
        f"{len(positive)} films with the finding, of held-back training patients, fp32 build",
    }


def _aside(table: Mapping[str, Any], films: Films) -> NDArray[np.bool_]:
    plan = Plan.from_table(table["train"])
    return held_back(films.patient, plan.held_back, plan.seed)
