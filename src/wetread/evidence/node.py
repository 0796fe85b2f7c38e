"""A serving node as a process of its own, for what can only be seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid

from wetread.settings import Destination
from wetread.wire import dimse


@dataclass(frozen=True, slots=True)
class Served:
    """A running node."""

    process: subprocess.Popen[str]
    address: Destination
    http_port: int

    def resident_mb(self) -> float:
        """Resident memory of the process, MB (10^6 byte)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8").splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return kib * 1024 / 1e6

    def processor_s(self) -> float:
        """Processor time that the process has used, in user and system mode, seconds: proc(5)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def get(self, path: str) -> str:
        """The text of one of the node's pages."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return str(answer.read().decode())


@contextmanager
def serving(models: Path, pacs: Destination | None = None, config: Path | None = None) -> Iterator[Served]:
    """Run `wetread serve` on loopback, with the models of a folder, until the block ends."""
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "wetread.cli", "--state", state, "--models", str(models)]
        command += ["--config", str(config)] if config else []
        command += ["serve", "--port", "0", "--http-port", "0", "--json"]
        command += ["--destination", f"{pacs.ae_title}@{pacs.host}:{pacs.port}"] if pacs else []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        try:
            ready: dict[str, Any] = json.loads(process.stdout.readline())
            served = Served(process, Destination("WETREAD", "127.0.0.1", ready["port"]), ready["http_port"])
            _until(lambda: _is_ready(served), 60)
            yield served
        finally:
            process.terminate()
            process.wait(timeout=30)
            process.stdout.close()


def _is_ready(served: Served) -> bool:
    try:
        return bool(served.get("/ready"))
    except OSError:
        return False


def _until(done: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"not done within {seconds:.0f} s")
        time.sleep(0.05)


def copies(film: Path, number: int) -> Iterator[bytes]:
    """The film as so many studies, each with UIDs of its own."""
    from io import BytesIO

    dataset = pydicom.dcmread(film)
    for _ in range(number):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        out = BytesIO()
        dataset.save_as(out)
        yield out.getvalue()


def resident_after(film: Path, studies: int, models: Path) -> float:
    """Resident memory of a node after it has read so many films, MB (10^6 byte)."""
    with serving(models) as served:
        for data in copies(film, studies):
            dimse.send(served.address, [data])
        _until(lambda: f"wetread_reading_seconds_count {studies}.0" in served.get("/metrics"), 120)
        return served.resident_mb()
