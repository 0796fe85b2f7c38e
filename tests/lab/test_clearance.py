"""Training asks the audit of its own split first, once, and a split that fails trains nothing."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.lab.series import drawn_cases, save_cases
from wetread.errors import BadInput
from wetread.lab import clearance, commands, series
from wetread.lab.audit import rivals
from wetread.lab.clearance import audit_of, cleared

FILMS: dict[str, Any] = {"id": "cxr-toy", "data": "films", "train": {"epochs": 1, "batch": 1, "learning_rate": 1.0}}
SERIES: dict[str, Any] = {"id": "mr-toy", "data": "toy", "train": {}, "folds": {"by": "patient", "n": 3}}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cases = drawn_cases()
    monkeypatch.setitem(series.LOADERS, "toy", lambda folder: cases)
    monkeypatch.setattr(rivals, "DRAWS", 20)
    save_cases(tmp_path / "toy", cases)
    return tmp_path


def films(folder: Path, split: str = "test") -> None:
    """Make films of the series; the last six patients are for testing, the very last one's films are `split`."""
    save_cases(folder, replace(drawn_cases(24, depth=1), site=np.full(24, "A")))
    with (folder / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for at, row in enumerate(rows):
        row["split"] = split if at == len(rows) - 1 else "train" if at < 12 else "test"
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def test_folds_are_audited_as_the_recipe_deals_them(data: Path) -> None:
    told = cleared(SERIES, data, data / "run")
    assert told["split"] == "3 folds by patient, as the recipe deals them"
    assert told["parts"] == {"fold 0": 16, "fold 1": 16, "fold 2": 16}
    assert "pairs" not in audit_of(told)


def test_a_fold_that_a_patient_crosses_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = replace(drawn_cases(), site=np.array([("A", "B")[i % 2] for i in range(12)]))
    monkeypatch.setitem(series.LOADERS, "toy", lambda folder: cases)
    save_cases(data / "crossed", cases)
    table = SERIES | {"data": "crossed", "folds": {"by": "site"}}
    monkeypatch.setitem(series.LOADERS, "crossed", lambda folder: cases)
    with pytest.raises(BadInput, match=r"same patient in two parts \(6 of 6 patients\).*--accept-leakage REASON"):
        cleared(table, data, data / "run")
    accepted = cleared(table, data, data / "run", "to show the leak")
    assert accepted["accepted"] == "to show the leak"
    assert cleared(table, data, data / "run") == accepted, "a resumed training need not say it again"


def test_a_refused_split_trains_nothing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films(data / "films", split="train")
    monkeypatch.setattr(commands, "load_plan", lambda name: FILMS)
    monkeypatch.setattr(commands, "check_network", lambda table: None)  # it has none
    with pytest.raises(BadInput, match="same patient in two parts"):
        commands.train("cxr-toy", data, data / "run", data)
    assert {path.name for path in (data / "run" / "cxr-toy").iterdir()} == {"audit"}


def test_a_fold_of_a_recipe_without_folds_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "load_plan", lambda name: FILMS)
    said = r"fold: expected none, as cxr-toy has no table \[folds\]; got 1"
    with pytest.raises(BadInput, match=said):
        commands.ask("cxr-toy", data, data / "run", fold=1)
    with pytest.raises(BadInput, match=said):
        commands.train("cxr-toy", data, data / "run", data, fold=1)
    assert not (data / "run").exists()


def test_films_held_back_are_a_part_of_their_own(data: Path) -> None:
    films(data / "films")
    table = FILMS | {"train": FILMS["train"] | {"held_back": 0.4, "seed": 1}}
    told = cleared(table, data, data / "run")
    assert set(told["parts"]) == {"train", "held back", "test"}
    assert sum(told["parts"].values()) == 24


def test_the_audit_is_kept_until_data_or_split_change(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cleared(SERIES, data, data / "run")
    made: list[Path] = []
    keep = clearance._keep

    def noted(table: dict[str, Any], data: Path, folder: Path) -> None:
        made.append(folder)
        keep(table, data, folder)

    monkeypatch.setattr(clearance, "_keep", noted)
    assert cleared(SERIES, data, data / "run") == first
    assert not made
    assert cleared(SERIES | {"folds": {"by": "patient", "n": 2}}, data, data / "run")["parts"] != first["parts"]
    os.utime(data / "toy" / "image-0-0.png", (1, 1))
    cleared(SERIES, data, data / "run")
    assert len(set(made)) == 2


@pytest.mark.parametrize(
    ("audit", "told"),
    [({"colour": "red"}, "expected some of label, .* got colour"), ({"patient": "site"}, "loader knows")],
)
def test_a_wrong_table_says_so(data: Path, audit: dict[str, str], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        cleared(SERIES | {"audit": audit}, data, data / "run")
