"""What a campaign saw."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from wetread.evidence.torture.objects import Sent
from wetread.evidence.torture.process import Start


@dataclass(slots=True)
class Seen:
    """What a campaign saw."""

    acknowledged: dict[str, Sent] = field(default_factory=dict)  # by SOP Instance UID
    sent: dict[str, Sent] = field(default_factory=dict)
    asked: dict[str, frozenset[str]] = field(default_factory=dict)  # Transaction UID -> SOP Instance UIDs
    lives: Counter[str] = field(default_factory=Counter)  # place -> lives that were meant to end there
    reached: Counter[str] = field(default_factory=Counter)  # place -> lives that ended there
    starts: list[Start] = field(default_factory=list)  # without models
    starts_real: list[Start] = field(default_factory=list)  # with the models that ship
    faults: list[str] = field(default_factory=list)  # found between two lives
    exit: int | None = None
    seconds: float = 0.0
