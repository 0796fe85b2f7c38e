"""What a child answers who wants a de-identified copy: names, and bytes as a plain array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wetread.acquire.deidentify import Answers, Asked, Profile, answered, asked
from wetread.contain.shown import Plane
from wetread.errors import Blocked
from wetread.routes import BurnedIn
from wetread.settings import Settings

#: A key of `wetread.errors.BLOCKED` or "", and what the ledger must be asked.
Question = tuple[str, Asked | None]
#: The same, and one plane of the bytes of the copy.
Copy = tuple[str, tuple[Plane, ...]]


def question(told: Mapping[str, Any], data: bytes) -> Question:
    """Say which names an image holds."""
    try:
        return "", asked(data, _profile(told))
    except Blocked as error:
        return error.code, None


def copied(told: Mapping[str, Any], data: bytes, settings: Settings) -> Copy:
    """Make the copy of an image for which the ledger has answered."""
    try:
        made = answered(data, _profile(told), Answers(**told["answers"]), settings)
    except Blocked as error:
        return error.code, ()
    return "", (Plane(np.frombuffer(made, np.uint8).reshape(1, 1, -1)),)


def _profile(told: Mapping[str, Any]) -> Profile:
    """A profile that was JSON."""
    given = told["profile"]
    rules = (BurnedIn(**{key: _tuples(value) for key, value in rule.items()}) for rule in given["burned_in"])
    return Profile(frozenset(given["options"]), given["pixels_clean"], tuple(rules))


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
