"""What stands for UIDs and identifiers: asked of the ledger, or by a process that must not hold it in two passes.

Whoever parses a stranger's file in a process of its own is told no secret: the first pass says which names there are,
the ledger's owner answers, the second pass puts the answers in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Answers", "Names", "Wanted"]


class Names(Protocol):
    """What stands for what: `wetread.acquire.deidentify.ledger.Ledger`, or one of the passes."""

    def uid(self, old: str) -> str:
        """Return the UID that stands for another one."""

    def pseudonym(self, kind: str, old: str) -> str:
        """Return what stands for an identifier."""

    def shift_days(self, patient: str) -> int:
        """Return by how many days the dates of a patient move."""


@dataclass(slots=True)
class Wanted:
    """The first pass: remembers what is asked."""

    uids: dict[str, None] = field(default_factory=dict)
    patients: dict[str, None] = field(default_factory=dict)

    def uid(self, old: str) -> str:
        """Remember a UID."""
        self.uids[old] = None
        return old

    def pseudonym(self, kind: str, old: str) -> str:
        """Remember an identifier of a patient, the only kind there is."""
        self.patients[old] = None
        return old

    def shift_days(self, patient: str) -> int:
        """Move nothing."""
        return 0


@dataclass(frozen=True, slots=True)
class Answers:
    """The second pass: says what it was told; a `KeyError` is a file that changed between the passes."""

    uids: Mapping[str, str]
    patients: Mapping[str, str]
    days: int

    def uid(self, old: str) -> str:
        """Return what stands for a UID."""
        return self.uids[old]

    def pseudonym(self, kind: str, old: str) -> str:
        """Return what stands for an identifier of a patient."""
        return self.patients[old]

    def shift_days(self, patient: str) -> int:
        """Return the days, which are the patient's of the file."""
        return self.days
