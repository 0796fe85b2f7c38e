"""What stands for UIDs and identifiers: asked of the ledger, or by a process that must not hold it in two passes.

Whoever parses a stranger's file in a process of its own is told no secret: the first pass says which names there are,
the ledger's owner answers, the second pass puts the answers in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydicom.dataset import Dataset

from wetread.acquire.person import patient

__all__ = ["SEPARATOR", "Answers", "Names", "Wanted", "whose"]

#: Between an identifier and its issuer; no DICOM text holds it.
SEPARATOR = "\x1f"


def whose(header: Dataset) -> str:
    """Return to whom a pseudonym and days belong: an identifier and its issuer, else issuer, name and birth date.

    The identifier is as it stands there, padding included: pseudonyms that ledgers hold are made of it. Where nothing
    says who the patient is, no two studies are taken for the same one's.
    """
    identifier, issuer, *named = patient(header)
    if identifier:
        return f"{header.PatientID}{SEPARATOR}{issuer}"
    told = (issuer, *named) if named[0] else (str(header.get("StudyInstanceUID", "")),)
    return SEPARATOR.join(("", *told))


class Names(Protocol):
    """What stands for what: `wetread.acquire.deidentify.ledger.Ledger`, or one of the passes."""

    def uid(self, old: str) -> str:
        """Return the UID that stands for another one."""

    def pseudonym(self, kind: str, old: str) -> str:
        """Return what stands for a patient, as `whose` tells them."""

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
        """Remember a patient, the only kind there is."""
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
        """Return what stands for a patient."""
        return self.patients[old]

    def shift_days(self, patient: str) -> int:
        """Return the days, which are the patient's of the file."""
        return self.days
