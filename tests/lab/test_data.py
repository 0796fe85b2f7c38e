"""No patient on both sides, and samples that deployment would recognise."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.lab.films import drawn_films
from wetread import cli
from wetread.errors import BadInput
from wetread.lab import commands
from wetread.lab.augment import Augment, belly
from wetread.lab.certify import certified
from wetread.lab.data import held_back, kermany
from wetread.lab.plan import RECIPES, load_plan, recipe_of
from wetread.lab.pneumonia import guided_loss, stride_of
from wetread.lab.samples import Batches, LungSamples, PneumoniaSamples, exact
from wetread.lab.train import Plan
from wetread.lab.zoo import build
from wetread.records import Box, Recipe

CHANGES = ("rotate_deg", "scale", "stretch", "shift", "flip", "gamma", "curve", "bias_field", "blur", "shrink")
STILL = dict.fromkeys((*CHANGES, "sharpen", "equalise", "noise", "jpeg", "cutout"), 0.0)


def test_no_patient_is_trained_on_and_held_back() -> None:
    patient = np.array([f"person{i // 3}" for i in range(3000)])
    aside = held_back(patient, 0.12, 11)
    assert not set(patient[aside]) & set(patient[~aside])
    assert aside.mean() == pytest.approx(0.12, abs=0.03)


def test_a_patients_place_does_not_depend_on_the_others() -> None:
    patient = np.array([f"p{i}" for i in range(500)])
    assert (held_back(patient, 0.2, 1)[:50] == held_back(patient[:50], 0.2, 1)).all()
    assert (held_back(patient, 0.2, 1) != held_back(patient, 0.2, 2)).any()


def test_batches_go_on_where_they_stopped() -> None:
    rows = np.arange(10)
    whole = list(Batches(rows, 3, 4, 5))
    assert list(Batches(rows, 3, 4, 5, start=7)) == whole[7:]
    assert len(Batches(rows, 3, 4, 5, start=7)) == len(whole) - 7
    for epoch in range(4):
        seen = [row for batch in whole for at, row in batch if at == epoch]
        assert len(seen) == len(set(seen)) == 9


def test_sample_without_changes_is_what_deployment_makes() -> None:
    films, recipe = drawn_films(side=128), Recipe(grid=(64, 64), percentiles=(1, 99))
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 4) for image in films.images])
    films = type(films)(smooth, *(getattr(films, name) for name in films.__slots__[1:]))
    sample, _ = LungSamples(films, recipe, Augment.from_table(STILL), 0)[(0, 0)]
    given = exact(films, 0, recipe)[0, 0]
    inside = given[10:54, 2:62]
    assert np.abs(sample[0].numpy()[10:54, 2:62] - inside).mean() < 0.03


def test_mask_follows_the_film() -> None:
    films, recipe = drawn_films(side=128), Recipe(grid=(96, 96))
    samples = LungSamples(
        films, recipe, Augment.from_table({**STILL, "rotate_deg": 15.0, "scale": 0.2, "flip": 0.5}), 0
    )
    for row in (1, 2, 4):
        image, mask = samples[(0, row)]
        lung, outside = image[mask > 0.5], image[(mask < 0.5) & (image > 0)]
        assert lung.mean() + 0.4 < outside.mean()


def test_samples_are_the_same_each_time() -> None:
    films, recipe = drawn_films(), Recipe(grid=(32, 32))
    boxes, lungs = np.tile([4.0, 4.0, 60.0, 60.0], (len(films), 1)), films.masks
    augment = Augment(outside=0.5, style=0.5, truncate=0.5, crop=0.05)
    samples = PneumoniaSamples(films, boxes, lungs, np.arange(12), recipe, augment, 2, 16)
    first, again, other = samples[(1, 3)][0], samples[(1, 3)][0], samples[(2, 3)][0]
    assert (first == again).all()
    assert (first != other).any()
    assert np.isfinite(first.numpy()).all()


def test_target_says_where_the_lungs_are() -> None:
    films, recipe = drawn_films(), Recipe(grid=(32, 32))
    boxes = np.tile([0.0, 0.0, 64.0, 64.0], (len(films), 1))
    still = Augment.from_table(STILL)
    samples = PneumoniaSamples(films, boxes, films.masks, np.arange(12), recipe, still, 2, 8)
    label, cells = samples[(0, 3)][1][0], samples[(0, 3)][1][1:].reshape(4, 4)
    assert label == films.label[3]
    assert (cells[0] < 0.2).all()
    assert cells[1:3, 1].min() > 0.5


@pytest.mark.parametrize(
    ("model", "pixels"),
    [
        ({"architecture": "efficientnet-lite0"}, 32),
        ({"architecture": "efficientnet-lite0", "stride": 16}, 16),
        ({"architecture": "unet", "widths": [8, 8, 8], "outline": False}, 8),
        ({"architecture": "hybrid-transformer", "width": 16, "heads": 2, "depth": 0, "outline": False}, 16),
    ],
)
def test_a_cell_of_the_target_is_one_of_the_map(model: dict[str, Any], pixels: int) -> None:
    assert stride_of(model, Recipe(grid=(64, 96))) == pixels


def test_evidence_from_elsewhere_costs() -> None:
    loss = guided_loss(0.5, 0.0, 1.0)
    target = torch.tensor([[1.0, 1.0, 0.0]])
    logit = torch.tensor([[2.0]])
    inside, outside = torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, -3.0]]]])
    assert float(loss((logit, outside), target) - loss((logit, inside), target)) == pytest.approx(1.0, abs=1e-4)


def test_box_of_deployment_is_taken() -> None:
    films, recipe = drawn_films(), Recipe(grid=(32, 32), region="lungs")
    assert (exact(films, 1, recipe, Box(10, 10, 50, 50)) != exact(films, 1, recipe)).any()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "expected id, task, data, recipe, train, model, found no id"),
        ("id = ", "expected TOML"),
        (
            'id = "x"\ntask = "sorting"\ndata = "d"\n[model]\n[recipe]\n[train]\n',
            "task: expected one of class",
        ),
    ],
)
def test_a_recipe_that_is_none_says_what_it_lacks(tmp_path: Path, table: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text(table)
    with pytest.raises(BadInput, match=rf"mine\.toml.*{said}"):
        load_plan(tmp_path / "mine.toml")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"epoch": 3}, "expected some of epochs, .* got epoch"),
        ({"epochs": 3, "batch": 4}, "expected epochs, batch, learning_rate, found no learning_rate"),
        ({"epochs": 3.5, "batch": 4, "learning_rate": 1}, "epochs: expected int, got 3.5"),
        ({"epochs": 3, "batch": 4, "learning_rate": "1e-3"}, "learning_rate: expected float, got '1e-3'"),
    ],
)
def test_a_wrong_key_of_a_recipe_is_named(table: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=rf"\[train\].*{said}"):
        Plan.from_table(table)


def test_unknown_augmentation_and_option_are_named() -> None:
    with pytest.raises(BadInput, match="twirl"):
        Augment.from_table({"twirl": 1.0})
    with pytest.raises(BadInput, match=r"for unet some of .* got depth"):
        build({"architecture": "unet", "depth": 3})
    with pytest.raises(BadInput, match=r"expected one of .*unet3d.* got 'net'"):
        build({"architecture": "net"})
    with pytest.raises(BadInput, match="architecture: expected one of"):
        build({"channels": 1})


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_reads(name: str) -> None:
    table = load_plan(name)
    assert table["id"] == name
    assert recipe_of(table["recipe"]).grid[0] % 32 == 0
    Augment.from_table(table["augment"])


def test_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="cxr-lungs"):
        load_plan("cxr-nothing")


def test_another_recipe_than_there_is_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("train", "prune", "export", "quantize", "gate", "sweep", "certify", "evaluate"):
        for name, expected in (("nope", 2), (tmp_path / "nope.toml", 4)):
            monkeypatch.setattr(sys, "argv", ["wetread", "lab", verb, str(name)])
            with pytest.raises(SystemExit) as stop:
                cli.main()
            assert stop.value.code == expected, verb
            assert "or a .toml file" in capsys.readouterr().err


def test_a_folder_without_a_model_says_what_to_run(tmp_path: Path) -> None:
    found = CliRunner().invoke(cli.commands, ["lab", "certify", str(tmp_path)])
    assert "expected model.toml in it, found none; run `wetread lab import` first" in str(found.exception)
    with pytest.raises(BadInput, match="run `wetread lab certify` first"):
        certified(tmp_path, "ct-lungs")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data", "b"], "expected one folder, below which a recipe names its data, got 2"),
        (["--sensitivity", "0.9"], "--sensitivity: expected only with an imported model"),
        (["--patient-from", "(.)", "--accept-leakage", "why"], "--patient-from, --accept-leakage: expected only"),
    ],
)
def test_a_recipe_is_certified_without_the_options_of_an_imported_model(more: list[str], said: str) -> None:
    found = CliRunner().invoke(cli.commands, ["lab", "certify", "ct-lungs", "--data", "a", *more])
    assert found.exit_code == 2
    assert said in " ".join(found.output.split())


@pytest.mark.parametrize("verb", ["train", "recover"])
def test_several_weights_are_one_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: str) -> None:
    files = [tmp_path / f"fold{fold}" / "weights.pt" for fold in range(2)]
    monkeypatch.setattr(commands, "ask", lambda *given: None)
    monkeypatch.setattr(commands, verb, lambda *given, **named: files)
    made = CliRunner().invoke(cli.commands, ["lab", verb, "ct-lungs", "--data", str(tmp_path), "--json"])
    assert json.loads(made.output) == [str(file) for file in files]


def test_missing_data_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--data"):
        kermany(tmp_path, tmp_path)


def test_a_film_may_show_more_of_the_belly() -> None:
    film = np.add.outer(np.arange(100), np.arange(80)).astype(np.uint8)
    lungs = np.zeros_like(film)
    lungs[20:60, 10:70] = 255
    lungs[60:63, 10:70] = 127  # nobody knows
    for seed in range(20):
        longer, mask, flatter = belly(film, lungs, np.random.default_rng(seed), Augment(belly=1.0))
        assert 110 <= len(longer) <= 170
        assert longer.shape == mask.shape
        assert 100 <= flatter * len(longer) + 1e-9 <= len(longer) + 1e-6
        assert np.array_equal(longer[:60], film[:60])
        assert np.array_equal(mask[:60], lungs[:60])
        assert not mask[60:].any()
        assert set(np.unique(longer[60:])) <= set(range(60, 179))  # nothing that was not below


def test_a_film_without_a_belly_or_lungs_stays() -> None:
    film, lungs = np.zeros((100, 80), np.uint8), np.zeros((100, 80), np.uint8)
    rng = np.random.default_rng(0)
    for end, share in ((0, 1.0), (98, 1.0), (60, 0.0)):
        lungs[20:end] = 255
        drawn = rng.bit_generator.state
        assert belly(film, lungs, rng, Augment(belly=share)) == (film, lungs, 1.0)
        assert share or rng.bit_generator.state == drawn, "who has none sees the same films as before"
