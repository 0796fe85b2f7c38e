"""The recipe's table: what it may say, and what it must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from wetread.errors import ModelError
from wetread.infer.recipe import digest, parse
from wetread.records import Recipe


def test_volume_and_window() -> None:
    table = {"grid": [16, 48, 32], "spacing_mm": [3.0, 1.0, 1.0], "window": [-1000, 400], "percentiles_of": "series"}
    assert parse(table) == Recipe(
        (48, 32), depth=16, spacing_mm=(3.0, 1.0, 1.0), window=(-1000, 400), percentiles_of="series"
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"grid": [16, 48, 32]}, "spacing_mm: expected .z, y, x. for a grid of three sizes"),
        ({"grid": [48, 32], "spacing_mm": [3, 1, 1]}, "expected 2 lengths"),
        ({"grid": [48, 32], "spacing_mm": [0, 1]}, "lengths above 0"),
        ({"grid": [48, 32], "spacing_mm": [1, 1], "region": "lungs"}, "other than image"),
        ({"grid": [48, 32], "region": "head"}, "expected a window in HU"),
        ({"grid": [48, 32], "window": [400, -1000]}, "two rising values"),
        ({"grid": [48, 32], "window": [400]}, "two rising values"),
        ({"grid": [48, 32], "percentiles_of": "study"}, "percentiles_of: expected one of"),
        ({"grid": [48, 32], "percentiles": [60, 40]}, "low < high"),
        ({"grid": [48, 32], "depth": 16}, "any of"),
        ({"grid": [48, 32], "axes": "HLR"}, "one letter of each"),
        ({"grid": [48, 32], "axes": "HP"}, "one letter of each"),
        ({"grid": [48, 32], "axes": "XPL"}, "one letter of each"),
        ({"grid": [4, 32]}, "at least 8"),
        ({"grid": [48, 32], "beside": True}, "beside: expected 3 channels"),
        ({"grid": [48]}, "two or three sizes"),
        ({"grid": [48, 32], "std": [0.0]}, "std: expected numbers above 0"),
        ({"grid": [48, 32], "mean": [float("nan")]}, "mean: expected numbers"),
    ],
)
def test_what_it_must_not_say(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        parse(table)


def test_digest_tells_recipes_apart_and_outlives_new_fields() -> None:
    recipe = Recipe((64, 64))
    assert digest(recipe) == digest(Recipe((64, 64), region="image", depth=0))
    others = [replace(recipe, depth=8), replace(recipe, window=(0.0, 1.0)), replace(recipe, percentiles_of="series")]
    assert len({digest(one) for one in (recipe, *others)}) == 4
