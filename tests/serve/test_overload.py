"""Ten times the load that fits: every refusal is explicit, nothing acknowledged is lost, and all ends by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.jobs import fake
from tests.serve.stage import until
from tests.wire.objects import film
from wetread.jobs import room
from wetread.records import Reading
from wetread.routes import Route
from wetread.serve.node import Node
from wetread.settings import Destination, Settings
from wetread.wire.dimse import send

MOST, STUDIES = 4, 40


def test_ten_times_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOK_S", 0.05)
    waiting: list[int] = []

    def slow(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        waiting.append(len(node.store.overview.waiting()))
        time.sleep(0.01)
        return fake.read(files)

    routes = (Route(calling_ae=("ED",), lane="STAT"),)
    node = Node(
        Settings(port=0, http_port=0, state=tmp_path, max_waiting=MOST, stat_reserve=0.25, routes=routes, quiet_s=0.2),
        lambda: fake.Fake(slow),
    )
    node.start()
    refused = threading.Semaphore(0)

    def modality(number: int) -> int:
        study = f"1.2.{number}"
        address = Destination("WETREAD", "127.0.0.1", node.port)
        title = "ED" if number % 10 == 0 else "WARD"
        while (status := send(address, [film(study, f"{study}.1", 2000)], title)[0]) == 0xA700:
            refused.release()
            time.sleep(0.02)
        return status

    try:
        with ThreadPoolExecutor(10) as pool:
            assert list(pool.map(modality, range(STUDIES))) == [0] * STUDIES
        until(lambda: not node.store.overview.waiting())
        text = node.metrics.text().decode()
        assert len(node.store.overview.versions("1.2.7")) == 1
        assert node.store.overview.counts()["DELIVERED"] == STUDIES
    finally:
        node.stop()
    assert refused.acquire(blocking=False)
    assert max(waiting) <= MOST * 1.25
    assert 'wetread_no_room_total{lane="ROUTINE",short="studies"}' in text
    assert 'wetread_objects_refused_total{status="0xA700"}' in text
    assert 'wetread_lane_depth{lane="STAT"} 0.0' in text
