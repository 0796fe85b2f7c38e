"""Recipes of training as readable files: what to train, on which grid, how long."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from wetread.errors import BadInput
from wetread.infer.recipe import parse as recipe_of

__all__ = ["load_plan", "recipe_of"]

RECIPES = Path(__file__).parent / "recipes"


def load_plan(name: str | Path) -> dict[str, Any]:
    """Return a training recipe by its name, or from a TOML file.

    Raises
    ------
    BadInput
        There is no such recipe.
    """
    path = Path(name) if str(name).endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file():
        known = sorted(file.stem for file in RECIPES.glob("*.toml"))
        raise BadInput(f"expected one of {known} or a .toml file, got {str(name)!r}")
    with path.open("rb") as stream:
        return tomllib.load(stream)
