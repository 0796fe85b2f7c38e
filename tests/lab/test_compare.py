"""Architectures on the same drawn images: every one is trained, measured, timed and told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lab.series import drawn_cases
from wetread.lab import series, zoo
from wetread.lab.compare import compare_architectures
from wetread.lab.compare_page import verdict, write_comparisons
from wetread.lab.plan import load_plan
from wetread.lab.train import Plan

#: torch's exporter warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def small(name: str, **model: Any) -> dict[str, Any]:
    return {"name": name, "model": {"labels": 2, **model}}


HYBRID = {"architecture": "hybrid-transformer", "width": 16, "heads": 2, "classify": False}
TABLE: dict[str, Any] = {
    "id": "compare-toy",
    "task": "segmentation",
    "data": "toy",
    "title": "Balls (drawn), one of three folds",
    "labels": ["left", "right"],
    "architecture": [
        small("U-Net", architecture="unet", widths=[8, 8, 8, 8], fine=True),
        small("Transformer", **HYBRID, depth=1),
    ],
    "recipe": {"grid": [32, 32], "percentiles": [1, 99], "mean": [0.5], "std": [0.25]},
    "folds": {"by": "patient", "n": 3, "used": [0]},
    "train": {"epochs": 1, "batch": 4, "learning_rate": 3e-3, "warmup_steps": 2, "workers": 0},
    "search": {"learning_rates": [1e-12, 3e-3], "epochs": 8, "fold": 1},
    "augment": {},
    "ship": {"fold": 0},
}


def test_architectures_are_trained_measured_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = drawn_cases()
    monkeypatch.setitem(series.LOADERS, "toy", lambda folder: cases)
    found = compare_architectures({"toy": TABLE}, tmp_path, tmp_path / "run", tmp_path)["toy"]
    unet, transformer = found["architectures"]
    assert [unet["name"], transformer["name"]] == ["U-Net", "Transformer"]
    assert unet["parameters"] == sum(w.numel() for w in zoo.build(TABLE["architecture"][0]["model"]).parameters())
    for row in (unet, transformer):
        assert row["gmac"] > 0
        assert row["learning_rate"] == 3e-3
        assert row["tries"]["0.003"] > row["tries"]["1e-12"]
        for build in row["builds"].values():
            assert build["ms"] > 0
            assert build["Dice"]["groups"] == 2
    files = write_comparisons({"toy": found}, tmp_path / "evidence")
    write_comparisons({"other": found}, tmp_path / "evidence")
    assert set(json.loads(files[0].read_text())) == {"toy", "other"}
    page = files[1].read_text()
    assert page.count("| U-Net |") == 2
    assert verdict(found) in page
    assert "<svg" in files[2].read_text()


@pytest.mark.parametrize("name", ["cardiac", "kermany"])
def test_a_comparison_can_be_meant(name: str) -> None:
    """Its learning rate of 0 was refused, and so was `wetread lab compare`."""
    assert Plan.from_table(load_plan(f"compare/{name}", several=True)["train"]).epochs


@pytest.mark.parametrize("name", ["cardiac", "kermany"])
def test_each_architecture_of_a_comparison_answers_alike(name: str) -> None:
    table = load_plan(f"compare/{name}", several=True)
    shapes = []
    for one in table["architecture"]:
        answer = zoo.build(one["model"] | ({"pretrained": False} if "pretrained" in one["model"] else {})).eval()(
            torch.zeros(1, 1, *table["recipe"]["grid"])
        )
        shapes.append([tuple(part.shape) for part in (answer if isinstance(answer, tuple) else (answer,))])
    assert shapes[0] == shapes[1] == shapes[2]
