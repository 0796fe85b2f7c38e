"""Whether a full queue slows a STAT study down: the same film on the idle node, and while series wait and are read.

``python -m wetread.evidence.lanes`` runs it.  The node has every model and stands in a process of its own.  Idle and
full take turns in one run, because the machine's speed changes from minute to minute; what is told is their ratio.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from wetread.evidence.figures import out_folder
from wetread.evidence.hospital import Template, templates
from wetread.evidence.node import Served, serving
from wetread.evidence.peak import Arrival, Pacs, Sent, drained, rules, send
from wetread.infer.machine import machine
from wetread.settings import shipped_models

#: A study that is not back after this time is lost, s.
PATIENCE_S = 120.0
#: Series that wait at least, while a STAT study is measured under a full queue.
WAITING = 4


class Bench:
    """One node with its PACS, and studies that each have a number of their own."""

    def __init__(self, served: Served, pacs: Pacs, documents: int = 0) -> None:
        self.served, self.pacs, self.documents = served, pacs, documents
        self.kinds = {one.kind: one for one in templates()}
        self._numbers = itertools.count(1)

    def send(self, kind: str, lane: str) -> Sent:
        """Send one study; return when all of it is acknowledged."""
        sent = Sent(Arrival(0.0, kind, lane), next(self._numbers))
        template: Template = self.kinds[kind]
        send(self.served, sent, template)
        return sent

    def fill(self) -> None:
        """Send series, several at a time, until `WAITING` wait behind the one that is read."""
        with ThreadPoolExecutor(WAITING) as modalities:  # one alone sends hardly faster than they are read
            while self._waiting() <= WAITING:
                list(modalities.map(self.send, ["CT"] * WAITING, ["ROUTINE"] * WAITING))

    def _waiting(self) -> int:
        name = 'wetread_lane_depth{lane="ROUTINE"}'
        line = next(line for line in self.served.get("/metrics").splitlines() if line.startswith(name))
        return int(float(line.split()[1]))

    def stat(self) -> float:
        """Return the seconds from a STAT film acknowledged to the last of its documents received."""
        sent = self.send("CR", "STAT")
        end = time.monotonic() + PATIENCE_S
        while len(back := self.pacs.came.get(sent.study_uid, [])) < self.documents:
            if time.monotonic() > end:
                raise TimeoutError(f"STAT film: expected {self.documents} documents in {PATIENCE_S:.0f} s")
            time.sleep(0.002)
        return max(back) - sent.taken

    def warm(self) -> None:
        """Let the node read each kind once, and see how many documents a film makes."""
        film = self.send("CR", "ROUTINE")
        self.send("CT", "ROUTINE")
        drained(self.served)
        self.documents = len(self.pacs.came[film.study_uid])


@contextmanager
def bench_of(models: Path, settings: str = "") -> Iterator[Bench]:
    """A node in a process of its own, whose settings file begins with some lines, and its PACS."""
    pacs = Pacs()
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = rules(Path(folder))
            config.write_text(settings + config.read_text())
            with serving(models, pacs.address, config) as served:
                yield Bench(served, pacs)
    finally:
        pacs.stop()


def measure(models: Path, rounds: int, films: int) -> dict[str, Any]:
    """Time STAT films, idle and full in turn.

    Returns
    -------
    Percentiles of both, s, and their ratios, ready for JSON.
    """
    idle: list[float] = []
    full: list[float] = []
    with bench_of(models) as bench:
        bench.warm()
        for _ in range(rounds):
            idle += [bench.stat() for _ in range(films)]
            for _ in range(films):
                bench.fill()
                full.append(bench.stat())
            drained(bench.served)
    return {"films": len(idle), "idle_s": cuts(idle), "full_s": cuts(full), "ratio": _ratio(idle, full)}


def cuts(seconds: Sequence[float]) -> dict[str, float]:
    """Three percentiles of some times, s."""
    return {f"p{p}": round(float(np.percentile(seconds, p)), 3) for p in (50, 95, 99)}


def _ratio(idle: Sequence[float], full: Sequence[float]) -> dict[str, float]:
    return {f"p{p}": round(float(np.percentile(full, p) / np.percentile(idle, p)), 2) for p in (50, 95, 99)}


def page(found: dict[str, Any]) -> str:
    """The page for people."""
    row = "| {} | {p50} | {p95} | {p99} |"
    lines = [
        "# A STAT film, on an idle node and under a full queue",
        "",
        f"Made by `{found['command']}`, {found['date']}; {found['machine']}.",
        "",
        f"{found['films']} films each, idle and full in turn in one run; full: one series is being read and at least "
        f"{WAITING} wait. Seconds from the film's acknowledgement to the last of its documents at the PACS. Goal: a "
        "99th percentile at most twice the idle one.",
        "",
        "| | p50 | p95 | p99 |",
        "|---|---|---|---|",
        row.format("idle, s", **found["idle_s"]),
        row.format("full, s", **found["full_s"]),
        row.format("**full / idle**", **found["ratio"]),
        "",
        f"What is unfair: {found['unfair']}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write page and figures; exit 1 if the 99th percentile is more than doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=out_folder, default="docs/evidence")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--films", type=int, default=10, help="a round, idle and full each")
    parser.add_argument("--models", type=Path, default=shipped_models())
    given = parser.parse_args()
    found = {
        "command": f"python -m wetread.evidence.lanes --rounds {given.rounds} --films {given.films}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "unfair": "sender, node and PACS share the machine's cores with whatever else runs there, so sending the "
        "queue slows a STAT film too; the 99th percentile of so few films is nearly their slowest; "
        "the film is one real film under other UIDs, the queue CT phantoms of 60 slices",
        **measure(given.models, given.rounds, given.films),
    }
    (given.out / "lanes.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (given.out / "lanes.md").write_text(page(found), encoding="utf-8")
    sys.stdout.write(page(found))
    sys.exit(found["ratio"]["p99"] > 2.0)


if __name__ == "__main__":
    main()
