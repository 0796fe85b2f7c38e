"""What the tests of the node share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wetread.serve.receiver import Receiver


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path / "pacs")
    made.start()
    yield made
    made.stop()
