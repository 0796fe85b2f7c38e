"""From folds to a shipped folder and its card, on drawn series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.lab.series import drawn_cases, save_cases
from wetread import infer
from wetread.errors import BadInput
from wetread.lab import card_series, commands, series
from wetread.lab.audit import rivals
from wetread.lab.card import operating_text
from wetread.lab.folder import sha256_of
from wetread.lab.points import rule_words, threshold_by
from wetread.lab.roc import draw_curves_of, operating
from wetread.lab.verdicts import Scores, operating_point, score_figures
from wetread.lab.weights import load_weights

#: torch's exporter warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

RECIPE = """
id = "mr-toy"
task = "{task}"
data = "toy"
labels = {labels}
whole = {whole}
rivals = {rivals}
published = ["Nothing is published."]
faults = ["It is drawn."]
remarks = "A toy."
[model]
{model}
[recipe]
grid = {grid}
{spacing}
percentiles = [1, 99]
mean = [0.5]
std = [0.25]
[folds]
{folds}
[train]
epochs = 3
batch = 4
learning_rate = 3e-3
warmup_steps = 2
ema = 0.8
bf16 = false
workers = 0
[augment]
rotate_deg = 3.0
[prune]
ratio = 0.5
epochs = 2
[quantize]
epochs = 1
[operating_point]
sensitivity = 0.9
[ship]
fold = 0
version = "0.1.0"
summary = "Finds balls."
licence = "None"
training_data = ["Drawn"]
modality = ["MR"]
body_part = []
views = []
pool = "max"
{withheld}
[ship.margins]
{margins}
{names}
"""
NAME = '[[ship.label]]\nname = "{}"\ncode = "108369006"\nscheme = "SCT"\nmeaning = "Neoplasm"'
JOINT = {
    "task": "segmentation+classification",
    "labels": ["ball"],
    "whole": "false",
    "rivals": ["labels", "brightness"],
    "model": 'architecture = "hybrid-transformer"\nwidth = 16\ndepth = 1\nheads = 2',
    "grid": [32, 32],
    "spacing": "",
    "folds": 'by = "site"',
    "withheld": "",
    "margins": "dice = 1.0\nauc = 1.0",
    "names": NAME.format("ball"),
}
VOLUME = JOINT | {
    "task": "segmentation",
    "labels": ["left", "right"],
    "whole": "true",
    "rivals": ["average mask"],
    "model": 'architecture = "unet3d"\nwidths = [16, 16]\nlabels = 2',
    "grid": [8, 32, 32],
    "spacing": "spacing_mm = [1, 1, 1]",
    "folds": 'by = "patient"\nn = 2',
    "margins": "dice = 1.0",
    "names": NAME.format("left") + "\n" + NAME.format("right"),
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    cases = drawn_cases(spacing=1.0)
    monkeypatch.setitem(series.LOADERS, "toy", lambda folder: cases)
    monkeypatch.setattr(rivals, "DRAWS", 20)  # intervals are not what is tested here
    save_cases(tmp_path / "toy", cases)

    def write(**values: Any) -> str:
        path = tmp_path / "mr-toy.toml"
        told = {key: json.dumps(value) if isinstance(value, list) else value for key, value in values.items()}
        path.write_text(RECIPE.format(**told))
        return str(path)

    return write


@pytest.mark.parametrize(("patients", "said"), [(4, "By series (patient): 4 of 4"), (2, "By series: 4 of 2")])
def test_a_series_is_a_patient_where_each_has_one(patients: int, said: str) -> None:
    one = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 4, "groups": patients}
    found = {"series": dict.fromkeys((*card_series.LABEL_COLUMNS, "calibration error"), one) | {"prevalence": 0.5}}
    assert said in card_series._results("", found, {})[1]


def _judged_again(name: str, data: Path, out: Path, models: Path, gate: dict[str, Any]) -> None:
    """Each build has its row; on another host only those that run there are made anew, and no bound moves."""
    path, declared = models / "mr-toy" / "gate.json", (models / "mr-toy" / "model.toml").read_bytes()
    rows, real = {row["build"]: row for row in gate["builds"]}, infer.candidates
    assert set(rows) == {choice.build for choice in real(infer.read(models / "mr-toy"))}
    older = rows["int8"] | {"date": "1999-12-31"}
    path.write_text(json.dumps(gate | {"builds": [older]}))
    with pytest.MonkeyPatch.context() as host:
        host.setattr(infer, "candidates", lambda model: [one for one in real(model) if one.build in ("fp32", "bf16")])
        again = commands.gate(name, data, out, models, data / "evidence", keep=True)
    assert again["builds"] == [*(rows[one] for one in ("fp32", "bf16") if one in rows), older]
    assert {**again, "builds": []} == json.loads(json.dumps({**gate, "builds": []}))
    assert "| 1999-12-31 |" in (data / "evidence" / "gate.md").read_text()
    assert (models / "mr-toy" / "model.toml").read_bytes() == declared
    path.write_text(json.dumps(gate | {"data": {"folder": "other"}}))
    with pytest.raises(BadInput, match="fixed on these data"):
        commands.gate(name, data, out, models, data / "evidence", keep=True)
    path.write_text(json.dumps(gate))


@pytest.mark.parametrize("kind", [JOINT, VOLUME], ids=["joint", "volume"])
def test_folds_become_a_folder_with_a_card(kind: dict[str, Any], recipe: Any, tmp_path: Path) -> None:
    name, out, models = recipe(**kind), tmp_path / "run", tmp_path / "models"
    files = commands.train(name, tmp_path, out, tmp_path)
    assert [file.parent.name for file in files] == ["fold0", "fold1"]
    pruned = commands.prune(name, tmp_path, out, tmp_path)
    assert pruned.stat().st_size < files[0].stat().st_size
    assert set(commands.export(name, out)) == {"fp32", "pruned-fp32"}
    assert set(commands.quantize(name, tmp_path, out, models)) == {"int8", "pruned-int8"}
    after = sha256_of(out / "mr-toy" / "builds" / "int8.onnx")
    if kind is VOLUME:  # the other exports for half a minute
        assert set(commands.quantize(name, tmp_path, out, models, aware=True)) == {"int8", "pruned-int8"}
        assert sha256_of(out / "mr-toy" / "builds" / "int8.onnx") != after
    certificate = commands.certify(name, tmp_path, out, models)
    assert {"fp32", "int8", "pruned-fp32", "pruned-int8"} <= {row["build"] for row in certificate["builds"]}
    assert all(row["passed"] for row in certificate["builds"])
    gate = json.loads((models / "mr-toy" / "gate.json").read_text())
    assert {row["damage"] for row in gate["damages"]} >= {"none", "noise", "turned", "inverted"}
    assert gate["sha256"] in {row["sha256"] for row in certificate["builds"]}
    model = infer.read(models / "mr-toy")
    assert model.gate.mirrored == gate["bounds"]["mirrored"]
    _judged_again(name, tmp_path, out, models, gate)
    for choice in infer.candidates(model):
        assert infer.load(model, choice, threads=1).identity.build == choice.build
    found = commands.sweep(name, out, models, tmp_path / "evidence")
    assert {point["build"] for point in found["points"]} == {row["build"] for row in certificate["builds"]}
    assert "worth shipping" in (tmp_path / "evidence" / "sweep-mr-toy.md").read_text()
    assert (tmp_path / "evidence" / "sweep-mr-toy.svg").stat().st_size > 1000
    figures = commands.evaluate(name, tmp_path, out, models, tmp_path / "evidence")
    assert sum(fold["series"] for fold in figures["folds"]) == 12
    card = (models / "mr-toy" / "card.md").read_text()
    for word in (
        "It is drawn.",
        "Nothing is published.",
        "Certificate",
        "By fold",
        "this model",
        "Damaged images",
        *kind["labels"],
    ):
        assert word in card
    note = json.loads((models / "mr-toy" / "figures.json").read_text())
    assert note["figures"]["crossed"].keys() == figures["crossed"].keys()
    carried = {one["name"] for one in note["figures"]["audit"]["baselines"]}
    assert {"the average training mask", "the mask of the nearest neighbour"} <= carried
    recovered(name, tmp_path, files[0], pruned)
    withheld = recipe(**kind | {"withheld": 'withheld = "it is a toy"'})
    commands.evaluate(withheld, tmp_path, out, models, tmp_path / "evidence")
    assert "does not ship: it is a toy" in (tmp_path / "evidence" / "mr-toy.md").read_text()
    assert (tmp_path / "evidence" / "mr-toy.json").is_file()
    assert (tmp_path / "evidence" / "mr-toy-roc.svg").is_file() is (kind is JOINT)
    assert ("](roc.svg)" in card) is (kind is JOINT)


def recovered(name: str, data: Path, trained: Path, pruned: Path) -> None:
    """Read the folder back as one who has nothing else would, and go on from there."""
    models, out = data / "models", data / "elsewhere"
    graph = sha256_of(models / "mr-toy" / "fp32.onnx")
    opened: list[Path] = []

    def load(table: dict[str, Any], folder: Path) -> Any:
        opened.append(folder)
        return series.load(table, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wetread.lab.courses.load", load)
        files = commands.recover(name, data, out, models)
    assert opened == [data]
    assert [file.name for file in files] == [trained.name, pruned.name]
    for ours, theirs in zip(files, (trained, pruned), strict=True):
        (table, network), (known, original) = load_weights(ours), load_weights(theirs)
        assert (table["apart"], table["fold"]) == (known["apart"], known["fold"])
        image = torch.randn(2, 1, *table["recipe"]["grid"], generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            for found, wanted in zip(answers_of(network, image), answers_of(original, image), strict=True):
                assert torch.allclose(found, wanted, atol=0.01 * float(wanted.abs().max()))
        # In training a norm takes what the batch gives: its scale has to be that of what enters it.
        norms = [one for one in network.modules() if isinstance(one, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d)]
        measured = [(one.weight, one.running_var, one.eps) for one in norms if one.running_var is not None]
        assert all(torch.allclose(weight, (variance + eps).sqrt()) for weight, variance, eps in measured)
        assert len({round(float(value), 4) for _, variance, _ in measured for value in variance}) > len(norms)
    assert set(commands.export(name, out)) == {"fp32", "pruned-fp32"}
    assert sha256_of(out / "mr-toy" / "builds" / "fp32.onnx") == graph
    before = json.loads((models / "mr-toy" / "figures.json").read_text())
    figures = commands.evaluate(name, data, out, models, data / "evidence")
    assert figures["crossed"] == before["figures"]["crossed"]
    assert figures["told"] == before["date"]
    assert f"are of {before['date']}" in (models / "mr-toy" / "card.md").read_text()
    other = Path(name).with_name("other.toml")
    other.write_text(Path(name).read_text().replace("mean = [0.5]", "mean = [0.4]"))
    with pytest.raises(BadInput, match="prepared otherwise"):
        commands.recover(str(other), data, data / "third", models)
    note = before | {"figures": before["figures"] | {"crossed": _shifted(before["figures"]["crossed"])}}
    (models / "mr-toy" / "figures.json").write_text(json.dumps(note))
    with pytest.raises(BadInput, match="the folds are dealt otherwise"):
        commands.recover(name, data, data / "third", models)
    (models / "mr-toy" / "figures.json").write_text(json.dumps(before))


def answers_of(network: torch.nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    given = network(image)
    return given if isinstance(given, tuple) else (given,)


def _shifted(crossed: dict[str, Any]) -> dict[str, Any]:
    told = [one | {"value": one["value"] - 0.01} for one in crossed["masks by fold"]]
    return crossed | {"masks by fold": told}


def test_one_fold_is_trained_alone(recipe: Any, tmp_path: Path) -> None:
    files = commands.train(recipe(**JOINT), tmp_path, tmp_path / "run", tmp_path, fold=1, epochs=1)
    assert [file.parent.name for file in files] == ["fold1"]
    assert not (tmp_path / "run" / "mr-toy" / "fold0").exists()


def test_a_recipe_that_does_not_say_how_to_prune_is_refused(recipe: Any, tmp_path: Path) -> None:
    path = Path(recipe(**JOINT))
    path.write_text(path.read_text().replace("[prune]\nratio = 0.5\nepochs = 2\n", ""))
    commands.train(str(path), tmp_path, tmp_path, tmp_path, fold=0, epochs=1)
    with pytest.raises(BadInput, match=r"\[prune\]"):
        commands.prune(str(path), tmp_path, tmp_path, tmp_path)


def test_research_models_do_not_ship(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="but it is a toy"):
        commands.certify(recipe(**JOINT | {"withheld": 'withheld = "it is a toy"'}), tmp_path, tmp_path, tmp_path)


def test_the_threshold_is_that_of_a_series() -> None:
    truth = np.array([0, 1, 0, 0, 0, 0, 1, 1])
    logits = np.array([-2.0, 1.0, 0.5, -1.0, -3.0, 0.9, 2.0, -1.0])
    scores = Scores(truth, logits, np.array([0, 0, 1, 1, 2, 2, 3, 3]), "max")
    temperature, threshold = operating_point(scores, {"sensitivity": 1.0})
    _, ill, probability = scores.of_series(temperature)
    assert ill.tolist() == [1, 0, 0, 1]
    assert (probability >= threshold).tolist() == [True, False, False, True]


def test_a_fold_of_one_kind_has_no_area_and_fixes_no_threshold() -> None:
    scores = Scores(np.zeros(4, np.int64), np.array([0.0, 2.0, 4.0, 6.0]), np.arange(4), "max")
    found = score_figures(scores, dict.fromkeys(range(4), (1.0, 0.9)), np.array(list("abcd")))["slices"]
    assert np.isnan(found["auroc"]["value"])
    assert found["accuracy"]["value"] == 0.5
    with pytest.raises(BadInput, match="expected images with and without the label outside of every fold"):
        operating_point(scores, {"accuracy": 1})


def test_series_are_pooled_as_the_recipe_says() -> None:
    scores = Scores(np.zeros(4, np.int64), np.array([0.0, 2.0, 4.0, 6.0]), np.array([5, 5, 5, 5]), "mean-top-3")
    which, _, probability = scores.of_series()
    assert which.tolist() == [5]
    assert probability[0] == pytest.approx(np.mean(1 / (1 + np.exp(-np.array([2.0, 4.0, 6.0])))))


def test_the_rule_of_the_threshold_is_the_recipes() -> None:
    truth = np.array([0] * 90 + [1] * 10)
    probability = np.concatenate([np.linspace(0, 0.6, 90), np.linspace(0.5, 0.9, 10)])
    highest = {
        rule: threshold_by({rule: value}, truth, probability)
        for rule, value in (
            ("sensitivity", 0.8),
            ("accuracy", 1),
            ("balanced_accuracy", 1),
            ("smoothed_balanced_accuracy", 1),
        )
    }
    assert highest["sensitivity"] == pytest.approx(0.5 + 0.4 * 2 / 9)
    assert highest["balanced_accuracy"] < highest["accuracy"]
    assert abs(highest["smoothed_balanced_accuracy"] - highest["balanced_accuracy"]) < 0.1
    assert rule_words({"balanced_accuracy": 1}) == "that of the highest balanced accuracy"
    with pytest.raises(BadInput, match="operating_point"):
        threshold_by({"luck": 1}, truth, probability)


def test_the_smoothed_threshold_moves_less_than_the_highest_step() -> None:
    rng = np.random.default_rng(3)
    found: dict[str, list[float]] = {"balanced_accuracy": [], "smoothed_balanced_accuracy": []}
    for _ in range(20):
        logits = np.concatenate([rng.normal(-2, 1.5, 100), rng.normal(2, 1.5, 100)])
        truth, probability = np.repeat([0, 1], 100), 1 / (1 + np.exp(-logits))
        for rule, thresholds in found.items():
            chosen = threshold_by({rule: 1}, truth, probability)
            thresholds.append(np.log(chosen / (1 - chosen)))
    spread = {rule: float(np.std(thresholds)) for rule, thresholds in found.items()}
    assert spread["smoothed_balanced_accuracy"] < 0.7 * spread["balanced_accuracy"]
    assert abs(float(np.mean(found["smoothed_balanced_accuracy"]))) < 0.15


def test_the_smoothed_threshold_parts_what_is_certain() -> None:
    truth = np.array([0, 0, 1, 1])
    threshold = threshold_by({"smoothed_balanced_accuracy": 1}, truth, np.array([0.0, 0.0, 1.0, 1.0]))
    assert 0 < threshold < 1


def test_the_curve_holds_the_point_that_the_threshold_chose(tmp_path: Path) -> None:
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    probability = np.array([0.1, 0.2, 0.6, 0.6, 0.3, 0.6, 0.8, 0.9])
    found = operating(truth, probability, probability >= 0.5)
    assert [found[key] for key in ("found", "missed", "false_alarms", "left_alone")] == [3, 1, 2, 2]
    assert found["curve"] == [[0, 0], [0, 0.25], [0, 0.5], [0.5, 0.75], [0.5, 1], [0.75, 1], [1, 1]]
    assert [1 - found["specificity"], found["sensitivity"]] in found["curve"]
    draw_curves_of({"drawn": found}, tmp_path / "roc.svg")
    assert "specificity" in (tmp_path / "roc.svg").read_text()
    assert "| drawn | 3 | 1 | 2 | 2 | 0.750 | 0.500 |" in operating_text({"drawn": found})


def test_many_probabilities_make_a_short_curve() -> None:
    rng = np.random.default_rng(0)
    truth, probability = rng.integers(0, 2, 500), rng.random(500)
    curve = operating(truth, probability, probability > 0.5)["curve"]
    assert len(curve) == 60
    assert (curve[0], curve[-1]) == ([0, 0], [1, 1])
