"""Recipes and data that cannot be meant end in words, before a network is made."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.lab.series import drawn_cases
from tests.lab.test_own import RECIPE, volumes
from wetread.errors import BadInput
from wetread.lab import commands, zoo
from wetread.lab.cases import fold_of, used_folds
from wetread.lab.courses import rows_digest, series_course
from wetread.lab.crossed import train_folds
from wetread.lab.fits import check_network
from wetread.lab.gridded import lay_cases
from wetread.lab.losses import mask_loss
from wetread.lab.plan import load_plan, recipe_of
from wetread.lab.train import Course, Plan, State, fit

TABLE = RECIPE.format(task="segmentation")


def read(tmp_path: Path, old: str, new: str) -> dict[str, Any]:
    assert old in TABLE
    path = tmp_path / "mine.toml"
    path.write_text(TABLE.replace(old, new))
    return load_plan(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "mr-mine"', 'id = "../../evil"', "id: expected small letters"),
        ('id = "mr-mine"', "id = 7", "id: expected small letters"),
        ('data = "mine/balls"', "data = 5", "data: expected a folder below --data"),
        ('data = "mine/balls"', 'data = "../others"', "data: expected a folder below --data"),
        ('data = "mine/balls"', 'data = "/etc"', "data: expected a folder below --data"),
        ("[model]", '[[model]]\nname = "two"\n[[model]]', r"model: expected a table \[model\]"),
        ("[[ship.label]]", "[ship.label]", r"expected tables \[\[ship.label\]\], each with a name"),
        ('name = "ball"\n', "", r"expected tables \[\[ship.label\]\], each with a name"),
        ("labels = 1", "labels = 2", r"\[model\] labels: expected 1"),
        ("labels = 1", 'labels = "one"', r"\[model\] labels: expected 1"),
        ('version = "1.0.0"\n', "", r"\[ship\]: missing or misnamed key: 'version'"),
        ('summary = "Outlines bright balls."\n', "", r"\[ship\]: expected .* found no summary"),
        ("fold = 0\n", "", r"\[ship\]: expected .* found no fold"),
        ('modality = ["MR"]', 'modality = "MR"', r"\[ship\]: modality: expected a list of texts, got 'MR'"),
        ('meaning = "Neoplasm"\n', "", r"\[ship\]: missing or misnamed key: 'meaning'"),
        ("views = []", 'views = []\norientaton = "axial"', r"\[ship\]: expected id, .*; got orientaton"),
        ("[ship.margins]\ndice = 0.5\n", "", r"\[ship\]: expected .* found no margins"),
        ("dice = 0.5", "auc = 0.5", r"\[ship.margins\]: expected dice of a segmentation, above 0 .* got {'auc': 0.5}"),
        ("dice = 0.5", "dice = -1", r"\[ship.margins\]: expected dice of a segmentation, above 0 .* got {'dice': -1}"),
        ("fold = 0", 'fold = 0\nwithout = ["fp32"]', r"\[ship\] without: expected some of bf16, .*, got \['fp32'\]"),
        ("fold = 0", 'fold = 0\nwithout = "int8"', r"\[ship\] without: expected some of bf16, .*, got 'int8'"),
        ("fold = 0", 'fold = "first"', r"\[ship\] fold: expected the number of a fold"),
        (
            TABLE[TABLE.index("[ship]") :],
            "",
            r"expected a \[\[ship.label\]\] for each label .* found no table \[ship\]",
        ),
        ("[model]", '[[architecture]]\nname = "A"\n[other]', "expected .*, train, model, found no model"),
        ("grid = [32, 32]", "grid = 32", r"\[recipe\] grid: expected numbers"),
        ("grid = [32, 32]", 'grid = ["32", "32"]', r"\[recipe\] grid: expected numbers"),
        ("mean = [0.5]", "mean = 0.5", r"\[recipe\] mean: expected numbers"),
        ("mean = [0.5]", 'window = ["a", "b"]\nmean = [0.5]', r"\[recipe\] window: expected numbers"),
        ("mean = [0.5]", "channels = true\nmean = [0.5]", r"\[recipe\] channels: expected int"),
        ("std = [0.25]", "std = [nan]", r"\[recipe\] std: expected numbers"),
        ("std = [0.25]", "std = [0.0]", r"\[recipe\] std: expected numbers above 0"),
        ("[model]", "[operating_point]\nsensitivity = 90\n[model]", "sensitivity: expected a share above 0"),
        ("[model]", "[operating_point]\nspecificity = 0.9\n[model]", r"\[operating_point\]: expected one of"),
        ("[model]", "[augmnt]\nflip = 0.0\n[model]", "expected some of id, .* augment, .*, got augmnt"),
        ("[model]", 'remarks = ["a"]\n[model]', "remarks: expected a text"),
        ("[model]", 'faults = "none"\n[model]', "faults: expected a list of texts, got 'none'"),
        ("[model]", 'rivals = ["resnet"]\n[model]', "rivals: expected some of threshold, .*, got 'resnet'"),
        ("[model]", 'whole = "no"\n[model]', "whole: expected true or false, got 'no'"),
        ("[model]", 'labels = ["a", "b"]\n[model]', r"labels: expected 1, as \[model\] labels says, got \['a', 'b'\]"),
        ('name = "ball"', "name = 7", r"\[ship\]: label 7: name: expected text, got 7"),
    ],
)
def test_a_recipe_that_cannot_be_meant(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        read(tmp_path, old, new)


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TABLE, encoding="utf-8-sig")
    assert load_plan(path)["id"] == "mr-mine"


@pytest.mark.parametrize(
    ("task", "labels", "rival"), [("classification", 1, "average mask"), ("segmentation", 2, "threshold")]
)
def test_a_rival_that_cannot_be_made_is_refused(tmp_path: Path, task: str, labels: int, rival: str) -> None:
    """It ended the evaluation, after everything was trained."""
    path = tmp_path / "mine.toml"
    told = TABLE.replace("labels = 1", f"labels = {labels}").replace("segmentation", task)
    told = told[: told.index("[[ship.label]]")].replace("[ship]", '[ship]\nwithheld = "a test"')
    path.write_text(f'rivals = ["{rival}"]\n{told}')
    with pytest.raises(BadInput, match=f"rivals: expected some of .* of a {task} of {labels} label.*, got '{rival}'"):
        load_plan(path)


def test_two_labels_of_one_name_are_refused(tmp_path: Path) -> None:
    path, label = tmp_path / "mine.toml", TABLE[TABLE.index("[[ship.label]]") :]
    path.write_text(TABLE.replace("labels = 1", "labels = 2") + label)
    with pytest.raises(BadInput, match="expected a name of its own for each label, got 'ball' twice"):
        load_plan(path)


FILMS = 'data = "xray/kermany"\n[model]'
FOLDS = '[folds]\nby = "patient"\nn = 2\n'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("segmentation", "segmentation+classification", "task: expected one of segmentation, classification of xray"),
        ("segmentation", "classification", "region: expected 'lungs', in which a classification of xray/kermany is"),
        ("[recipe]", '[recipe]\nregion = "lungs"', "region: expected 'image', in which a segmentation of xray/kermany"),
    ],
)
def test_a_recipe_of_films_lays_them_as_a_node_will(tmp_path: Path, old: str, new: str, said: str) -> None:
    told = TABLE.replace('data = "mine/balls"\n[model]', FILMS).replace(FOLDS, "")
    path = tmp_path / "mine.toml"
    path.write_text(told.replace(old, new, 1))
    with pytest.raises(BadInput, match=said):
        load_plan(path)


@pytest.mark.parametrize("task", ["classification", "segmentation+classification"])
def test_a_classifier_of_several_labels_is_not_trained(tmp_path: Path, task: str) -> None:
    """Its threshold and figures would be those of the first."""
    path = tmp_path / "mine.toml"
    path.write_text(TABLE.replace('task = "segmentation"', f'task = "{task}"').replace("labels = 1", "labels = 2"))
    with pytest.raises(BadInput, match=rf"\[model\] labels: expected 1 for a {re.escape(task)}, got 2"):
        load_plan(path)


@pytest.mark.parametrize("widths", [8, ["a"], []])
def test_a_model_that_cannot_be_made(widths: Any) -> None:
    with pytest.raises(BadInput, match=r"\[model\]: expected options that make a unet"):
        zoo.build({"architecture": "unet", "widths": widths})


@pytest.mark.parametrize("wrong", [{"architecture": ["unet"]}, {"architecture": "unet", "prior": "rare"}])
def test_a_model_of_another_type_of_value(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"recipe, \[model\] .*: expected"):
        zoo.build(wrong)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("workers = 0", "workers = -1", r"\[train\] workers: expected 0 or more, got -1"),
        ("workers = 0", "checkpoint_steps = 0", r"\[train\] checkpoint_steps: expected 1 or more, got 0"),
        ("workers = 0", "seed = -1", r"\[train\] seed: expected 0 to .*, got -1"),
        ("workers = 0", "patience = -1", r"\[train\] patience: expected 0 or more"),
        ("workers = 0", "weight_decay = -1.0", r"\[train\] weight_decay: expected 0 or more"),
        ("workers = 0", "ema = nan", r"\[train\] ema: expected 0 to 1, got nan"),
        ("workers = 0", 'device = "gpu"', r"\[train\] device: expected auto, cpu or cuda"),
        ("learning_rate = 1e-3", 'learning_rate = "fast"', r"\[train\] learning_rate: expected float, got 'fast'"),
        ("learning_rate = 1e-3", "learning_rate = inf", r"\[train\]: expected .* a learning_rate above 0"),
        ("[ship]", "[augment]\nrotate_deg = -5.0\n[ship]", r"\[augment\] rotate_deg: expected 0 or more, got -5"),
        ("[ship]", "[audit]\npatients = 'a'\n[ship]", r"\[audit\]: expected some of .*, got patients"),
        ("n = 2", 'n = 2\nused = ["a"]', r"\[folds\] used: expected numbers of folds"),
        ("n = 2", "n = 2\ntogether = [1]", r"\[folds\] together: expected .*; write each as a list"),
        ("n = 2", 'n = 2\ntogether = ["case0", "case1"]', r"\[folds\] together: expected .*; write each as a list"),
        ("[ship]", "[prune]\nepochs = 1\n[ship]", r"\[prune\] ratio: expected a share .*, got None"),
        ("[ship]", "[prune]\nratio = 1.0\n[ship]", r"\[prune\] ratio: expected a share of at least 0 and below 1"),
        ("[ship]", "[prune]\nratio = 0.3\nepochs = 0\n[ship]", r"\[prune\]: expected epochs and batch of at least 1"),
        ("[ship]", '[quantize]\nmax_drop = "x"\n[ship]', r"\[quantize\] max_drop: expected a share"),
    ],
)
def test_tables_are_asked_before_data_are_read(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Some ended in a traceback, at the first step or when all was trained, some trained nothing without a word."""
    path = tmp_path / "mine.toml"
    path.write_text(TABLE.replace(old, new, 1))
    with pytest.raises(BadInput, match=said):
        commands.ask(str(path), tmp_path, tmp_path / "run")


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"epochs": 0}, {"learning_rate": -1.0}, {"learning_rate": float("nan")}]
)
def test_a_training_of_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="epochs and batch of at least 1"):
        Plan.from_table({"epochs": 1, "batch": 2, "learning_rate": 1e-3} | wrong)


@pytest.mark.parametrize(
    ("folds", "said"),
    [
        ({"n": 2}, r"\[folds\]: expected by"),
        ({"by": "patient"}, "n: expected 2 to 6"),
        ({"by": "patient", "n": 1}, "n: expected 2 to 6"),
        ({"by": "patient", "n": 7}, "n: expected 2 to 6"),
        ({"by": "patient", "n": "two"}, "n: expected int"),
        ({"by": "hospital", "n": 2}, "by: expected 'patient' or 'site'"),
        ({"by": "patient", "n": 2, "stratify": "sex"}, r"stratify: expected a trait of the data \(ball\)"),
        ({"by": "patient", "n": 2, "salt": 1}, r"\[folds\]: expected some of"),
    ],
)
def test_folds_that_cannot_be_dealt(folds: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        fold_of(drawn_cases(), folds)


def test_a_site_of_its_own_is_no_fold() -> None:
    cases = drawn_cases()
    alone = replace(cases, site=np.full(len(cases), ""))
    with pytest.raises(BadInput, match="expected two sites or more, got 1"):
        fold_of(alone, {"by": "site"})
    with pytest.raises(BadInput, match=r"used: expected some of 0 to 1, got \[7\]"):
        used_folds({"used": [1, 7]}, np.array([0, 1]))


def course(rows: int, value: float = 0.5) -> Course:
    samples = [(torch.full((1, 16, 16), value), torch.zeros(1, 16, 16))] * 8

    class Given(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
        def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
            return samples[key[1]]

    return Course(Given(), np.arange(rows), mask_loss, lambda model: {})


PLAN = Plan(epochs=1, batch=4, learning_rate=1e-3, bf16=False, workers=0)


def test_fewer_images_than_a_batch(tmp_path: Path) -> None:
    network = zoo.build({"architecture": "unet", "widths": [8, 8, 8, 8]})
    with pytest.raises(BadInput, match="expected at least 4 images to learn from, got 3"):
        fit(network, course(3), PLAN, tmp_path)


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    network = zoo.build({"architecture": "unet", "widths": [8, 8, 8, 8]})
    with pytest.raises(BadInput, match="step 1: expected a loss that is a number"):
        fit(network, course(8, float("nan")), PLAN, tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_loss_aside_that_is_no_number_is_never_the_best() -> None:
    network = torch.nn.Linear(1, 1)
    state = State(network, network, torch.optim.SGD(network.parameters()))
    state.history = [{"loss_aside": loss} for loss in (0.5, 0.4, float("nan"), 0.6)]
    assert state.waited() == 2


FOLDED: dict[str, Any] = {
    "task": "segmentation",
    "model": {"labels": 2},
    "recipe": {"grid": [32, 32], "channels": 1, "mean": [0.5], "std": [0.25]},
    "folds": {"by": "patient", "n": 2},
    "train": {"epochs": 1, "batch": 2, "learning_rate": 1e-3},
}


def test_weights_depend_on_whom_they_were_learnt_from() -> None:
    """Folds dealt anew, more patients, or one other image: each is another training."""
    cases, recipe = drawn_cases(24), recipe_of(FOLDED["recipe"])
    gridded = lay_cases(cases, recipe, 2)

    def of(folds: dict[str, Any], fold: int, data: Any = gridded) -> str:
        return series_course(FOLDED | {"folds": folds}, cases, data, fold_of(cases, folds), fold).of

    told = of(FOLDED["folds"], 0)
    assert told == of(FOLDED["folds"], 0)
    changed = lay_cases(cases, recipe, 2)
    last = np.flatnonzero(fold_of(cases, FOLDED["folds"])[changed.series] != 0)[-1]
    changed.images[last] += np.float32(0.01)
    others = {of(FOLDED["folds"], 1), of(FOLDED["folds"] | {"seed": 1}, 0), of(FOLDED["folds"], 0, changed)}
    assert len(others | {told}) == 4
    assert rows_digest(gridded, np.arange(3)) != rows_digest(gridded, np.arange(1, 4))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"recipe": {"grid": [30, 30]}},
            r"images of 1 x 30 x 30 \(channels, then \[recipe\] grid\), got one that",
        ),
        (
            {"recipe": {"grid": [32, 32], "channels": 3}},
            "images of 3 x 32 x 32 .* got one that fails",
        ),
        ({"recipe": {"grid": [8, 32, 32], "spacing_mm": [1, 1, 1]}}, "images of 1 x 8 x 32 x 32 .* got one"),
        ({"model": {"architecture": "unet3d"}}, "images of 1 x 32 x 32 .* got one that fails on them: expected 5D"),
        ({"task": "classification"}, "expected for a classification .* logits of 1, map, got outputs of 1 x 32 x 32"),
        (
            {"model": {"architecture": "hybrid-transformer"}},
            "for a segmentation .* logits of 1 x 32 x 32, got outputs of 1 x 32 x 32, 1, 1 x 2 x 2; .* classify",
        ),
        (
            {"augment": {"window": [48, 32]}},
            r"\[augment\] window: expected sizes .*\(32, 32\), got \(48, 32\)",
        ),
        (
            {"augment": {"window": [20, 20]}},
            r"images of 1 x 20 x 20 \(.* \[augment\] window\), got one",
        ),
        ({"augment": {"window": ["a", "b"]}}, r"\[augment\] window: expected sizes"),
    ],
)
def test_a_network_that_does_not_fit_its_recipe(changes: dict[str, Any], said: str) -> None:
    """It ended in torch's words at the first step of the training, or after it, at the export."""
    table: dict[str, Any] = {
        "task": "segmentation",
        "model": {"architecture": "unet", "widths": [8, 8, 8, 8]},
        "recipe": {"grid": [32, 32]},
    }
    check_network(table)
    with pytest.raises(BadInput, match=f"^recipe, .*{said}"):
        check_network(table | changes)


def test_a_network_is_asked_before_the_audit(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TABLE.replace("grid = [32, 32]", "grid = [30, 30]"))
    with pytest.raises(BadInput, match="expected a network for images of 1 x 30 x 30"):
        commands.ask(str(path), tmp_path, tmp_path / "run")


def test_a_recipe_of_a_model_in_the_lab_need_not_say_which_fold_ships(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"mr-cardiac, \[ship\]: expected fold, whose network is to become builds"):
        commands.export("mr-cardiac", tmp_path)


def test_a_fold_that_there_is_not_cannot_ship(tmp_path: Path) -> None:
    """It was found out after the training, where export said to train the model first."""
    volumes(tmp_path / "mine" / "balls", 3)
    table = read(tmp_path, "fold = 0", "fold = 5")
    with pytest.raises(BadInput, match=r"\[ship\] fold: expected one of 0, 1, got 5"):
        train_folds(table, tmp_path, tmp_path / "run")
