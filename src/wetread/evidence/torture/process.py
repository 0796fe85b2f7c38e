"""A node in a process of its own that may be killed at a named place, and a look into what it left."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from wetread.errors import WireError
from wetread.settings import Destination
from wetread.wire.dimse import STORED, send

VICTIM = "wetread.serve.victim"


@dataclass(frozen=True, slots=True)
class Start:
    """What a start cost, from the birth of the process until it is ready."""

    wall_s: float  # counts what else the machine does
    processor_s: float  # of all its threads


def processor_s(pid: int) -> float:
    """Return the processor time of a process, s (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Process:
    """A node in a process of its own.

    Attributes
    ----------
    born
        When it was started, monotonic seconds.
    destination, http_port
        Where it listens; after `listening`.

    Parameters
    ----------
    settings
        Of the node.
    at, hit
        It kills itself when this place is reached for the `hit`-th time; "": it lives.
    module
        The program; it takes the order as JSON.
    eager
        Whether its models are loaded before it calls itself ready.
    errors
        Where its standard error goes.
    cwd
        Where `module` is looked for.
    before
        A command that starts it, such as strace.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        at: str = "",
        hit: int = 1,
        module: str = VICTIM,
        eager: bool = False,
        errors: Any = subprocess.PIPE,
        cwd: Path | None = None,
        before: Sequence[str] = (),
    ) -> None:
        order = json.dumps({"settings": settings, "at": at, "hit": hit, "eager": eager})
        self.born = time.monotonic()
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", module, order],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=cwd,
        )
        self._pid = self.process.pid  # of what `before` started, once that is known

    def listening(self) -> bool:
        """Wait until its ports are open; return False if it died before."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            return False
        ports = json.loads(line)
        self.destination = Destination("WETREAD", "127.0.0.1", ports["port"])
        self.http_port = int(ports["http_port"])
        self._pid = int(ports["pid"])
        return True

    def ready(self, most_s: float = 60.0) -> Start | None:
        """Return what it cost until it called itself ready; None if it died before.

        Raises
        ------
        TimeoutError
            It did not within `most_s`.
        """
        while (age := time.monotonic() - self.born) < most_s:
            if self.process.poll() is not None:
                return None
            with suppress(OSError, HTTPException):  # it may die within an answer
                if self.get("/ready")[0] == 200:
                    return Start(time.monotonic() - self.born, processor_s(self._pid))
            time.sleep(0.01)
        raise TimeoutError(f"node: expected ready within {most_s:.0f} s, still waiting after {age:.0f} s")

    def get(self, path: str) -> tuple[int, str]:
        """Ask the HTTP port."""
        return get(self.http_port, path)

    def kill(self) -> None:
        """Cut the power."""
        self._signal(signal.SIGKILL)
        self.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self.process.poll() is None:
                os.kill(self._pid, number)

    def wait(self, timeout_s: float = 15.0) -> int:
        """Wait for the end; return the exit status, negative for a signal."""
        try:
            self.process.communicate(timeout=timeout_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                with suppress(ProcessLookupError):  # it outlives a strace that was before it
                    os.kill(self._pid, signal.SIGKILL)
                self.process.communicate()
        return self.process.returncode

    def died(self, timeout_s: float) -> bool:
        """Whether it ended within `timeout_s`."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)
        return self.process.poll() is not None

    def stop(self) -> int:
        """Ask it to end."""
        self._signal(signal.SIGTERM)
        return self.wait()


def get(http_port: int, path: str) -> tuple[int, str]:
    """Ask an HTTP port on loopback; return status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def acknowledged(destination: Destination, items: list[bytes], calling_ae: str = "WETREAD") -> list[bytes]:
    """Send objects; return those that were acknowledged, even if the node then broke off."""
    kept: list[bytes] = []

    def note(i: int, status: int) -> None:
        if status in STORED:
            kept.append(items[i])

    with suppress(WireError):
        send(destination, items, calling_ae, timeout_s=5.0, on_status=note)
    return kept


def rows(state: Path, query: str) -> list[tuple[Any, ...]]:
    """Look into an index beside its owner."""
    connection = sqlite3.connect(f"file:{state / 'index.sqlite'}?mode=ro", uri=True, timeout=5)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def digests(state: Path, folder: str) -> set[str]:
    """Return the names of all blobs of a folder."""
    return {path.name for path in (state / folder).glob("??/*")}


def blobs(state: Path, folder: str) -> dict[str, bytes]:
    """Return every blob of a folder by name."""
    return {path.name: path.read_bytes() for path in (state / folder).glob("??/*")}


def changed(state: Path, folder: str = "spool") -> list[str]:
    """Return the blobs whose bytes are no longer those of their name."""
    return [name for name, data in blobs(state, folder).items() if hashlib.sha256(data).hexdigest() != name]
