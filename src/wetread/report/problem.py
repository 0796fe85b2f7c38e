"""What the checker says when something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wetread.errors import DocumentError

#: Clause of what our own documents have beyond the standard: other software's are not judged by it.
HABIT = "Wetread documents"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a document."""

    where: str  # path of keywords, items counted from 1
    sentence: str  # what was expected and what came; never a patient identifier
    clause: str  # where the standard or the profile says so

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence} ({self.clause})"


def require_none(what: str, problems: Iterable[Problem]) -> None:
    """Let a document pass, or not.

    Raises
    ------
    DocumentError
        Something is wrong; the message names the first few problems, and no patient.
    """
    found = list(problems)
    if found:
        raise DocumentError(f"{what}: expected no problem, got {len(found)}: {'; '.join(map(str, found[:5]))}")
