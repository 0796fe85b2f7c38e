"""The ``[recipe]`` table of `model.toml`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from wetread.errors import ModelError
from wetread.records import Recipe

#: Parts of an image that a recipe may ask for.
REGIONS = ("image", "lungs")


def parse(table: Mapping[str, Any]) -> Recipe:
    """Make a recipe from its table.

    Raises
    ------
    ModelError
        An unknown or missing key, or a value outside its range.
    """
    known = {item.name for item in fields(Recipe)}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    if set(values) - known or "grid" not in values:
        raise ModelError(f"[recipe]: expected grid and any of {sorted(known)}, got {sorted(values)}")
    recipe = Recipe(**values)
    low, high = recipe.percentiles
    if not 0 <= low < high <= 100:
        raise ModelError(f"[recipe] percentiles: expected 0 <= low < high <= 100, got {recipe.percentiles}")
    if len(recipe.grid) != 2 or min(recipe.grid) < 8:
        raise ModelError(f"[recipe] grid: expected two sizes of at least 8 pixels, got {recipe.grid}")
    if recipe.region not in REGIONS:
        raise ModelError(f"[recipe] region: expected one of {REGIONS}, got {recipe.region!r}")
    if recipe.channels not in (1, 3) or {len(recipe.mean), len(recipe.std)} - {1, recipe.channels}:
        raise ModelError("[recipe] channels: expected 1 or 3, and as many values of mean and std, or one")
    return recipe


def digest(recipe: Recipe) -> str:
    """SHA-256 of a recipe in canonical JSON, hex."""
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()
