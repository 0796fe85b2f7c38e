"""What `wetread lab` can do, as plain functions; a run folder holds one folder a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wetread.infer import read
from wetread.lab import zoo
from wetread.lab.card import card
from wetread.lab.evaluate import Figures, evaluate_lungs, evaluate_pneumonia
from wetread.lab.gate import make_gate
from wetread.lab.lungs import lung_course
from wetread.lab.plan import load_plan, recipe_of
from wetread.lab.pneumonia import pneumonia_course
from wetread.lab.predict import eager
from wetread.lab.prune import cut, distil
from wetread.lab.ship import certify, export, quantize
from wetread.lab.train import Course, Plan, fit
from wetread.lab.weights import load_weights, save_weights

__all__ = ["certify", "evaluate", "export", "gate", "prune", "quantize", "train"]

#: The model whose masks bound the region of the classifiers.
SEGMENTER = "cxr-lungs"


def train(recipe: str | Path, data: Path, out: Path, *, resume: bool = True, epochs: int | None = None) -> Path:
    """Train a model by its recipe; killed, it goes on where it stood.

    Parameters
    ----------
    recipe
        Name of a recipe that ships, or a TOML file.
    data
        Folder that holds ``xray/``.
    out
        Run folder: ``<id>/checkpoint.pt``, ``history.json``, ``curves.png``, ``weights.pt``.
    epochs
        Instead of the recipe's number.

    Returns
    -------
    The weights' file.

    Raises
    ------
    BadInput
        The recipe or the data is not there, or a classifier is trained before cxr-lungs.
    """
    table = load_plan(recipe)
    if epochs is not None:
        table["train"]["epochs"] = epochs
    folder = out / str(table["id"])
    state = fit(zoo.build(table["model"]), _course(table, data, out), Plan(**table["train"]), folder, resume=resume)
    save_weights(folder / "weights.pt", table, state.average)
    return folder / "weights.pt"


def prune(model: str, data: Path, out: Path, *, resume: bool = True) -> Path:
    """Cut channels from a trained model and let it learn from its parent, by the recipe's ``[prune]`` table.

    Returns
    -------
    The weights' file of the pruned model.

    Raises
    ------
    BadInput
        The model was not trained in this run folder.
    """
    folder = out / model
    table, parent = load_weights(folder / "weights.pt")
    # The recipe at hand says how to prune; the weights say how they were trained.
    settings = dict(load_plan(model)["prune"])
    child = cut(parent, recipe_of(table["recipe"]), float(settings.pop("ratio")))
    plan = Plan(**(table["train"] | settings))
    state = fit(child, distil(_course(table, data, out), parent), plan, folder / "pruned", resume=resume)
    save_weights(folder / "weights-pruned.pt", table, state.average)
    return folder / "weights-pruned.pt"


def gate(model: str, data: Path, out: Path, models: Path, evidence: Path) -> dict[str, Any]:
    """Fix the gate of a model that ships and write what it catches: see `wetread.lab.gate.make_gate`."""
    return make_gate(model, data, out, models, evidence)


def evaluate(model: str, data: Path, out: Path, models: Path) -> Figures:
    """Compute every figure of a model that ships and write its ``card.md``.

    Parameters
    ----------
    out
        Run folder: only its cache of decoded films is used.
    models
        Folder of model folders.

    Returns
    -------
    The figures.
    """
    declared, cache = read(models / model), out / "cache"
    if declared.task == "segmentation":
        figures = evaluate_lungs(declared, data, cache)
    else:
        figures = evaluate_pneumonia(declared, models, data, cache)
    certificate = json.loads((models / model / "certificate.json").read_text(encoding="utf-8"))
    told = card(declared, figures, certificate, str(load_plan(model)["remarks"]))
    (models / model / "card.md").write_text(told, encoding="utf-8")
    return figures


def _course(table: Mapping[str, Any], data: Path, out: Path) -> Course:
    cache = out / "cache"
    if table["task"] == "segmentation":
        return lung_course(table, data, cache)
    lungs, segmenter = load_weights(out / SEGMENTER / "weights.pt")
    return pneumonia_course(table, eager(segmenter), recipe_of(lungs["recipe"]), data, cache)
