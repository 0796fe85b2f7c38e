"""How soon results lie in a PACS: from the last object of a study taken to the last of its documents in Orthanc."""

from __future__ import annotations

import json
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wetread.evidence.figures import Figure, p95
from wetread.evidence.hospital import Template, templates
from wetread.evidence.node import Served, serving
from wetread.settings import Destination
from wetread.wire import dimse
from wetread.wire.associate import WINDOW

SLICES, SLICES_A_SECOND = 200, 50
FILM_GOAL_MS, SERIES_GOAL = 250, 1.3
#: A study that is not back after this time is lost, s; how often Orthanc is asked, s.
PATIENCE_S, EVERY_S = 120.0, 0.003
#: How long after its last document a study is in the metrics, s.
SETTLE_S = 1.0
_STAGE = re.compile(r'wetread_(stage|reading)_seconds_sum({stage="(?P<stage>\w+)"})? (?P<seconds>\S+)')
UNFAIR = (
    f"sender, node and Orthanc share the cores; Orthanc is asked every {EVERY_S * 1e3:.0f} ms and keeps its files "
    "unsynced, as it comes; the clock starts when the last object is acknowledged, some ms after its last byte"
)


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc."""

    address: Destination
    http_port: int

    def stored(self) -> int:
        """How many instances it has."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/statistics", timeout=10) as answer:
            return int(json.loads(answer.read())["CountInstances"])


@contextmanager
def orthanc(**more: object) -> Iterator[Orthanc]:
    """Run Orthanc on loopback until the block ends.

    Parameters
    ----------
    more
        Further settings of Orthanc.

    Raises
    ------
    FileNotFoundError
        It is not installed.
    """
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise FileNotFoundError("Orthanc: expected the program, found none; install the package orthanc")
    with tempfile.TemporaryDirectory() as folder:
        port, http_port = _free_port(), _free_port()
        config = Path(folder) / "orthanc.json"
        config.write_text(
            json.dumps(
                {"StorageDirectory": folder, "IndexDirectory": folder, "DicomAet": "ORTHANC", "DicomPort": port}
                | {"HttpPort": http_port, "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True}
                | more
            )
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([program, str(config)], **quiet)  # type: ignore[call-overload]
        try:
            found = Orthanc(Destination("ORTHANC", "127.0.0.1", port), http_port)
            _until_answers(found)
            yield found
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _until_answers(found: Orthanc) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            found.stored()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@dataclass(slots=True)
class Row:
    """A node and Orthanc behind it, to which studies of one kind are sent one after the other."""

    served: Served
    pacs: Orthanc
    template: Template
    sent: int = 0

    def milliseconds(self, documents: int, gap_s: float = 0.0) -> float:
        """Send a copy; return the time from its last acknowledgement until so many documents are in Orthanc.

        Parameters
        ----------
        gap_s
            Waits so long between two objects.
        """
        target = self.pacs.stored() + documents
        self._send(gap_s)
        start = time.monotonic()
        while self.pacs.stored() < target:
            if time.monotonic() - start > PATIENCE_S:
                raise TimeoutError(f"{self.template.kind}: expected {documents} documents in {PATIENCE_S:.0f} s")
            time.sleep(EVERY_S)
        return (time.monotonic() - start) * 1e3

    def documents(self) -> int:
        """Send a copy; return how many documents it makes: nothing is left to do behind them."""
        before = self.pacs.stored()
        self._send()
        end = time.monotonic() + PATIENCE_S
        done = f'wetread_jobs{{state="DELIVERED"}} {self.sent}.0'
        while done not in self.served.get("/metrics"):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.template.kind}: expected a delivered study in {PATIENCE_S:.0f} s")
            time.sleep(0.05)
        return self.pacs.stored() - before

    def stages_ms(self) -> dict[str, float]:
        """All the time that each stage of the node took so far, and "reading" for all of them."""
        found = {}
        for line in self.served.get("/metrics").splitlines():
            told = _STAGE.match(line)
            if told:
                found[told["stage"] or "reading"] = 1e3 * float(told["seconds"])
        return found

    def _send(self, gap_s: float = 0.0) -> None:
        _, files = self.template.copy(self.sent)
        self.sent += 1
        paced = len(files) - WINDOW  # so many answers are left to take when the last object is under way

        def told(index: int, _status: int) -> None:
            time.sleep(gap_s if index < paced else 0.0)

        statuses = dimse.send(self.served.address, files, timeout_s=60.0, on_status=told)
        if set(statuses) - set(dimse.STORED):
            raise RuntimeError(f"{self.template.kind}: expected every object to be taken, got {sorted(set(statuses))}")


@contextmanager
def _row(models: Path, template: Template) -> Iterator[Row]:
    with orthanc() as pacs, serving(models, pacs.address) as served:
        yield Row(served, pacs, template)


def film(models: Path, runs: int) -> Figure:
    """A film of 1955 x 1841 into a node with every model, and its results into Orthanc."""
    template = templates(1, 1)[0]
    with _row(models, template) as row:
        documents = [row.documents() for _ in range(3)][-1]  # the first ones warm it up
        found = [row.milliseconds(documents) for _ in range(runs)]
    return Figure(
        f"film of 1955 x 1841, last object taken to its {documents} documents in Orthanc",
        f"p95 under {FILM_GOAL_MS} ms",
        f"p50 {statistics.median(found):.0f} ms, p95 {p95(found):.0f} ms",
        p95(found) < FILM_GOAL_MS,
        runs,
        UNFAIR,
    )


def series(models: Path, runs: int) -> Iterator[Figure]:
    """A CT of 200 slices into a node with every model, and its results into Orthanc: in a rush, and slice by slice."""
    template = templates(SLICES, 1)[1]
    with _row(models, template) as row:
        documents, model = row.documents(), 0.0
        for gap_s in (0.0, 1.0 / SLICES_A_SECOND):
            found, spent = [], []
            for _ in range(runs):
                before = row.stages_ms()
                found.append(row.milliseconds(documents, gap_s))
                time.sleep(SETTLE_S)
                spent.append({name: ms - before.get(name, 0.0) for name, ms in row.stages_ms().items()})
            stages = {name: statistics.median(one[name] for one in spent) for name in spent[-1]}
            model = model or stages["infer"]
            yield _series(documents, gap_s, found, stages, model)


def _series(documents: int, gap_s: float, found: list[float], stages: dict[str, float], model: float) -> Figure:
    took, reading = statistics.median(found), stages.pop("reading")
    how = f"a slice every {gap_s * 1e3:.0f} ms" if gap_s else "as fast as they are taken"
    early = "; the time of the model is that of the row above, as here most slices are answered before" if gap_s else ""
    return Figure(
        f"CT of {SLICES} slices of 512 x 512, {how}: last slice taken to its {documents} documents in Orthanc",
        f"at most {SERIES_GOAL:g} times the time of the model",
        f"{took:.0f} ms, slowest {max(found):.0f} ms; the model {model:.0f} ms: {took / model:.2f} times",
        took <= SERIES_GOAL * model,
        len(found),
        f"a phantom; {UNFAIR}{early}",
        {**stages, "store and deliver": max(0.0, took - reading)},
    )


def figures(models: Path, runs: int) -> list[Figure]:
    """Every row about results in a PACS; none where Orthanc is not installed."""
    try:
        return [film(models, 4 * runs), *series(models, max(3, runs // 5))]
    except FileNotFoundError as error:
        return [Figure("results in Orthanc", "every row", str(error), False, 0, "no figure is claimed")]
