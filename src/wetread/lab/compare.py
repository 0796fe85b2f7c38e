"""Architectures side by side: the same images, equally often, then figures, size, operations and time of each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wetread.infer import engine
from wetread.lab import zoo
from wetread.lab.builds import attends
from wetread.lab.certify import shipped_segmenter
from wetread.lab.courses import read_cases, series_course
from wetread.lab.crossed import OUTPUTS, answers, calibration
from wetread.lab.data import Films, held_back, kermany
from wetread.lab.export import export_onnx
from wetread.lab.folder import engines_for, golden_input
from wetread.lab.plan import digest_of, recipe_of
from wetread.lab.pneumonia import pneumonia_course
from wetread.lab.points import threshold_by
from wetread.lab.predict import Predictor, built, eager, lung_boxes, predict_logits
from wetread.lab.quantize import quantize_onnx
from wetread.lab.samples import exact
from wetread.lab.sweep import in_turn
from wetread.lab.train import Course, Plan, State, fit
from wetread.lab.verdicts import mask_figures, measure_answers
from wetread.measures import accuracy, auroc, bootstrap_interval
from wetread.records import Box, Recipe, Tensor

__all__ = ["COMPARISONS", "compare_architectures"]

Figures = dict[str, Any]
Table = dict[str, Any]
COMPARISONS = ("cardiac", "kermany")
CALIBRATION = 192


def compare_architectures(
    tables: Mapping[str, Table], data: Path, out: Path, models: Path, *, resume: bool = True
) -> dict[str, Figures]:
    """Train each architecture of some comparisons, and measure it.

    All are trained before the first engine with threads is opened: a process that makes samples is forked,
    and dies of them.

    Parameters
    ----------
    tables
        By name, recipes with several ``[[architecture]]`` tables instead of a ``[model]``.
    data
        Folder that holds ``xray/`` and ``mri/``.
    out
        Run folder.
    models
        Folder of models that ship; the comparison on films takes the lungs that its cxr-lungs finds.
    resume
        Go on from the checkpoints that there are.

    Returns
    -------
    By name title, remarks, what was shown, the engine, and of each architecture its parameters, GMAC, its
    learning rate and the tries for it, the loss of each epoch, the figures of its fp32 and int8 builds,
    and their milliseconds.
    """
    tasks = {
        name: Series(table, data) if "folds" in table else Chests(table, data, out, models)
        for name, table in tables.items()
    }
    trained = {name: [_train(own, task, out, resume) for own in _owns(task.table)] for name, task in tasks.items()}
    return {name: _measure(task, trained[name], out) for name, task in tasks.items()}


def _owns(table: Table) -> list[Table]:
    """Return the recipe of each architecture."""
    return [
        table | {"id": f"{table['id']}-{one['name'].lower()}", "model": one["model"]} for one in table["architecture"]
    ]


@dataclass(frozen=True, slots=True)
class Trained:
    """One architecture at its own learning rate."""

    state: State
    tries: Figures  # learning rate -> Dice or area under the curve of its try on held-back patients
    learning_rate: float


def _train(own: Table, task: Series | Chests, out: Path, resume: bool) -> Trained:
    """Try each learning rate of ``[search]`` shortly, and train at the one that is best on held-back patients."""
    plan, search = Plan.from_table(own["train"]), own["search"]

    def trained(course: Course, rate: float, epochs: int, name: str) -> State:
        torch.manual_seed(plan.seed)
        here = replace(plan, learning_rate=rate, epochs=epochs)
        folder = out / own["id"] / name
        return fit(zoo.build(own["model"]), course, here, folder, learnt_by=digest_of(own), resume=resume)

    course = task.course(own, for_try=True)
    tries = {rate: trained(course, rate, search["epochs"], f"try-{rate:g}") for rate in search["learning_rates"]}
    reached = {rate: task.reached(eager(state.average)) for rate, state in tries.items()}
    best = max(reached, key=lambda rate: reached[rate])
    whole = trained(task.course(own), best, plan.epochs, "whole")
    return Trained(whole, {f"{rate:g}": figure for rate, figure in reached.items()}, best)


def _measure(task: Series | Chests, trained: Sequence[Trained], out: Path) -> Figures:
    table, kind = task.table, engines_for("fp32")[0]
    rows, engines = [], {}
    for one, own, mine in zip(table["architecture"], _owns(table), trained, strict=True):
        state = mine.state
        told = {"name": one["name"], "model": one["model"], **_size(state.average, task.recipe)}
        told |= {"loss": [epoch["loss"] for epoch in state.history], "builds": {}}
        told |= {"learning_rate": mine.learning_rate, "tries": mine.tries}
        for precision, path in _builds(own, state.average, task.samples(), out / own["id"]).items():
            told["builds"][precision] = task.figures(built(path, precision, kind))
            engines[one["name"], precision] = engine.loader(kind)(path.read_bytes(), precision, 1, None)
        rows.append(told)
    times = in_turn(engines, golden_input(task.recipe))
    for row in rows:
        for precision, figures in row["builds"].items():
            figures["ms"] = statistics.median(times[row["name"], precision])
    shown = {
        "epochs": table["train"]["epochs"],
        "samples_an_epoch": task.shown,
        "epochs_a_try": table["search"]["epochs"],
    }
    about = {"title": table["title"], "remarks": table.get("remarks", "").strip()}
    return {**about, "metric": task.metric, "engine": kind, "shown": shown, "architectures": rows}


@dataclass
class Series:
    """Masks on slices of the fold that no network saw."""

    table: Table
    data: Path
    metric = "Dice"

    def __post_init__(self) -> None:
        """Read the cases once for all architectures."""
        first = self.table["architecture"][0]["model"]
        self.cases, self.gridded, self.folds = read_cases(self.table | {"model": first}, self.data)
        of, fold = self.folds[self.gridded.series], int(self.table["ship"]["fold"])
        self.rows, self.others = np.flatnonzero(of == fold), np.flatnonzero(of != fold)
        self.held_back = int(self.table["search"]["fold"])
        self.checked = np.flatnonzero(of == self.held_back)
        self.shown = len(self.others)
        self.recipe = recipe_of(self.table["recipe"])

    def course(self, own: Table, for_try: bool = False) -> Course:
        """Return what one architecture is trained on; in a try without the fold that judges it."""
        course = series_course(own, self.cases, self.gridded, self.folds, int(own["ship"]["fold"]))
        if not for_try:
            return course
        of = self.folds[self.gridded.series][course.rows % len(self.gridded)]
        return replace(course, rows=course.rows[of != self.held_back])

    def reached(self, predictor: Predictor) -> float:
        """Return the mean Dice over the labels in the fold that judges a try."""
        return float(self._dice(predictor, self.checked)["value"])

    def samples(self) -> list[Tensor]:
        """Return inputs that fix the ranges of int8, of patients in training."""
        return calibration(self.gridded, self.others, self.recipe, CALIBRATION)

    def figures(self, predictor: Predictor) -> Figures:
        """Return the mean Dice over the labels, by patient."""
        return {"Dice": self._dice(predictor, self.rows)}

    def _dice(self, predictor: Predictor, rows: NDArray[np.int64]) -> Figures:
        answered = answers(predictor, self.gridded, rows, self.recipe, self.table["task"])
        overlap = measure_answers(answered, self.cases, self.gridded, rows, self.table)
        return mask_figures(overlap, self.cases, list(self.table["labels"]))["mean dice"]  # type: ignore[no-any-return]


@dataclass
class Chests:
    """Pneumonia on the test split of the children's films."""

    table: Table
    data: Path
    out: Path
    models: Path
    metric = "accuracy"

    def __post_init__(self) -> None:
        """Find the lungs once for all architectures."""
        self.recipe, cache = recipe_of(self.table["recipe"]), self.out / "cache"
        self.films: Films = kermany(self.data, cache)
        model, predictor = shipped_segmenter(self.models, forked=True)
        self.segmenter = predictor, model.recipe
        self.boxes, _, _ = lung_boxes(*self.segmenter, self.films, self.recipe.region_margin, cache)
        plan = Plan.from_table(self.table["train"])
        aside, split = held_back(self.films.patient, plan.held_back, plan.seed), self.films.split
        self.aside, self.test = np.flatnonzero((split == "train") & aside), np.flatnonzero(split == "test")
        self.rows = np.flatnonzero((split == "train") & ~aside)
        self.shown = len(self.rows)

    def course(self, own: Table, for_try: bool = False) -> Course:
        """Return what one architecture is trained on: never the held-back patients."""
        return pneumonia_course(own, *self.segmenter, self.data, self.out / "cache")

    def reached(self, predictor: Predictor) -> float:
        """Return the area under the curve on the held-back patients."""
        found = predict_logits(predictor, self.films, self.aside, self.boxes, self.recipe)
        return auroc(self.films.label[self.aside], found)

    def samples(self) -> list[Tensor]:
        """Return inputs that fix the ranges of int8, of films in training."""
        rows = np.random.default_rng(0).choice(self.rows, min(CALIBRATION, len(self.rows)), replace=False)
        boxes = [Box(*(int(edge) for edge in self.boxes[row])) for row in rows]
        return [exact(self.films, int(row), self.recipe, box) for row, box in zip(rows, boxes, strict=True)]

    def figures(self, predictor: Predictor) -> Figures:
        """Return accuracy at the threshold that the held-back patients fix, and the area under the curve."""
        aside, test = (
            predict_logits(predictor, self.films, rows, self.boxes, self.recipe) for rows in (self.aside, self.test)
        )
        bound = threshold_by(self.table["operating_point"], self.films.label[self.aside], aside)
        truth, patient = self.films.label[self.test], self.films.patient[self.test]
        columns: Mapping[str, tuple[Any, NDArray[Any]]] = {
            "accuracy": (accuracy, test >= bound),
            "AUC": (auroc, test),
        }
        return {
            name: asdict(bootstrap_interval(figure, (truth, column), patient))
            for name, (figure, column) in columns.items()
        }


def _builds(own: Table, network: nn.Module, samples: list[Tensor], folder: Path) -> dict[str, Path]:
    parent = export_onnx(network, recipe_of(own["recipe"]), OUTPUTS[own["task"]], folder / "fp32.onnx")
    small = quantize_onnx(parent, samples, folder / "int8.onnx", transformer=attends(own["model"]))
    return {"fp32": parent, "int8": small}


def _size(network: nn.Module, recipe: Recipe) -> Figures:
    """Return parameters, and 10^9 multiply-accumulates an image, of products and convolutions alone."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, recipe.channels, *recipe.grid))
    parameters = sum(weight.numel() for weight in network.parameters())
    return {"parameters": parameters, "gmac": counter.get_total_flops() / 2e9}
