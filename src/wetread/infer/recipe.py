"""The ``[recipe]`` table of `model.toml`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from wetread.errors import ModelError
from wetread.records import Recipe

#: Parts of an image that a recipe may ask for.
REGIONS = ("image", "lungs", "head")
#: The two ends of each axis of the patient.
ENDS = ("LR", "PA", "HF")
#: What percentiles may be taken of.
PERCENTILES_OF = ("slice", "series")


def parse(table: Mapping[str, Any]) -> Recipe:
    """Make a recipe from its table.

    Parameters
    ----------
    table
        The fields of `wetread.records.Recipe`, but `grid` holds (y, x) or, for a
        volumetric model, (z, y, x), and there is no `depth`.

    Raises
    ------
    ModelError
        An unknown or missing key, or a value outside its range.
    """
    known = {item.name for item in fields(Recipe)} - {"depth"}
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    if set(values) - known or "grid" not in values:
        raise ModelError(f"[recipe]: expected grid and any of {sorted(known)}, got {sorted(values)}")
    for item in fields(Recipe):
        if item.name in values and not _fits(str(item.type), values[item.name]):
            kind = "numbers, such as [1, 2]" if "tuple" in str(item.type) else item.type
            raise ModelError(f"[recipe] {item.name}: expected {kind}, got {table[item.name]!r}")
    sizes = values.pop("grid")
    if len(sizes) not in (2, 3) or min(sizes) < 8:
        raise ModelError(f"[recipe] grid: expected two or three sizes of at least 8 pixels, got {sizes}")
    recipe = Recipe(grid=sizes[-2:], depth=sizes[0] if len(sizes) == 3 else 0, **values)
    if recipe.region not in REGIONS:
        raise ModelError(f"[recipe] region: expected one of {REGIONS}, got {recipe.region!r}")
    if recipe.region == "head" and recipe.window is None:
        raise ModelError("[recipe] region: expected a window in HU beside head: the skull is found by its density")
    if recipe.channels not in (1, 3) or {len(recipe.mean), len(recipe.std)} - {1, recipe.channels}:
        raise ModelError("[recipe] channels: expected 1 or 3, and as many values of mean and std, or one")
    if recipe.beside and (recipe.depth or recipe.channels != 3):
        raise ModelError("[recipe] beside: expected 3 channels and a grid of two sizes: a slice and its neighbours")
    if recipe.axes and sorted(sum(letter in pair for letter in recipe.axes) for pair in ENDS) != [1, 1, 1]:
        raise ModelError(f"[recipe] axes: expected one letter of each of {ENDS}, such as HPL, got {recipe.axes!r}")
    _check_spacing(recipe)
    _check_intensity(recipe)
    return recipe


def _fits(kind: str, value: Any) -> bool:
    """Whether a value is of the type of a field of `Recipe`, its numbers finite."""
    if "tuple" in kind:
        return isinstance(value, tuple) and all(_fits("float", one) for one in value)
    if kind in ("int", "float"):
        number = isinstance(value, int if kind == "int" else int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)
    return isinstance(value, bool if kind == "bool" else str)


def _check_spacing(recipe: Recipe) -> None:
    axes = 3 if recipe.depth else 2
    if recipe.spacing_mm is None:
        if recipe.depth:
            raise ModelError("[recipe] spacing_mm: expected (z, y, x) for a grid of three sizes, got none")
        return
    if len(recipe.spacing_mm) != axes or min(recipe.spacing_mm) <= 0:
        raise ModelError(f"[recipe] spacing_mm: expected {axes} lengths above 0, got {recipe.spacing_mm}")
    if recipe.region != "image":
        raise ModelError("[recipe] spacing_mm: expected none with a region other than image: it is laid to fit")


def _check_intensity(recipe: Recipe) -> None:
    if min(recipe.std) <= 0:
        raise ModelError(f"[recipe] std: expected numbers above 0, got {recipe.std}")
    low, high = recipe.percentiles
    if not 0 <= low < high <= 100:
        raise ModelError(f"[recipe] percentiles: expected 0 <= low < high <= 100, got {recipe.percentiles}")
    if recipe.percentiles_of not in PERCENTILES_OF:
        raise ModelError(f"[recipe] percentiles_of: expected one of {PERCENTILES_OF}, got {recipe.percentiles_of!r}")
    if recipe.window is not None and not (len(recipe.window) == 2 and recipe.window[0] < recipe.window[1]):
        raise ModelError(f"[recipe] window: expected two rising values, got {recipe.window}")


def digest(recipe: Recipe) -> str:
    """SHA-256 of a recipe in canonical JSON, hex; a field at its default is no part of it."""
    told = {item.name: value for item in fields(Recipe) if (value := getattr(recipe, item.name)) != item.default}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
