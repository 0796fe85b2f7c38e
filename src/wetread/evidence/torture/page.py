"""docs/evidence/torture.md: the table of kills and cuts, and what was checked afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from wetread.evidence.torture.checks import Check
from wetread.evidence.torture.lives import Plan
from wetread.evidence.torture.powercut import Cuts
from wetread.evidence.torture.seen import Seen
from wetread.infer.machine import machine


def numbers(plan: Plan, seen: Seen, cuts: Cuts, found: Sequence[Check]) -> dict[str, Any]:
    """Return everything that was found, for machines."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "seed": plan.seed,
        "machine": machine(),
        "load": round(os.getloadavg()[0], 1),
        "objects_before": plan.before,
        "objects_sent": len(seen.sent),
        "kills": {place: [seen.lives[place], seen.reached[place]] for place in seen.lives},
        "seconds": round(seen.seconds),
        "cuts": dict(cuts.cuts),
        "operations": cuts.operations,
        "acknowledged_in_the_trace": cuts.acknowledged,
        "adopted_after_cuts": cuts.adopted,
        "cut_seconds": round(cuts.seconds),
        "checks": [asdict(one) for one in found],
    }


def page(told: dict[str, Any]) -> str:
    """The page for people."""
    kills = sum(meant for meant, _ in told["kills"].values())
    lines = [
        "# Torture: kill -9 and power cuts",
        "",
        "Made by `make torture`. Every line below is counted by that run; nothing is typed in.",
        "",
        f"{told['date']}, seed {told['seed']}. Machine: {told['machine']}; load average at the end {told['load']}.",
        "",
        "## What was promised, and what was found",
        "",
        "| guarantee | what | expected | found | holds |",
        "|---|---|---|---|---|",
    ]
    for one in told["checks"]:
        holds = "yes" if one["holds"] else "**no**"
        lines.append(f"| {one['guarantee']} | {one['what']} | {one['expected']} | {one['found']} | {holds} |")
    lines += _kills(told, kills) + _cuts(told)
    return "\n".join(lines) + "\n"


def _kills(told: dict[str, Any], kills: int) -> list[str]:
    rows = [f"| {place} | {meant} | {reached} |" for place, (meant, reached) in sorted(told["kills"].items())]
    return [
        "",
        f"## {kills} times kill -9",
        "",
        f"A node with {told['objects_before']} objects in its store is started, gets studies over four associations",
        "(each study's objects are dealt over all of them), is killed, and is started again. What was not acknowledged",
        "is sent again, as a modality does. Between two lives every acknowledged object is looked for, those of the",
        "last lives are read; after each start the spool is held against the index.",
        "For what was acknowledged the sender asks for storage commitment; every request must be reported on, rightly.",
        f"{told['objects_sent']} objects were sent in {told['seconds']} s. Receivers are one of ours (all documents)",
        "and, where it is installed, DCMTK's storescp (reports). In the end a node is left alone until nothing waits.",
        "",
        "| the node was killed at | lives | killed there |",
        "|---|---|---|",
        *rows,
        "",
        "A life whose place is not reached within 8 s is killed all the same. A place counts when reached for the",
        "first, second or third time, by chance.",
        "",
        "What is unfair: the small objects are read by a cheap reader that makes an SR and a SEG (in name) without any",
        "model, so that hundreds of lives fit into minutes; every 20th life brings a real chest film (7 MB) for the",
        "models that ship. `max_tries` is 6, so that kills that hit one study by chance do not set it aside. Starts",
        "are timed beside whatever else the machine does: wall time counts that too, processor time does not. A",
        "process dies, not the machine: for that, see below.",
    ]


def _cuts(told: dict[str, Any]) -> list[str]:
    rows = [f"| {survives} | {number} |" for survives, number in told["cuts"].items()]
    return [
        "",
        f"## {sum(told['cuts'].values())} times the power",
        "",
        "Two lives of a node that takes, reads and delivers are watched by strace:",
        f"{told['operations']} operations (writes with their bytes, syncs, names, answers to peers),",
        f"{told['acknowledged_in_the_trace']} acknowledgements. They are replayed into a model of a disk up to a",
        "place; what is left is opened as a node opens it. Half of the places come right behind an acknowledgement,",
        "the others anywhere.",
        "",
        "| of what was not synced there survives | cuts |",
        "|---|---|",
        *rows,
        "",
        "The model of the disk ([disk.py](../../src/wetread/evidence/torture/disk.py)): bytes are safe when a sync of",
        "their file began after they were written and has ended; a name is safe when its folder was synced afterwards.",
        "Of the rest each sector of 512 bytes and each name survives or not by chance; a rename may leave both names,",
        "never none. The file that SQLite maps into memory (`-shm`) is filled with noise. That is less than ext4, XFS",
        "or APFS promise. A disk that says it has synced and has not is outside the model, and so is PostgreSQL.",
        "",
        f"{told['adopted_after_cuts']} objects that the index did not know were found and taken in. The cuts took",
        f"{told['cut_seconds']} s.",
    ]
