"""Ten times what a node can read, for ten minutes: what it says, what it keeps, and how a STAT film fares meanwhile.

``make overload`` runs it.  Small films are sent at ten times the rate at which the node reads them, whatever it
answers; what is refused is not sent again.  A STAT film goes in between every few seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from wetread.evidence.figures import out_folder
from wetread.evidence.hospital import Template, small_film
from wetread.evidence.lanes import Bench, bench_of, cuts
from wetread.evidence.peak import Memory, drained
from wetread.infer.machine import machine
from wetread.settings import shipped_models
from wetread.wire.dimse import STORED, send

FACTOR, SENDERS, WAITING = 10, 4, 200
#: Numbers of the small films' studies, beyond those of others.
FIRST = 10**6
#: Between two STAT films, s.
EVERY_S = 3.0
#: After the load, a STAT film must be as quick as on the idle node within this time, s.
AGAIN_S = 30.0


class Load:
    """Senders that each send one small film after the other, at their share of a rate, whatever is answered."""

    def __init__(self, bench: Bench, template: Template, rate: float, first: int) -> None:
        self.answers: Counter[int] = Counter()
        self.taken: list[str] = []  # Study Instance UIDs that were acknowledged
        self._bench, self._template = bench, template
        self._each_s = SENDERS / rate
        self._numbers = itertools.count(first)
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(SENDERS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._end.is_set():
            study, files = self._template.copy(next(self._numbers))
            (status,) = send(self._bench.served.address, files, "ROUTINE", 60.0)
            self.answers[status] += 1
            if status in STORED:
                self.taken.append(study)
            due += self._each_s
            self._end.wait(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """Send no more."""
        self._end.set()
        for thread in self._threads:
            thread.join()


def capacity(bench: Bench, template: Template, films: int = 60) -> float:
    """Return how many small films the node reads and delivers a second."""
    start = time.monotonic()
    load = Load(bench, template, 1e6, FIRST)
    while len(load.taken) < films:
        time.sleep(0.01)
    load.stop()
    drained(bench.served)
    return len(load.taken) / (time.monotonic() - start)


def measure(models: Path, minutes: float, films: int) -> dict[str, Any]:
    """Load the node beyond what it can do, and look at everything it promises meanwhile.

    Returns
    -------
    The figures, ready for JSON.
    """
    with bench_of(models, f"max_waiting = {WAITING}\n") as bench:
        bench.warm()
        idle = [bench.stat() for _ in range(films)]
        template = small_film()
        rate = capacity(bench, template)
        bench.pacs.came.clear()
        memory, start = Memory(bench.served, 1.0), time.monotonic()
        load, full = Load(bench, template, FACTOR * rate, 2 * FIRST), []
        while time.monotonic() - start < 60 * minutes:
            full.append(bench.stat())
            time.sleep(EVERY_S)
        load.stop()
        seconds = time.monotonic() - start
        again = _again(bench, float(np.percentile(idle, 95)))
        left = drained(bench.served)
        memory.stop()
        back, used = bench.pacs.came, [mb for _, mb in memory.seen]
        return {
            "minutes": round(seconds / 60, 1),
            "reads_s": round(rate, 1),
            "sent_s": round(sum(load.answers.values()) / seconds, 1),
            "answers": {f"0x{status:04X}": number for status, number in sorted(load.answers.items())},
            "acknowledged": len(load.taken),
            "acknowledged_without_result": sum(study not in back for study in load.taken),
            "unfinished": left,
            "ended": bench.served.process.poll() is not None,
            "memory_mb": {"median": round(float(np.median(used))), "most": round(max(used))},
            "stat_idle_s": cuts(idle),
            "stat_full_s": cuts(full),
            "stat_films": [len(idle), len(full)],
            "ratio_p99": round(float(np.percentile(full, 99) / np.percentile(idle, 99)), 2),
            "idle_again_s": round(again, 1),
            "queue_empty_s": round(time.monotonic() - start - seconds, 1),
        }


def _again(bench: Bench, usual_s: float) -> float:
    """Return how long after the load a STAT film takes its usual time again."""
    start = time.monotonic()
    while (begun := time.monotonic() - start) < 2 * AGAIN_S:
        if bench.stat() <= usual_s:
            return begun
    return begun


def page(found: dict[str, Any]) -> str:
    """The page for people."""
    row = "| {} | {} | {p50} | {p95} | {p99} |"
    answers = ", ".join(f"{status} {number:,} times" for status, number in found["answers"].items())
    held = {
        "no acknowledged study without a result": found["acknowledged_without_result"] == 0,
        "every study ended": found["unfinished"] == 0,
        "the node lives": not found["ended"],
        "refusals are explicit: 0xA700 and nothing else": set(found["answers"]) <= {"0x0000", "0xA700"},
        "99th percentile of STAT at most twice the idle one": found["ratio_p99"] <= 2.0,
        f"a STAT film takes its usual time again within {AGAIN_S:.0f} s": found["idle_again_s"] <= AGAIN_S,
    }
    lines = [
        "# Ten times what the node can read",
        "",
        f"Made by `{found['command']}`, {found['date']}; {found['machine']}.",
        "",
        f"The node reads and delivers {found['reads_s']:g} small films a second here; for {found['minutes']:g} minutes "
        f"{found['sent_s']:g} a second were sent over {SENDERS} associations, and whatever was refused was not sent "
        f"again. Its queue may hold {WAITING} studies (`max_waiting`). Answers: {answers}. Its memory: median "
        f"{found['memory_mb']['median']} MB, at most {found['memory_mb']['most']} MB. Everything was read and "
        f"delivered {found['queue_empty_s']:g} s after the load.",
        "",
        "| promise | held |",
        "|---|---|",
        *(f"| {what} | {'yes' if yes else '**no**'} |" for what, yes in held.items()),
        "",
        "| STAT film, from acknowledgement to its last document | films | p50, s | p95, s | p99, s |",
        "|---|---|---|---|---|",
        row.format("idle", found["stat_films"][0], **found["stat_idle_s"]),
        row.format("overloaded", found["stat_films"][1], **found["stat_full_s"]),
        "",
        f"99th percentile: {found['ratio_p99']:g} times the idle one. A STAT film took its usual time again "
        f"{found['idle_again_s']:g} s after the load.",
        "",
        "What is unfair: the senders and the PACS take their share of the same cores from the node, which a hospital's "
        "do not; the small film is the real one at a quarter of its rows and columns; the STAT film is the whole one.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write page and figures; exit 1 if something acknowledged has no result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=out_folder, default="docs/evidence")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--films", type=int, default=40, help="STAT films on the idle node")
    parser.add_argument("--models", type=Path, default=shipped_models())
    given = parser.parse_args()
    found = {
        "command": f"python -m wetread.evidence.overload --minutes {given.minutes:g} --films {given.films}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        **measure(given.models, given.minutes, given.films),
    }
    (given.out / "overload.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (given.out / "overload.md").write_text(page(found), encoding="utf-8")
    sys.stdout.write(page(found))
    sys.exit(bool(found["acknowledged_without_result"] or found["unfinished"] or found["ended"]))


if __name__ == "__main__":
    main()
