"""Two hours of a hospital's peak, squeezed: what comes back, how soon, and whether memory stays flat.

``make peak`` runs it.  A node with every model stands in a process of its own; this process
is the modalities, which send at times drawn beforehand, and the PACS, which counts what comes back.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from wetread.evidence.figures import out_folder
from wetread.evidence.hospital import Template, templates
from wetread.evidence.node import Served, serving
from wetread.infer.machine import machine
from wetread.settings import Destination, Settings, shipped_models
from wetread.wire import dimse

#: Share of each kind of study, and of each lane.
KINDS = {"CR": 0.70, "CT": 0.15, "MR": 0.15}
LANES = {"STAT": 0.10, "URGENT": 0.20, "ROUTINE": 0.70}
#: A burst comes in each hour, so long and so many times the usual rate.
BURST_S, BURST_FACTOR = 600.0, 3.0
#: After the last study was sent, how long the node may take for what waits.
PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """One study of the plan."""

    at_s: float  # of the peak's own time, before it is squeezed
    kind: str
    lane: str


@dataclass(slots=True)
class Sent:
    """What became of one study."""

    arrival: Arrival
    number: int
    study_uid: str = ""
    taken: float = 0.0  # when the last object was acknowledged, monotonic s
    refused: int = 0  # objects that the node had no room for, each sent again
    back: list[float] = field(default_factory=list)  # when each of its documents came, monotonic s

    @property
    def seconds(self) -> float:
        """From the last object taken to the last document received."""
        return max(self.back) - self.taken


def plan(hours: float, rate: float, seed: int = 1) -> list[Arrival]:
    """Draw when studies come: a Poisson process, `rate` an hour in the mean, with one burst in each hour.

    References
    ----------
    Lewis and Shedler, thinning of a Poisson process, Naval Research Logistics 26 (1979).
    """
    rng = np.random.default_rng(seed)
    usual = rate / 3600 / (1 + (BURST_FACTOR - 1) * BURST_S / 3600)
    arrivals, at = [], 0.0
    while (at := at + rng.exponential(1 / (usual * BURST_FACTOR))) < hours * 3600:
        burst = 1500 <= at % 3600 < 1500 + BURST_S
        if burst or rng.random() < 1 / BURST_FACTOR:
            kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
            arrivals.append(Arrival(at, kind, str(rng.choice(list(LANES), p=list(LANES.values())))))
    return arrivals


class Pacs:
    """Takes the documents, keeps when each came, and throws their bytes away."""

    def __init__(self) -> None:
        self.came: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._listener = dimse.Listener(Settings(ae_title="PACS", port=0), self._keep)
        self._listener.start()
        self.address = Destination("PACS", "127.0.0.1", self._listener.port)

    def _keep(self, received: dimse.Received) -> int:
        with self._lock:
            self.came.setdefault(received.study_uid, []).append(time.monotonic())
        return dimse.Status.SUCCESS

    def stop(self) -> None:
        """Stop to listen."""
        self._listener.stop(grace_s=1.0)


class Memory:
    """Looks at the node's resident memory every few seconds."""

    def __init__(self, served: Served, every_s: float) -> None:
        self.seen: list[tuple[float, float]] = []  # monotonic s, MB
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(served, every_s), daemon=True)
        self._thread.start()

    def _run(self, served: Served, every_s: float) -> None:
        while not self._end.wait(every_s):
            self.seen.append((time.monotonic(), served.resident_mb()))

    def stop(self) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join()


def send(served: Served, sent: Sent, template: Template) -> None:
    """Send one study over one association; what finds no room is sent again after a second."""
    sent.study_uid, files = template.copy(sent.number)
    while files:
        statuses = dimse.send(served.address, files, sent.arrival.lane, 60.0)
        files = [data for data, status in zip(files, statuses, strict=True) if status not in dimse.STORED]
        sent.refused += len(files)
        if files:
            time.sleep(1.0)
    sent.taken = time.monotonic()


def run(arrivals: Sequence[Arrival], squeeze: float, models: Path) -> dict[str, Any]:
    """Send the plan in 1 / `squeeze` of its time and wait until everything is back.

    Returns
    -------
    The figures, ready for JSON.
    """
    kinds = {one.kind: one for one in templates()}
    sent = [Sent(arrival, number) for number, arrival in enumerate(arrivals)]
    pacs = Pacs()
    try:
        with tempfile.TemporaryDirectory() as folder, serving(models, pacs.address, rules(Path(folder))) as served:
            _warm(served, kinds, pacs, len(sent))
            memory = Memory(served, 1.0)
            start = time.monotonic()
            with ThreadPoolExecutor(16) as modalities:
                waits = []
                for one in sent:
                    time.sleep(max(0.0, start + one.arrival.at_s / squeeze - time.monotonic()))
                    waits.append(modalities.submit(send, served, one, kinds[one.arrival.kind]))
                for wait in waits:
                    wait.result()
            sending = time.monotonic() - start
            open_after = drained(served)
            memory.stop()
            for one in sent:
                one.back = pacs.came.get(one.study_uid, [])
            return _figures(sent, memory, start, sending, time.monotonic() - start, open_after, served.get("/metrics"))
    finally:
        pacs.stop()


def rules(folder: Path) -> Path:
    """The settings file of the node: the AE title of a modality is the name of its lane."""
    path = folder / "node.toml"
    path.write_text("".join(f'[[routes]]\nlane = "{lane}"\ncalling_ae = "{lane}"\n' for lane in LANES))
    return path


def _warm(served: Served, kinds: dict[str, Template], pacs: Pacs, first: int) -> None:
    """Let the node read each kind once before the clock starts; it would otherwise pay for its first time in there."""
    for number, template in enumerate(kinds.values(), first):
        warm = Sent(Arrival(0, template.kind, "ROUTINE"), number)
        send(served, warm, template)
    drained(served)
    pacs.came.clear()


def _open(served: Served) -> int:
    """How many studies the node has not ended yet."""
    lines = [line.split() for line in served.get("/metrics").splitlines() if line.startswith("wetread_jobs{")]
    return int(sum(float(value) for name, value in lines if not any(end in name for end in ENDED)))


ENDED = ("DELIVERED", "REFUSED", "FAILED", "CANCELED")


def drained(served: Served) -> int:
    """Wait until every study has ended, at most `PATIENCE_S`; return how many have not."""
    end = time.monotonic() + PATIENCE_S
    while (left := _open(served)) and time.monotonic() < end:
        time.sleep(0.25)
    return left


def _figures(
    sent: list[Sent], memory: Memory, start: float, sending: float, whole: float, left: int, metrics: str
) -> dict[str, Any]:
    done = [one for one in sent if one.back]
    quarter = [mb for at, mb in memory.seen if at - start > sending / 4]
    early, late = np.array_split(np.array(quarter or [0.0]), 2)
    return {
        "studies": len(sent),
        "back": len(done),
        "unfinished": left,
        "failed": _count(metrics, "FAILED"),
        "no room, sent again": sum(one.refused for one in sent),
        "sending_s": round(sending, 1),
        "whole_s": round(whole, 1),
        "memory_mb": {"first half": _round(early), "second half": _round(late)},
        "memory_grew": round(float(np.median(late) / max(1e-9, np.median(early)) - 1), 3),
        "by_lane": {lane: _seconds(one for one in done if one.arrival.lane == lane) for lane in LANES},
        "by_kind": {kind: _seconds(one for one in done if one.arrival.kind == kind) for kind in KINDS},
        "course": {
            "seconds": [[round(one.taken - start, 2), round(one.seconds, 3), one.arrival.lane] for one in done],
            "memory": [[round(at - start, 1), round(mb, 1)] for at, mb in memory.seen],
        },
    }


def _round(values: Any) -> float:
    return round(float(np.median(values)), 1)


def _count(metrics: str, state: str) -> int:
    lines = [line for line in metrics.splitlines() if line.startswith("wetread_jobs{") and state in line]
    return int(sum(float(line.split()[1]) for line in lines))


def _seconds(studies: Any) -> dict[str, float | None]:
    values = np.array([one.seconds for one in studies])
    cuts = {f"p{p}_s": round(float(np.percentile(values, p)), 2) if len(values) else None for p in (50, 95, 99)}
    return {"n": len(values), **cuts}


def page(found: dict[str, Any]) -> str:
    """The page for people."""
    row = "| {} | {n} | {p50_s} | {p95_s} | {p99_s} |"
    head = "|---|---|---|---|---|"
    lines = [
        "# A hospital's peak",
        "",
        f"Made by `{found['command']}`, {found['date']}; {found['machine']}.",
        "",
        f"{found['hours']:g} hours of {found['rate']:g} studies an hour, with {BURST_FACTOR:g} times the usual rate "
        f"for {BURST_S / 60:g} minutes of each hour, squeezed {found['squeeze']:g} times: {found['studies']} studies "
        f"were sent in {found['sending_s']:.0f} s. Seconds run from the last object acknowledged to the last document "
        "received.",
        "",
        f"**{found['back']} of {found['studies']} came back**, {found['unfinished']} unfinished, {found['failed']} "
        f"failed; {found['no room, sent again']} objects found no room at first and were sent again by the modality. "
        f"Memory of the node, a quarter of the time after the start: median {found['memory_mb']['first half']:.0f} MB "
        f"in the first half of what is left, {found['memory_mb']['second half']:.0f} MB in the second "
        f"({found['memory_grew']:+.1%}).",
        "",
        "![Seconds to the last document, and memory, over the run](peak.svg)",
        "",
        "| lane | studies | p50, s | p95, s | p99, s |",
        head,
        *(row.format(lane, **found["by_lane"][lane]) for lane in LANES),
        "",
        "| study | studies | p50, s | p95, s | p99, s |",
        head,
        *(row.format(kind, **found["by_kind"][kind]) for kind in KINDS),
        "",
        "What is unfair: modalities, node and PACS share the machine's cores; the CR is one real film under other "
        "UIDs, CT (60 slices) and MR (24 slices) are phantoms; the PACS keeps nothing; one seed.",
    ]
    return "\n".join(lines) + "\n"


def draw(found: dict[str, Any], path: Path) -> None:
    """The picture: each study's seconds by lane, and the node's memory."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for lane, colour in zip(LANES, ("#c0392b", "#e0a030", "#2c6fbb"), strict=True):
        points = [(at, seconds) for at, seconds, of in found["course"]["seconds"] if of == lane]
        upper.scatter(*zip(*points, strict=True) if points else ([], []), s=7, color=colour, label=lane)
    upper.set(yscale="log", ylabel="s to the last document")
    upper.legend(loc="upper left", ncols=3)
    lower.plot(*zip(*found["course"]["memory"], strict=True), color="#333333")
    lower.set(xlabel="s of the run", ylabel="memory, MB", ylim=(0, None))
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "wetread"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run the peak, and write page, picture and numbers; exit 1 if anything did not come back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=out_folder, default="docs/evidence")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=400.0, help="studies an hour, in the mean")
    parser.add_argument("--squeeze", type=float, default=8.0, help="times faster than the hospital's clock")
    parser.add_argument("--models", type=Path, default=shipped_models())
    given = parser.parse_args()
    found = {
        "command": f"python -m wetread.evidence.peak --hours {given.hours:g} --rate {given.rate:g} "
        f"--squeeze {given.squeeze:g}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "hours": given.hours,
        "rate": given.rate,
        "squeeze": given.squeeze,
        **run(plan(given.hours, given.rate), given.squeeze, given.models),
    }
    draw(found, given.out / "peak.svg")
    (given.out / "peak.md").write_text(page(found), encoding="utf-8")
    numbers = {key: value for key, value in found.items() if key != "course"}
    (given.out / "peak.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(page(found))
    sys.exit(found["back"] < found["studies"] or found["unfinished"] > 0 or found["failed"] > 0)


if __name__ == "__main__":
    main()
