"""What the tests of the node share."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from wetread.serve import logs
from wetread.serve.receiver import Receiver


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path / "pacs")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def json_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Called by a test, lets logs be written as by `wetread serve`; afterwards everything is as before."""
    logger, root = logging.getLogger("wetread"), logging.getLogger()
    before = (logger.handlers[:], logger.level, logger.propagate, root.handlers[:])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # undone after the test
    yield partial(logs.configure, "DEBUG")
    logger.handlers[:], logger.level, logger.propagate, root.handlers[:] = before
