"""What the checker says when something is wrong."""

from __future__ import annotations

from dataclasses import dataclass

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
