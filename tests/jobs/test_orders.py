"""A worklist tells the order of a study: its priority decides the lane, and its patient whether anything leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import peers
from tests.jobs import fake
from tests.jobs.test_flow import Clock
from tests.jobs.test_store import admit, arrive, take
from tests.serve.stage import until
from tests.wire.objects import element, film
from tests.wire.test_worklist import write
from wetread.errors import PeerUnreachable
from wetread.jobs import orders
from wetread.jobs.lanes import Lane
from wetread.jobs.matching import Identity
from wetread.jobs.ordering import Ordering
from wetread.jobs.orders import Orders
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.records import Identifier, Order
from wetread.serve.node import Node
from wetread.settings import Destination, Settings, load
from wetread.wire import worklist
from wetread.wire.dimse import send

RIS, OLD = Destination("RIS", "127.0.0.1", 104), Destination("OLD", "127.0.0.1", 105)
SETTINGS = Settings(worklists=(RIS, OLD))


class Desk:
    """A store, and two worklists."""

    def __init__(self, state: Path) -> None:
        self.store = Store(state)
        self.clock = Clock()
        self.known: dict[str, list[str]] = {}  # accession number -> priorities, "STAT" or "URGENT"
        self.away: set[str] = set()
        self.asked: list[tuple[str, str, str]] = []
        self.hastened: list[str] = []
        self.ordering = Ordering(self.store, self.hastened.append, Watch())
        self.orders = Orders(self.ordering.learn, SETTINGS, Watch(), self._ask, self.clock)

    def _ask(self, worklist: Destination, accession: str, study_uid: str) -> list[Order]:
        if worklist.ae_title in self.away:
            raise PeerUnreachable("away")
        self.asked.append((worklist.ae_title, accession, study_uid))
        words = self.known.get(accession, []) if worklist is RIS else []
        numbers = [Identifier(f"{accession}.{number}") for number in range(len(words))]
        told = zip(numbers, words, strict=True)
        return [Order(Identifier(accession), number, priority=word, source="worklist") for number, word in told]

    def study(self, study_uid: str, accession: str, lane: Lane = Lane.ROUTINE) -> None:
        arrival = arrive(self.store, f"{study_uid}.1", study_uid)
        admit(self.store, replace(arrival, lane=lane, identity=Identity(accession)))
        self.orders.arrived(study_uid, accession)

    def lane(self, study_uid: str) -> int:
        ((lane,),) = [(job.lane,) for job in self.store.overview.versions(study_uid)]
        return lane

    def look(self) -> None:
        while self.orders.step() == 0.0 or self.ordering.step() == 0.0:
            pass


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_order_decides(desk: Desk) -> None:
    desk.known = {"A-1": ["STAT"], "A-2": ["URGENT", "ROUTINE"], "A-3": ["ROUTINE"]}
    for number in (1, 2, 3, 4):
        desk.study(f"1.{number}", f"A-{number}")
        desk.study(f"1.{number}", f"A-{number}")  # once is enough
    desk.look()
    assert [desk.lane(f"1.{number}") for number in (1, 2, 3, 4)] == [Lane.STAT, Lane.URGENT, Lane.ROUTINE, Lane.ROUTINE]
    assert sorted(desk.hastened) == ["1.1", "1.2"]
    assert len(desk.asked) == 5  # OLD only for the one that RIS does not know
    desk.store.studies.complete("1.3")
    desk.store.studies.complete("1.1")
    assert take(desk.store) == 1  # of the study that came first all the same
    desk.store.close()


def test_an_order_makes_nothing_slower(desk: Desk) -> None:
    desk.known = {"A-1": ["URGENT"]}
    desk.study("1.1", "A-1")
    assert desk.store.studies.hasten("1.1", Lane.STAT)
    desk.look()
    assert desk.lane("1.1") == Lane.STAT
    assert not desk.hastened
    desk.store.close()


def test_a_worklist_that_is_away_is_asked_later(desk: Desk) -> None:
    desk.known, desk.away = {"A-1": ["STAT"]}, {"RIS", "OLD"}
    desk.study("1.1", "A-1")
    desk.look()
    desk.away = set()
    desk.look()
    assert desk.lane("1.1") == Lane.ROUTINE
    desk.clock.now += SETTINGS.retry_most_s
    desk.look()
    assert desk.lane("1.1") == Lane.STAT
    desk.store.close()


def test_an_answer_that_nobody_foresaw_stops_no_other_study(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.known = {"A-1": ["STAT"], "A-2": ["STAT"]}
    desk.study("1.1", "A-1")
    desk.study("1.2", "A-2")
    with monkeypatch.context() as odd:
        odd.setattr(desk.orders, "_ask", lambda *_args: 1 / 0)
        desk.orders.step()
    desk.clock.now += SETTINGS.retry_most_s  # the worklists are left alone first
    desk.orders.step()
    assert [accession for _, accession, _ in desk.asked] == ["A-1"]
    desk.look()
    assert [desk.lane("1.1"), desk.lane("1.2")] == [Lane.STAT, Lane.STAT]
    desk.store.close()


def test_what_is_sent_counts_more_than_what_is_asked_for(desk: Desk) -> None:
    for source in ("worklist", "fhir", "hl7"):
        desk.ordering.learn([Order(Identifier("A-1"), Identifier(source), source=source)])
    assert [one.source for one in desk.store.ordered.of("1.1", "A-1")] == ["hl7", "fhir", "worklist"]
    desk.store.close()


def test_one_worklist_that_answers_is_enough(desk: Desk) -> None:
    desk.away = {"OLD"}
    desk.study("1.1", "A-9")
    desk.look()
    assert desk.orders.step() is None
    desk.store.close()


def test_only_so_many_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "REMEMBERED", 2)
    for number in (1, 2, 3):
        desk.study(f"1.{number}", f"A-{number}")
    desk.look()
    assert [accession for name, accession, _ in desk.asked if name == "RIS"] == ["A-3", "A-2"]
    desk.store.close()


def test_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('tls_key = "k.pem"\n[[worklists]]\nae_title = "RIS"\nhost = "h"\nport = 1\ntls = true\n')
    assert load(path, {}).worklists == (Destination("RIS", "h", 1, tls=True, tls_key=Path("k.pem")),)
    assert load(None, {"WETREAD_WORKLISTS": "RIS@h:1"}).worklists == (Destination("RIS", "h", 1),)


def test_what_waits_to_be_read_when_a_node_starts_is_asked_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node that took it may have ended before a worklist answered."""
    asked = []

    def told(_worklist: Destination, accession: str, study_uid: str, *_: object) -> list[Order]:
        asked.append((study_uid, accession))
        return [Order(Identifier(accession), Identifier("1"), priority="STAT", source="worklist")]

    monkeypatch.setattr(worklist, "orders", told)
    desk.study("1.0", "A-0")
    desk.store.studies.complete("1.0")
    job = desk.store.studies.take()
    assert job is not None
    desk.store.studies.finish(job.id, [], "")
    desk.study("1.1", "A-1")
    desk.study("1.2", "A-2")
    desk.store.studies.complete("1.2")
    desk.study("1.3", "A-3", Lane.PRIOR)
    runner = Runner(desk.store, SETTINGS)
    runner.start()
    try:
        until(lambda: [desk.lane(study_uid) for study_uid in ("1.1", "1.2")] == [Lane.STAT] * 2)
    finally:
        runner.stop()
        desk.store.close()
    assert sorted(asked) == [("1.1", "A-1"), ("1.2", "A-2")]


@pytest.mark.peer
def test_a_node_asks_a_worklist(tmp_path: Path) -> None:
    """DCMTK's wlmscpfs has the order A-1, STAT."""
    write(tmp_path / "orders" / "WORKLIST")
    with peers.wlmscpfs(tmp_path / "orders") as port:
        worklist = Destination("WORKLIST", "127.0.0.1", port)
        settings = Settings(state=tmp_path / "state", port=0, http_port=0, worklists=(worklist,), quiet_s=30.0)
        node = Node(settings, lambda: fake.READER)
        node.start()
        try:
            head, at = film("7.7", "7.7.1"), film("7.7", "7.7.1").index(element(0x00080060, "CS", b"CR"))
            plain = head[:at] + element(0x00080050, "SH", b"A-1") + head[at:]

            def told(index: int, status: int) -> None:
                """The association stays open until the order is known, or the film could be read before."""
                until(lambda: [job.lane for job in node.store.overview.versions("7.7")] == [Lane.STAT], 60.0)

            assert send(Destination("WETREAD", "127.0.0.1", node.port), [plain], on_status=told) == [0]
            queries = f'wetread_queries_total{{archive="WORKLIST@127.0.0.1:{port}",outcome="told"}} 1.0'
            until(lambda: queries in node.metrics.text().decode())
        finally:
            node.stop()
