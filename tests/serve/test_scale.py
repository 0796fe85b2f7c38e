"""The guarantees that speak of thousands, at their full size; `make test-all` runs them, `make test` does not."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import peers
from tests.jobs import fake
from tests.jobs.test_flow import Seen, receive
from tests.serve.stage import rows, until
from wetread.evidence.torture import checks, lives, objects
from wetread.evidence.torture.pacs import Pacs
from wetread.evidence.torture.process import Process, acknowledged
from wetread.evidence.torture.seen import Seen as Campaign
from wetread.jobs.addressing import destination_name
from wetread.jobs.delivery import Outbox
from wetread.jobs.runner import Runner
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings

pytestmark = pytest.mark.slow

RESULTS, INSTANCES, STUDIES, ASSOCIATIONS = 5_000, 10_000, 10_000, 8


class Turned:
    """A clock that runs, and that the test turns on."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def turn(self, seconds: float) -> None:
        self._ahead += seconds


def test_5000_results_wait_72_hours_and_arrive_within_10_minutes(tmp_path: Path) -> None:
    port, clock, seen = peers.free_port(), Turned(), Seen()
    to = Destination("PACS", "127.0.0.1", port, fake.KINDS)
    settings = Settings(destinations=(to,), peer_timeout_s=5.0)
    store = Store(tmp_path / "state")
    per_study = 25
    for number in range(RESULTS // len(fake.KINDS) // per_study):
        receive(store, f"1.{number}", *(f"1.{number}.{n}" for n in range(per_study)))
    worker = Worker(store, fake.READER, settings, Watch())
    while worker.step():
        pass
    outbox = Outbox(destination_name(to), to, store, Runner(store, settings)._send, settings, seen, clock)
    assert store.overview.depths()[outbox.name][0] == RESULTS
    end = clock() + 72 * 3600
    while clock() < end:
        wait = outbox.step()
        assert wait is not None
        clock.turn(wait)
    pacs = Receiver(tmp_path / "pacs", port=port)
    pacs.start()
    back = clock()
    while (wait := outbox.step()) is not None:
        clock.turn(wait)
    took = clock() - back
    pacs.stop()
    store.close()
    sys.stdout.write(f"delivered within {took:.1f} s of the return\n")  # shown by pytest -rP
    assert took < 600
    assert len(pacs.receipts) == len({receipt.sop_instance_uid for receipt in pacs.receipts}) == RESULTS
    assert set(seen.terminal) == {State.DELIVERED}


def test_10000_instances_are_opened_within_5_s_and_rebuilt_within_120(tmp_path: Path) -> None:
    lives.preload(tmp_path, INSTANCES)
    for lost, most_s in ((False, 5.0), (True, 120.0)):
        if lost:
            (tmp_path / "index.sqlite").unlink()
        begin = time.monotonic()
        store = Store(tmp_path)
        took = time.monotonic() - begin
        assert store.found is not None
        assert (store.found.rebuilt, store.found.adopted) == (lost, INSTANCES * lost)
        store.close()
        assert rows(tmp_path, "SELECT count(*) FROM instances") == [(INSTANCES,)]
        sys.stdout.write(f"{'rebuilt' if lost else 'opened'} within {took:.1f} s\n")  # shown by pytest -rP
        assert took < most_s


def test_10000_interleaved_studies_keep_their_patients(tmp_path: Path) -> None:
    """Eight associations at once, each with studies of eight patients in turn: every report is its film's."""
    pacs = Pacs()
    pacs.start()
    given = {"state": str(tmp_path / "state"), "port": 0, "http_port": 0, "destinations": f"{pacs.name}/SR"}
    node = Process(given)
    assert node.listening()
    seen = Campaign()

    def send(association: int) -> None:
        mine = range(association, STUDIES, ASSOCIATIONS)
        for start in range(0, len(mine), 25):
            part = [objects.small(f"i-{number}", 0, size=600) for number in mine[start : start + 25]]
            left = part
            while left:
                kept = set(acknowledged(node.destination, [one.data for one in left]))
                left = [one for one in left if one.data not in kept]
            seen.sent.update({one.instance: one for one in part})

    with ThreadPoolExecutor(ASSOCIATIONS) as pool:
        list(pool.map(send, range(ASSOCIATIONS)))
    until(lambda: checks.at_rest(tmp_path / "state"), 3600.0)
    assert node.stop() == 0
    pacs.stop()
    assert len(seen.sent) == STUDIES
    assert checks._strangers(seen, pacs.got) == []
    assert {one.study for one in pacs.got} == {one.study for one in seen.sent.values()}
    assert len({one.instance for one in pacs.got}) == len(pacs.got) == STUDIES
