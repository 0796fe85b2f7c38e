"""A recipe is data: how an image becomes a tensor.  It travels with the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from wetread.errors import ModelError


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps from an image to a model's tensor, in their order."""

    grid: tuple[int, int]  # (y, x) of the model's grid, pixels
    region: str = "image"  # "image", or the id of the model whose mask bounds the region
    region_margin: float = 0.0  # grown on each side, as a share of the region's size
    percentiles: tuple[float, float] = (0.5, 99.5)  # of the content, after the resize; become 0 and 1
    channels: int = 1  # the grey image is repeated
    mean: tuple[float, ...] = (0.0,)  # by channel
    std: tuple[float, ...] = (1.0,)  # by channel

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe in canonical JSON, hex."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def from_table(table: Mapping[str, Any]) -> Recipe:
    """A recipe from the ``[recipe]`` table of `model.toml`.

    Raises
    ------
    ModelError
        An unknown or missing key, or a value outside its range.
    """
    known = {item.name for item in fields(Recipe)}
    unknown = sorted(set(table) - known)
    if unknown or "grid" not in table:
        raise ModelError(f"[recipe]: expected grid and any of {sorted(known)}, got {sorted(table)}")
    recipe = Recipe(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
    low, high = recipe.percentiles
    if not (0 <= low < high <= 100):
        raise ModelError(f"[recipe] percentiles: expected 0 <= low < high <= 100, got {recipe.percentiles}")
    if len(recipe.grid) != 2 or min(recipe.grid) < 8:
        raise ModelError(f"[recipe] grid: expected two sizes of at least 8 pixels, got {recipe.grid}")
    if recipe.channels not in (1, 3) or {len(recipe.mean), len(recipe.std)} - {1, recipe.channels}:
        raise ModelError(f"[recipe] channels, mean, std: expected 1 or 3 equal counts, got {recipe}")
    return recipe
