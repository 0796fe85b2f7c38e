"""Figures that are not defined are said so, in JSON and in words."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.lab.series import drawn_cases
from wetread.lab.held_out import overlaps
from wetread.lab.written import interval_text, write_json
from wetread.measures import Interval

NAN = float("nan")


def test_what_is_not_defined_is_null(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    write_json(path, {"one": asdict(Interval(0.5, NAN, NAN, 3, 2)), "many": [1.0, (NAN, "NaN")]})
    assert "NaN" not in path.read_text().replace('"NaN"', "")
    told = json.loads(path.read_text())
    assert told == {"one": {"value": 0.5, "low": None, "high": None, "n": 3, "groups": 2}, "many": [1.0, [None, "NaN"]]}
    assert interval_text(told["one"]) == "-"


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_json(tmp_path / "figures.json", {"one": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*figures\.json"):
        write_json(tmp_path / "figures.json", {"one": 2})
    assert json.loads((tmp_path / "figures.json").read_text()) == {"one": 1}
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("files", ["docs/evidence", "models"])
def test_no_published_figure_is_no_number(files: str) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    root = Path(__file__).parents[2]
    for path in sorted((root / files).rglob("*.json")):
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_intervals_in_words() -> None:
    assert interval_text(asdict(Interval(0.95312, 0.949, 0.9571, 3, 2))) == "0.953 (0.949 to 0.957)"
    assert interval_text(asdict(Interval(1.25, 1.0, 1.5, 3, 2)), 1) == "1.2 (1.0 to 1.5)"
    assert interval_text(None) == interval_text(asdict(Interval(NAN, NAN, NAN, 3, 2))) == "-"


@pytest.mark.parametrize("spacing", [1.0, NAN])
def test_two_empty_masks_are_no_distance_apart(spacing: float) -> None:
    cases = drawn_cases(spacing=spacing)
    dice, far = overlaps(cases.masks[0][None] > 9, cases, 0, whole=False)  # the first head has no ball
    assert (dice[0], far[0]) == (1.0, 0.0)
