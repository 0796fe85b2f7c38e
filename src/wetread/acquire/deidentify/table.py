"""Table E.1-1 of PS3.15: what the basic profile does with an attribute, and which options keep or clean it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Rule", "rule_of"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table."""

    basic: str  # X remove, Z empty, D dummy, U new UID; several with / between them
    options: frozenset[str]  # names of the options under which it is kept or cleaned

    @property
    def action(self) -> str:
        """The strictest action under which an object stays valid whatever its IOD demands: the last of several.

        References
        ----------
        PS3.15 Table E.1-1a: X/Z, X/D, Z/D and the like, "to maintain IOD conformance".
        """
        return self.basic.removesuffix("*").split("/")[-1]


@cache
def _table() -> dict[int, Rule]:
    text = (files(__package__) / "table_e1_1.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {int(tag, 16): Rule(basic, frozenset(" ".join(options).split())) for tag, _, basic, *options in rows}


def rule_of(tag: int) -> Rule | None:
    """Return the rule of a public attribute, None if the table does not name it.

    Curves (50xx) are named by group.  So are overlays (60xx): the table removes their data and comments, and without
    them the rest describes nothing.
    """
    if tag >> 24 in (0x50, 0x60):
        return Rule("X", frozenset())
    return _table().get(tag)
