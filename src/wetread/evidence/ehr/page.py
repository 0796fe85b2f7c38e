"""Sections of figures, and the page that holds them: those that are not made anew stay as they were."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wetread.infer.machine import machine

HEAD = """# Orders in, results out: measured

Made by `make ehr`; each section by `python -m wetread.evidence.ehr --only NAME`. The numbers are in
[ehr.json](ehr.json).
"""


@dataclass(frozen=True, slots=True)
class Section:
    """What one program found."""

    name: str
    title: str
    about: str  # what was done, and what is unfair about it
    checks: Mapping[str, bool]  # what is promised, and whether it held
    rows: Sequence[Sequence[Any]]  # the first one is the head of a table
    seconds: float
    machine: str = ""
    day: str = ""

    @property
    def holds(self) -> bool:
        """Whether all that is promised held."""
        return all(self.checks.values())


def write(out: Path, made: Sequence[Section]) -> None:
    """Write page and numbers; what another program found stays."""
    path = out / "ehr.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for section in made:
        day = time.strftime("%Y-%m-%d", time.gmtime())
        known[section.name] = asdict(section) | {"machine": machine(), "day": day}
    path.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    text = "\n".join([HEAD, *(_section(Section(**known[name])) for name in sorted(known))])
    (out / "ehr.md").write_text(text, encoding="utf-8")


def _section(one: Section) -> str:
    lines = [f"## {one.title}", "", one.about, ""]
    lines += [f"- {'holds' if held else '**DOES NOT HOLD**'}: {promise}" for promise, held in one.checks.items()]
    head, *rows = one.rows
    lines += ["", _row(head), _row(["---"] * len(head)), *map(_row, rows), ""]
    lines += [f"{one.day}, {one.machine}, {one.seconds:.0f} s.", ""]
    return "\n".join(lines)


def _row(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |"
