"""What the tests of the node share: a node in its own process, and a look into its state."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wetread.evidence.torture import process as victims
from wetread.evidence.torture.process import acknowledged, blobs, changed, get, rows

__all__ = ["ROOT", "Process", "acknowledged", "blobs", "check_kept", "check_spool", "get", "process", "rows", "until"]

ROOT = Path(__file__).resolve().parents[2]


class Process(victims.Process):
    """A node in a process of its own, listening, with the reader of the tests."""

    def __init__(
        self, state: Path, pacs_port: int, at: str = "", hit: int = 1, early: bool = False, **settings: Any
    ) -> None:
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
        super().__init__(given, at, hit, module="tests.serve.victim", cwd=ROOT)
        # What happens at `early` places may end it before its ports are open.
        assert self.listening() or early, self.process.communicate()[1]


@contextmanager
def process(state: Path, pacs_port: int, **given: Any) -> Iterator[Process]:
    """A node that is gone when the block ends."""
    made = Process(state, pacs_port, **given)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.kill()


def until(true: Any, timeout_s: float = 15.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def check_kept(state: Path, expected: list[bytes]) -> None:
    """Everything that was acknowledged is there unchanged."""
    found = blobs(state, "spool")
    assert not changed(state)
    for item in expected:
        assert found[hashlib.sha256(item).hexdigest()] == item


def check_spool(state: Path, expected: list[bytes]) -> None:
    """Of a node at rest: what was acknowledged is there, and nothing that nobody refers to."""
    check_kept(state, expected)
    for folder, table in (("spool", "instances"), ("made", "documents")):
        assert set(blobs(state, folder)) == {row[0] for row in rows(state, f"SELECT digest FROM {table}")}
        assert not os.listdir(state / folder / "tmp")
