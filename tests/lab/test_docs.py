"""The page about recipes names every key of the code, with its default."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from wetread.lab.augment import Augment
from wetread.lab.series import LOADERS
from wetread.lab.train import Plan

PAGE = (Path(__file__).parents[2] / "docs/reference/training-recipe.md").read_text(encoding="utf-8")


def test_every_key_of_training_stands_with_its_default() -> None:
    for field in dataclasses.fields(Plan):
        told = "required" if field.default is dataclasses.MISSING else field.default
        assert f"| `{field.name}` | {told} |" in PAGE, field.name


def test_every_random_change_stands_with_its_default() -> None:
    for field in dataclasses.fields(Augment):
        told = f"`{field.name}`" if field.name == "window" else f"`{field.name}` ({field.default})"
        assert told in " ".join(PAGE.split()), field.name


def test_every_folder_that_is_read_stands_there() -> None:
    for name in LOADERS:
        assert f"`{name}`" in PAGE, name
