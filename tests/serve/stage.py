"""What the tests of the node share: a PACS, a node in its own process, and a look into its state."""

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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wetread.errors import WireError
from wetread.settings import Destination
from wetread.wire.dimse import STORED, send

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A node in a process of its own."""

    def __init__(self, state: Path, pacs_port: int, at: str = "", hit: int = 1, **settings: Any) -> None:
        given = {
            "state": str(state),
            "port": 0,
            "http_port": 0,
            "destinations": f"PACS@127.0.0.1:{pacs_port}/SR+SEG",
            "quiet_s": 0.2,
            "retry_first_s": 0.1,
            "retry_most_s": 0.2,
            "peer_timeout_s": 5.0,
            **settings,
        }
        order = json.dumps({"settings": given, "at": at, "hit": hit})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve.victim", order],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        ports = json.loads(line)
        self.destination = Destination("WETREAD", "127.0.0.1", ports["port"])
        self.http_port = int(ports["http_port"])

    def get(self, path: str) -> tuple[int, str]:
        """Ask the HTTP port."""
        return get(self.http_port, path)

    def kill(self) -> None:
        """Cut the power."""
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout_s: float = 15.0) -> int:
        """Wait for the end; return the exit status, negative for a signal."""
        try:
            self.process.communicate(timeout=timeout_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.communicate()
        return self.process.returncode

    def stop(self) -> int:
        """Ask it to end."""
        self.process.terminate()
        return self.wait()


@contextmanager
def process(state: Path, pacs_port: int, **given: Any) -> Iterator[Process]:
    """A node that is gone when the block ends."""
    made = Process(state, pacs_port, **given)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.kill()


def get(http_port: int, path: str) -> tuple[int, str]:
    """Ask an HTTP port on loopback; return status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}{path}", timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def acknowledged(destination: Destination, items: list[bytes]) -> list[bytes]:
    """Send objects; return those that were acknowledged, even if the node then broke off."""
    kept: list[bytes] = []

    def note(i: int, status: int) -> None:
        if status in STORED:
            kept.append(items[i])

    with suppress(WireError):
        send(destination, items, timeout_s=5.0, on_status=note)
    return kept


def until(true: Any, timeout_s: float = 15.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def rows(state: Path, query: str) -> list[tuple[Any, ...]]:
    """Look into an index beside its owner."""
    connection = sqlite3.connect(f"file:{state / 'index.sqlite'}?mode=ro", uri=True, timeout=5)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def blobs(state: Path, folder: str) -> dict[str, bytes]:
    """Every blob of a folder by name."""
    return {path.name: path.read_bytes() for path in (state / folder).glob("??/*")}


def check_kept(state: Path, expected: list[bytes]) -> None:
    """Everything that was acknowledged is there unchanged."""
    found = blobs(state, "spool")
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in found.items())
    for item in expected:
        assert found[hashlib.sha256(item).hexdigest()] == item


def check_spool(state: Path, expected: list[bytes]) -> None:
    """Of a node at rest: what was acknowledged is there, and nothing that nobody refers to."""
    check_kept(state, expected)
    for folder, table in (("spool", "instances"), ("made", "documents")):
        assert set(blobs(state, folder)) == {row[0] for row in rows(state, f"SELECT digest FROM {table}")}
        assert not os.listdir(state / folder / "tmp")
