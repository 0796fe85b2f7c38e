"""Private elements that may stay: those that the standard lists as safe, as far as their values cannot hold words.

References
----------
PS3.15 Section E.3.10 and Table E.3.10-1; PS3.5 Section 7.8.1 (blocks of private elements).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

__all__ = ["SafeElement", "is_safe", "safe_elements"]

#: What a value of a row may look like; binary numbers always look like it.
_FORMS = {
    "DS": re.compile(r" *[+-]?[0-9.]+([eE][+-]?[0-9]+)? *"),
    "IS": re.compile(r" *[+-]?[0-9]+ *"),
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "SH": re.compile(r"[0-9.:]{0,16}"),
    "LO": re.compile(r"[A-Z0-9_.+ -]{0,64}"),
}
_NUMBERS = frozenset({"US", "SS", "UL", "SL", "FL", "FD"})


@dataclass(frozen=True, slots=True)
class SafeElement:
    """One row of the table."""

    group: int
    element: int  # within its block
    creator: str
    vr: str
    meaning: str


@cache
def safe_elements() -> dict[tuple[int, str, int], SafeElement]:
    """Return the rows of the table by group, private creator and element within the block."""
    text = (files(__package__) / "table_e3_10_1.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    made = (SafeElement(int(tag[:4], 16), int(tag[6:], 16), creator, vr, what) for tag, creator, vr, what in rows)
    return {(one.group, one.creator, one.element): one for one in made}


def is_safe(element: DataElement, owner: Dataset) -> bool:
    """Whether a private element may stay: it is in the table, with its VR and a value of its form.

    Of a private creator: whether anything of its block may.
    """
    tag = element.tag
    if tag.is_private_creator:
        block = (tag.group << 16 | tag.element << 8, tag.group << 16 | tag.element << 8 | 0xFF)
        return any(is_safe(owner[one], owner) for one in owner.keys() if block[0] <= one <= block[1])  # noqa: SIM118
    row = safe_elements().get((tag.group, _creator(tag, owner), tag.element & 0xFF))
    if row is None or row.vr != element.VR:
        return False
    if row.vr in _NUMBERS or element.is_empty:
        return True
    values = element.value if element.VM > 1 else [element.value]
    return all(_FORMS[row.vr].fullmatch(str(value)) for value in values)


def _creator(tag: BaseTag, owner: Dataset) -> str:
    place = tag.group << 16 | tag.element >> 8
    return str(owner[place].value or "").strip() if place in owner else ""
