"""Answers about series: connected parts, pooled probabilities, and what a declaration may say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import toy
from wetread import infer
from wetread.errors import ModelError
from wetread.infer.answers import pooled
from wetread.infer.parts import largest, parts


@pytest.mark.parametrize("seed", range(8))
def test_parts_are_those_of_another_program(seed: int) -> None:
    """Random sponges: many parts that touch only from slice to slice."""
    label = pytest.importorskip("scipy.ndimage").label
    mask = np.random.default_rng(seed).random((7, 20, 17)) < 0.25 + 0.03 * seed
    found, (expected, count) = parts(mask), label(mask)
    assert found.max() == count
    assert (found > 0).sum() == mask.sum()
    pairs = {(int(one), int(other)) for one, other in zip(found[mask], expected[mask], strict=True)}
    assert len(pairs) == count


def test_largest_parts() -> None:
    mask = np.zeros((4, 20, 20), np.bool_)
    mask[:, 2:8, 2:8] = mask[1:3, 12:18, 12:18] = mask[0, 0, 19] = True
    assert np.array_equal(largest(mask, 2), mask & (np.arange(20) < 19))
    assert largest(mask, 1).sum() == 4 * 36
    assert np.array_equal(largest(mask, 9), mask)
    assert not largest(np.zeros_like(mask), 1).any()


def test_pooled_probability() -> None:
    by_slice = np.array([0.1, 0.9, 0.3, 0.6, 0.2])
    assert pooled(by_slice, "max") == pytest.approx(0.9)
    assert pooled(by_slice, "mean-top-3") == pytest.approx(0.6)
    assert pooled(by_slice[:2], "mean-top-3") == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('task = "segmentation+classification"', 'task = "detection"', "task: expected one of"),
        ('orientation = "axial"', 'orientation = "oblique"', "orientation: expected one of"),
        ('pool = "mean-top-3"', 'pool = "median"', "pool: expected one of"),
        ("abnormal = true", "plausible_ml = [5, 1]", r"expected plausible values as \[low, high\]"),
        ("abnormal = true", "plausible_share = [0.1]", r"expected plausible values as \[low, high\]"),
    ],
)
def test_declaration_that_makes_no_sense(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = toy.make_series_models(tmp_path) / "mr-tumour" / "model.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ModelError, match=said):
        infer.read(path.parent)


def test_declaration_of_a_model_for_series(tmp_path: Path) -> None:
    model = infer.read(toy.make_series_models(tmp_path) / "mr-tumour")
    assert (model.segments, model.classifies, model.mask_output) == (True, True, "mask")
    assert model.series.orientation == "axial"
    assert model.series.pool == "mean-top-3"
    assert model.series.description_not == ("*scout*",)
    assert model.labels[0].abnormal
    assert model.views == ()
