"""Architectures side by side: the same images, equally often, then figures, size, operations and time of each."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wetread.infer import engine
from wetread.lab import zoo
from wetread.lab.courses import read_cases
from wetread.lab.crossed import OUTPUTS, answers, fold_folder, tensors, train_folds
from wetread.lab.data import Films, held_back, kermany
from wetread.lab.export import export_onnx
from wetread.lab.folder import engines_for
from wetread.lab.plan import recipe_of
from wetread.lab.pneumonia import pneumonia_course
from wetread.lab.predict import Predictor, built, eager, lung_boxes, predict_logits
from wetread.lab.quantize import quantize_onnx
from wetread.lab.samples import exact
from wetread.lab.train import Plan, fit
from wetread.lab.verdicts import mask_figures, measure_answers
from wetread.lab.weights import load_weights, save_weights
from wetread.measures import accuracy, auroc, bootstrap_interval, threshold_at_sensitivity
from wetread.records import Box, Recipe, Tensor

__all__ = ["COMPARISONS", "compare_architectures"]

Figures = dict[str, Any]
Table = dict[str, Any]
COMPARISONS = ("cardiac", "kermany")
CALIBRATION, ROUNDS = 192, 60
#: The model whose masks bound the region of the classifiers.
SEGMENTER = "cxr-lungs"


def compare_architectures(table: Table, data: Path, out: Path) -> Figures:
    """Train each architecture of a comparison, and measure it.

    Parameters
    ----------
    table
        A recipe with several ``[[architecture]]`` tables instead of a ``[model]``.
    data
        Folder that holds ``xray/`` and ``mri/``.
    out
        Run folder; the comparison on films needs the weights of cxr-lungs there.

    Returns
    -------
    Title, what was shown, the engine, and of each architecture its parameters, GMAC, the
    figures of its fp32 and int8 builds, and their milliseconds.
    """
    task = Series(table, data, out) if "folds" in table else Chests(table, data, out)
    kind = engines_for("fp32")[0]
    rows, files = [], {}
    for one in table["architecture"]:
        Console(stderr=True).print(f"{table['id']}: {one['name']}")
        own = table | {"id": f"{table['id']}-{one['name'].lower()}", "model": one["model"]}
        network = task.train(own)
        builds = _builds(own, network, task.samples(own), out / own["id"])
        figures = {precision: task.figures(own, built(path, precision, kind)) for precision, path in builds.items()}
        loss = [float(epoch["loss"]) for epoch in json.loads(task.history(own).read_text(encoding="utf-8"))]
        told = {"name": one["name"], "model": one["model"], **_size(network, own), "loss": loss}
        rows.append(told | {"builds": figures})
        files[one["name"]] = builds
    for row, times in zip(rows, _times(files, recipe_of(table["recipe"]), kind), strict=True):
        for precision, ms in times.items():
            row["builds"][precision]["ms"] = ms
    shown = {"epochs": table["train"]["epochs"], "samples_an_epoch": task.shown}
    return {"title": table["title"], "metric": task.metric, "engine": kind, "shown": shown, "architectures": rows}


@dataclass
class Series:
    """Masks on slices of the fold that no network saw."""

    table: Table
    data: Path
    out: Path
    metric = "Dice"

    def __post_init__(self) -> None:
        """Read the cases once for all architectures."""
        self.cases, self.gridded, folds = read_cases(
            self.table | {"model": self.table["architecture"][0]["model"]}, self.data
        )
        aside = folds[self.gridded.series] == int(self.table["ship"]["fold"])
        self.rows, self.others = np.flatnonzero(aside), np.flatnonzero(~aside)
        self.shown = len(self.others)
        self.recipe = recipe_of(self.table["recipe"])

    def train(self, own: Table) -> nn.Module:
        """Train the network of one architecture, or go on where it stood."""
        fold = int(own["ship"]["fold"])
        train_folds(own, self.data, self.out, fold=fold)
        return load_weights(fold_folder(self.out, own["id"], fold) / "weights.pt")[1]

    def history(self, own: Table) -> Path:
        """Return where the loss of each epoch is kept."""
        return fold_folder(self.out, own["id"], int(own["ship"]["fold"])) / "history.json"

    def samples(self, own: Table) -> list[Tensor]:
        """Return inputs that fix the ranges of int8, of patients in training."""
        rows = np.random.default_rng(0).choice(self.others, min(CALIBRATION, len(self.others)), replace=False)
        return [tensors(self.gridded, rows[at : at + 1], self.recipe) for at in range(len(rows))]

    def figures(self, own: Table, predictor: Predictor) -> Figures:
        """Return the mean Dice over the labels, by patient."""
        answered = answers(predictor, self.gridded, self.rows, self.recipe, own["task"])
        overlap = measure_answers(answered, self.cases, self.gridded, self.rows, False)
        return {"Dice": mask_figures(overlap, self.cases, list(own["labels"]))["mean dice"]}


@dataclass
class Chests:
    """Pneumonia on the test split of the children's films."""

    table: Table
    data: Path
    out: Path
    metric = "accuracy"

    def __post_init__(self) -> None:
        """Find the lungs once for all architectures."""
        self.recipe = recipe_of(self.table["recipe"])
        self.films: Films = kermany(self.data, self.out / "cache")
        lungs, segmenter = load_weights(self.out / SEGMENTER / "weights.pt")
        self.segmenter, self.lungs = eager(segmenter), recipe_of(lungs["recipe"])
        found, _, _ = lung_boxes(self.segmenter, self.lungs, self.films, self.recipe.region_margin, self.out / "cache")
        self.boxes = found
        plan = Plan(**self.table["train"])
        aside, split = held_back(self.films.patient, plan.held_back, plan.seed), self.films.split
        self.aside, self.test = np.flatnonzero((split == "train") & aside), np.flatnonzero(split == "test")
        self.rows = np.flatnonzero((split == "train") & ~aside)
        self.shown = len(self.rows)

    def train(self, own: Table) -> nn.Module:
        """Train the network of one architecture, or go on where it stood."""
        course = pneumonia_course(own, self.segmenter, self.lungs, self.data, self.out / "cache")
        torch.manual_seed(int(own["train"]["seed"]))
        state = fit(zoo.build(own["model"]), course, Plan(**own["train"]), self.out / own["id"])
        save_weights(self.out / own["id"] / "weights.pt", own, state.average)
        return state.average

    def history(self, own: Table) -> Path:
        """Return where the loss of each epoch is kept."""
        return Path(self.out / own["id"] / "history.json")

    def samples(self, own: Table) -> list[Tensor]:
        """Return inputs that fix the ranges of int8, of films in training."""
        rows = np.random.default_rng(0).choice(self.rows, min(CALIBRATION, len(self.rows)), replace=False)
        return [exact(self.films, int(row), self.recipe, self._box(int(row))) for row in rows]

    def _box(self, row: int) -> Box:
        return Box(*(int(edge) for edge in self.boxes[row]))

    def figures(self, own: Table, predictor: Predictor) -> Figures:
        """Return accuracy at the threshold that the held-back patients fix, and the area under the curve."""
        aside, test = (
            predict_logits(predictor, self.films, rows, self.boxes, self.recipe) for rows in (self.aside, self.test)
        )
        bound = threshold_at_sensitivity(self.films.label[self.aside], aside, own["ship"]["sensitivity"])
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
    outputs = OUTPUTS[own["task"]]
    parent = export_onnx(network, recipe_of(own["recipe"]), outputs, folder / "fp32.onnx")
    transformer = own["model"].get("depth", 0) > 0
    return {"fp32": parent, "int8": quantize_onnx(parent, samples, folder / "int8.onnx", transformer=transformer)}


def _size(network: nn.Module, own: Table) -> Figures:
    """Return parameters, and 10^9 multiply-accumulates an image, of products and convolutions alone."""
    recipe = recipe_of(own["recipe"])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, recipe.channels, *recipe.grid))
    parameters = sum(weight.numel() for weight in network.parameters())
    return {"parameters": parameters, "gmac": counter.get_total_flops() / 2e9}


def _times(files: Mapping[str, Mapping[str, Path]], recipe: Recipe, kind: str) -> list[dict[str, float]]:
    """Return the median milliseconds of one image on one thread; the builds take turns."""
    image = np.random.default_rng(0).standard_normal((1, recipe.channels, *recipe.grid), np.float32)
    loaded = [
        {precision: engine.loader(kind)(path.read_bytes(), precision, 1, None) for precision, path in builds.items()}
        for builds in files.values()
    ]
    taken: list[dict[str, list[float]]] = [{precision: [] for precision in builds} for builds in loaded]
    for _ in range(ROUNDS):
        for engines, times in zip(loaded, taken, strict=True):
            for precision, one in engines.items():
                start = time.perf_counter()
                one.run(image)
                times[precision].append((time.perf_counter() - start) * 1e3)
    return [{precision: statistics.median(values[5:]) for precision, values in one.items()} for one in taken]
