"""Keys and numbers of a declaration in TOML: none is passed over, and each is a number that can be meant."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any

from wetread.errors import ModelError


def check_keys(table: Iterable[str], known: Collection[str], where: str) -> None:
    """Refuse a key that nobody reads: what it was meant to bound would silently have no bound.

    Raises
    ------
    ModelError
        The table holds another key than the known ones.
    """
    if unknown := sorted(set(table) - set(known)):
        raise ModelError(f"{where}: expected {', '.join(known)}; got {', '.join(unknown)}")


def number(value: Any, where: str, most: float = math.inf, least: float = 0.0) -> float:
    """Return a finite number from `least` to `most`, both included.

    Raises
    ------
    ModelError
        It is another one, infinite or none: nothing would ever be beyond such a bound.
    ValueError, TypeError
        It is of another type.
    """
    found = float(value)
    if not (math.isfinite(found) and least <= found <= most):
        raise ModelError(f"{where}: expected a finite number, {least:g} to {most:g}, got {found:g}")
    return found
