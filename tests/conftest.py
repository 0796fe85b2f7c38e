"""What every test stands on: a clean environment and seeds that do not wander."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress

import pytest
from pynetdicom.transport import AssociationSocket

# The networks of tests are tiny: on a busy machine more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the long fuzz is, see `tests.contain.test_mutations`."""
    parser.addoption("--mutations", type=int, default=20_000, help="mutated files of the slow fuzz")


def _closed(association: AssociationSocket) -> None:
    if association.socket is not None:
        with suppress(OSError):
            association.socket.shutdown(socket.SHUT_RDWR)
        association.socket.close()


# pynetdicom, here the peer of a test, leaves the socket open where the other side has gone: a later test would fail.
AssociationSocket._shutdown_socket = _closed  # type: ignore[assignment, method-assign]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's own reaches a test."""
    for name in [name for name in os.environ if name.startswith("WETREAD_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def heard_logs() -> None:
    """A library of the lab raises the level of every handler that it finds; tests that listen want all lines."""
    for handler in logging.getLogger().handlers:
        handler.setLevel(logging.NOTSET)
