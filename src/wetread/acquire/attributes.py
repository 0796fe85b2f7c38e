"""Reading single attributes, each with its own coded refusal.

A detail names the attribute, what was expected and what kind of thing came.  It
quotes numbers and terms of the standard only: free text may hold a name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from wetread.errors import NotRead

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")
MAX_UID = 64


def name(keyword: str) -> str:
    """Attribute name and tag as people know them: ``Rows (0028,0010)``."""
    tag = tag_for_keyword(keyword) or 0
    return f"{dictionary_description(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def missing(keyword: str) -> NotRead:
    """Make the refusal of a header without this attribute."""
    return NotRead("MISSING-TAG", f"{name(keyword)} is missing or empty.")


def bad(keyword: str, expected: str, got: str) -> NotRead:
    """Make the refusal of a header whose attribute makes no sense."""
    return NotRead("BAD-TAG", f"{name(keyword)}: expected {expected}, got {got}.")


@lru_cache(maxsize=8192)
def interned(tag: int) -> BaseTag:
    """The one object that stands for a tag: a dictionary finds it without asking whether two are equal."""
    return BaseTag(tag)


@lru_cache(maxsize=1024)
def _tag(keyword: str) -> BaseTag:
    return interned(tag_for_keyword(keyword) or 0)


def values(header: Dataset, keyword: str) -> list[Any]:
    """Return all values of an attribute, [] when it is missing or empty."""
    element = header._dict.get(_tag(keyword))
    if element is None:
        return []
    # What is converted already needs none of pydicom's detours; there are sixty look-ups an instance.
    value = element.value if isinstance(element, DataElement) else header.get(keyword, None)
    if value is None or (isinstance(value, str | bytes) and not value):
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def text(header: Dataset, keyword: str) -> str:
    """Return the first value as text without padding, "" when missing."""
    found = values(header, keyword)
    return str(found[0]).strip(" \0") if found else ""


def whole(header: Dataset, keyword: str, default: int | None = None) -> int:
    """Return the single whole number of an attribute.

    Raises
    ------
    NotRead
        MISSING-TAG when it is missing and has no default; BAD-TAG when it is
        no single whole number.
    """
    found = values(header, keyword)
    if not found:
        if default is None:
            raise missing(keyword)
        return default
    if len(found) != 1 or isinstance(found[0], bool) or not isinstance(found[0], int):
        kind = f"{len(found)} values" if len(found) > 1 else type(found[0]).__name__
        raise bad(keyword, "one whole number", kind)
    return int(found[0])


def number(header: Dataset, keyword: str) -> float | None:
    """Return the single finite number of an attribute, None when missing.

    Raises
    ------
    NotRead
        BAD-TAG when it is no single finite number.
    """
    found = values(header, keyword)
    if not found:
        return None
    numbers = [as_float(item) for item in found]
    if len(numbers) != 1 or numbers[0] is None:
        raise bad(keyword, "one finite number", "something else")
    return numbers[0]


def as_float(value: Any) -> float | None:
    """Turn a value into a finite float, None when it is none."""
    try:
        made = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return made if math.isfinite(made) else None


def is_uid(value: Any) -> bool:
    """Whether a value is a UID (PS3.5 Section 9.1); a leading zero in a component is forgiven."""
    return isinstance(value, str) and len(value) <= MAX_UID and _UID.fullmatch(value) is not None


def required_uid(header: Dataset, keyword: str) -> str:
    """Return a UID that the header must hold.

    Raises
    ------
    NotRead
        MISSING-TAG, or BAD-TAG for anything that is no UID: too long, other
        characters than digits and points, several values.
    """
    found = values(header, keyword)
    if not found:
        raise missing(keyword)
    if len(found) != 1 or not is_uid(found[0]):
        size = len(str(found[0]))
        got = f"{len(found)} values" if len(found) > 1 else f"{size} characters that are no UID"
        raise bad(keyword, f"a UID of at most {MAX_UID} characters", got)
    return str(found[0])
