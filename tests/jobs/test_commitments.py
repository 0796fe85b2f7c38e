"""Storage commitment: asked for, answered, kept over restarts; until then nothing is deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from tests import peers
from tests.jobs import fake
from tests.jobs.test_flow import Clock
from tests.jobs.test_retention import PLENTY, World
from tests.jobs.test_store import TO, admit, arrive, take
from tests.serve.stage import until
from tests.wire.objects import CR, SR, film
from wetread.errors import PeerUnreachable
from wetread.jobs.commitments import AGAIN_S
from wetread.jobs.committing import Committing
from wetread.jobs.delivery import Outbox
from wetread.jobs.retention import DAY_S, Retention
from wetread.jobs.runner import Runner
from wetread.jobs.spool import UnreadableBlob
from wetread.jobs.states import Delivery
from wetread.jobs.watch import Watch
from wetread.serve.node import Node
from wetread.settings import Destination, Peer, Settings, load
from wetread.wire.associate import STORAGE_COMMITMENT
from wetread.wire.commitment import WELL_KNOWN_INSTANCE
from wetread.wire.dimse import Commitment, Status, send

PACS = Destination("PACS", "127.0.0.1", 104, commitment=True)
SETTINGS = Settings(destinations=(PACS,), keep_days=7.0, least_free_bytes=0)


class Committed(World):
    """A store, and a destination that is asked to commit itself."""

    def __init__(self, state: Path, url: str) -> None:
        super().__init__(state, url)
        self.away = False
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.clock = Clock()
        self.asking()

    def asking(self) -> None:
        self.committing = Committing(PACS, self.store, SETTINGS, self._ask, self.clock)

    def _ask(self, destination: Destination, transaction_uid: str, instances: Mapping[str, str]) -> None:
        if self.away:
            raise PeerUnreachable("away")
        self.asked.append((transaction_uid, dict(instances)))

    def outbox(self, max_rejections: int = 0) -> Outbox:
        """An outbox whose destination takes everything; `stored` says when."""
        self.stored: list[float] = []

        def send(to: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
            for i, _ in enumerate(files):
                self.stored.append(self.now)
                on_status(i, 0)

        settings = replace(SETTINGS, max_rejections=max_rejections)
        return Outbox("PACS@127.0.0.1:104", PACS, self.store, send, settings, Watch(), self.clock)

    def refuse(self, reason: int, max_rejections: int = 0) -> None:
        """Answer a node what was asked last: none of it is kept."""
        transaction, instances = self.asked[-1]
        node = Runner(self.store, replace(SETTINGS, max_rejections=max_rejections))
        node.hear(Commitment(transaction, frozenset(), dict.fromkeys(instances, reason)))

    def look(self) -> None:
        """Ask for everything that is due, and delete what may go."""
        while self.committing.step() == 0.0:
            pass
        Retention(self.store, SETTINGS, Watch(), lambda: 0.0, lambda folder: PLENTY).step()


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Committed]:
    url = request.getfixturevalue("database") if request.param == "postgresql" else ""
    made = Committed(tmp_path / "state", url)
    yield made
    made.store.close()


def test_what_nobody_committed_himself_to_is_not_deleted(world: Committed) -> None:
    assert list(TO) == ["PACS@127.0.0.1:104"]
    world.study(1)
    world.study(2, deliver=False)
    world.now += 8 * DAY_S
    world.look()
    ((transaction, instances),) = world.asked
    assert list(instances) == ["1.1.9"]  # the other is not there yet
    assert world.blobs() == (2, 2)
    assert world.store.commitments.hear(Commitment("2.25.9", frozenset(("1.1.9",)))) is Status.INVALID_ARGUMENT
    assert world.store.commitments.hear(Commitment(transaction, frozenset(("1.9.9",)))) is Status.SUCCESS
    world.look()
    assert world.blobs() == (2, 2)
    answer = Commitment(transaction, frozenset(("1.1.9",)))
    assert world.store.commitments.hear(answer) is Status.SUCCESS
    assert world.store.commitments.hear(answer) is Status.SUCCESS  # it may say so twice
    world.look()
    assert world.blobs() == (1, 1)
    assert len(world.asked) == 1


def test_the_answer_may_come_after_a_restart(world: Committed) -> None:
    world.study(1)
    world.look()
    world.again()
    world.asking()
    world.now += 1
    world.look()
    assert len(world.asked) == 1
    world.store.commitments.hear(Commitment(world.asked[0][0], frozenset(("1.1.9",))))
    world.again()
    world.now += 8 * DAY_S
    world.asking()
    world.look()
    assert world.blobs() == (0, 0)


def test_what_is_not_kept_is_sent_again(world: Committed) -> None:
    world.study(1)
    world.look()
    world.store.commitments.hear(Commitment(world.asked[0][0], frozenset(), {"1.1.9": 0x0112}))
    world.now += 8 * DAY_S
    world.look()
    assert world.blobs() == (1, 1)
    assert ("commitment-failed", 1, {"reason": "0x0112"}) in world.store.overview.audits()
    world.deliver()
    world.look()
    assert len(world.asked) == 2
    world.store.commitments.hear(Commitment(world.asked[1][0], frozenset(("1.1.9",))))
    world.look()
    assert world.blobs() == (0, 0)


def test_what_is_refused_each_time_is_sent_again_with_growing_pauses(world: Committed) -> None:
    world.study(1)
    box = world.outbox()
    begin = world.now
    while world.now < begin + DAY_S:
        world.look()
        if len(world.asked) > len(world.stored):
            world.refuse(0x0112)
        wait = box.step()
        assert wait is not None  # it does not wait for somebody to wake it
        world.now += wait
        world.clock.now += wait
    pauses = [after - before for before, after in pairwise([begin, *world.stored])]
    assert pauses[:4] == [0.0, 2.0, 6.0, 14.0]
    assert pauses == sorted(pauses)
    assert set(pauses[12:]) == {AGAIN_S}
    assert len(world.asked) == len(world.stored) + 1
    assert world.blobs() == (1, 1)


def test_a_pause_does_not_outlast_a_clock_that_was_set_back(world: Committed) -> None:
    world.study(1)
    world.look()
    box = world.outbox()
    for _ in range(2):
        world.refuse(0x0112)
        box.step()
        world.look()
    assert len(world.stored) == 1
    world.now -= DAY_S
    box.step()
    assert len(world.stored) == 2


def test_what_is_refused_too_often_waits_for_a_person(world: Committed) -> None:
    job = world.study(1)
    box = world.outbox(max_rejections=3)
    for count in (0, 1, 2):
        world.look()
        world.refuse(0x0112, 3)
        world.now += 10
        box.step()
        assert len(world.stored) == min(count + 1, 2)
    assert world.store.overview.depths(Delivery.DEAD)["PACS@127.0.0.1:104"][0] == 1
    world.now += 8 * DAY_S
    world.look()
    assert world.blobs() == (1, 1)
    assert box.step() is None
    world.retry(job)
    box.step()
    assert len(world.stored) == 3
    world.look()
    world.store.commitments.hear(Commitment(world.asked[-1][0], frozenset(("1.1.9",))))
    world.look()
    assert world.blobs() == (0, 0)


@pytest.mark.parametrize("reason", [0x0110, 0x0213])
def test_a_destination_that_cannot_say_now_is_asked_again_and_sent_nothing(world: Committed, reason: int) -> None:
    world.study(1)
    world.look()
    world.refuse(reason)
    world.refuse(reason)  # it may say so twice
    box = world.outbox()
    assert box.step() is None
    world.look()
    assert len(world.asked) == 1
    world.now += AGAIN_S + 1
    world.look()
    assert len(world.asked) == 2
    assert box.step() is None
    assert world.stored == []
    world.store.commitments.hear(Commitment(world.asked[1][0], frozenset(("1.1.9",))))
    world.now += 8 * DAY_S
    world.look()
    assert world.blobs() == (0, 0)


def test_one_that_is_said_to_be_kept_and_lost_is_lost(world: Committed) -> None:
    world.study(1)
    world.look()
    world.store.commitments.hear(Commitment(world.asked[0][0], frozenset(("1.1.9",)), {"1.1.9": 0x0110}))
    world.now += 8 * DAY_S
    world.look()
    assert world.blobs() == (1, 1)


def test_an_answer_that_never_comes_is_asked_for_again(world: Committed) -> None:
    world.study(1)
    world.look()
    world.now += AGAIN_S + 1
    world.look()
    (one, _), (two, _) = world.asked
    assert one != two
    world.now -= DAY_S  # it was asked in the future: the clock was set back
    world.look()
    assert len(world.asked) == 3


def test_a_destination_that_is_away_is_asked_later(world: Committed) -> None:
    world.study(1)
    world.away = True
    world.look()
    assert world.asked == []
    world.away = False
    world.look()
    assert world.asked == []  # not yet
    world.clock.now += SETTINGS.retry_most_s
    world.look()
    assert len(world.asked) == 1


def test_a_document_that_is_damaged_here_is_kept_and_blocks_nothing(world: Committed) -> None:
    world.study(1)
    world.study(2)
    digest = world.store.commitments.due("PACS@127.0.0.1:104", frozenset(), 1)[0].digest
    world.store.made.path(digest).write_bytes(b"changed")
    world.look()
    ((transaction, instances),) = world.asked
    assert list(instances) == ["1.2.9"]
    world.store.commitments.hear(Commitment(transaction, frozenset(("1.1.9", "1.2.9"))))
    world.now += 8 * DAY_S
    world.look()
    assert world.blobs() == (1, 1)


def test_images_that_were_deleted_before_it_was_asked_for_commitments_are_not_missed(world: Committed) -> None:
    admit(world.store, arrive(world.store, "1.1.1", "1.1"))
    world.store.studies.complete("1.1")
    world.store.studies.finish(take(world.store), [], "", images={next(iter(TO)): ["1.1.1"]})
    world.deliver()
    assert len(world.store.commitments.due(next(iter(TO)), frozenset(), 9)) == 1
    world.store.removals.remove(1, "age")
    assert world.store.commitments.due(next(iter(TO)), frozenset(), 9) == []


def test_a_document_that_cannot_be_read_now_blocks_nothing_and_is_asked_for_later(
    world: Committed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        world.study(number)
    bad = world.store.commitments.due("PACS@127.0.0.1:104", frozenset(), 1)[0].digest
    get = world.store.made.get

    def failing(digest: str) -> bytes:
        if digest == bad:
            raise UnreadableBlob("spool: blob cannot be read: Input/output error")
        return get(digest)

    with monkeypatch.context() as patch:
        patch.setattr(world.store.made, "get", failing)
        world.look()
    assert [list(instances) for _, instances in world.asked] == [["1.2.9"]]
    wait = world.committing.step()
    assert wait is not None
    world.clock.now += wait
    world.look()
    assert [list(instances) for _, instances in world.asked] == [["1.2.9"], ["1.1.9"]]


def test_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[[destinations]]\nae_title = "P"\nhost = "h"\nport = 1\ncommitment = true\n')
    assert load(path, {}).destinations[0].commitment


# ---- peers ------------------------------------------------------------------------------------


def node_with(archive: Destination, state: Path) -> Node:
    me = Peer("*", ("127.0.0.1",), ("echo", "store", "notify"))
    settings = Settings(
        state=state, port=0, http_port=0, destinations=(replace(archive, commitment=True),), peers=(me,), quiet_s=0.2
    )
    return Node(settings, lambda: fake.READER)


def committed(node: Node) -> bool:
    return 'wetread_notices_total{kind="commitment",status="0x0000"}' in node.metrics.text().decode()


@pytest.mark.peer
def test_orthanc_commits_itself(tmp_path: Path) -> None:
    with peers.orthanc(tmp_path / "orthanc") as running:
        node = node_with(Destination("ORTHANC", "127.0.0.1", running.port), tmp_path / "state")
        node.start()
        try:
            me = {"AET": "WETREAD", "Host": "127.0.0.1", "Port": node.port, "AllowStorageCommitment": True}
            running.call("/modalities/wetread", json.dumps(me).encode(), "PUT")
            assert send(Destination("WETREAD", "127.0.0.1", node.port), [film()]) == [0]
            until(lambda: committed(node), 30)
            assert node.store.removals.due(0.0, ["ORTHANC@127.0.0.1:" + str(running.port)]) == 1
        finally:
            node.stop()


def test_an_archive_of_pynetdicom(tmp_path: Path) -> None:
    """It says of the first document that it is lost, and keeps it when it comes again."""
    requests: list[Dataset] = []

    def action(event: Any) -> tuple[int, None]:
        assert event.action_type == 1
        assert event.request.RequestedSOPInstanceUID == WELL_KNOWN_INSTANCE
        requests.append(event.action_information)
        return 0, None

    ae = AE("ODD")
    for sop_class in (CR, SR, STORAGE_COMMITMENT):
        ae.add_supported_context(sop_class)
    handlers: list[Any] = [(evt.EVT_N_ACTION, action), (evt.EVT_C_STORE, lambda event: 0)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    archive = Destination("ODD", "127.0.0.1", server.server_address[1])
    node = node_with(archive, tmp_path / "state")
    node.start()

    def report(request: Dataset, lost: bool) -> int:
        answer = Dataset()
        answer.TransactionUID = request.TransactionUID
        items = list(request.ReferencedSOPSequence)
        if lost:
            items[0].FailureReason = 0x0112
            answer.FailedSOPSequence = [items.pop(0)]
        answer.ReferencedSOPSequence = items
        reporting = AE("ODD")
        reporting.add_requested_context(STORAGE_COMMITMENT)
        role = build_role(STORAGE_COMMITMENT, scp_role=True)
        association = reporting.associate("127.0.0.1", node.port, ae_title="WETREAD", ext_neg=[role])
        assert association.is_established
        status, _ = association.send_n_event_report(answer, 2 if lost else 1, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE)
        association.release()
        return int(status.Status)

    try:
        assert send(Destination("WETREAD", "127.0.0.1", node.port), [film()]) == [0]
        until(lambda: sum(len(one.ReferencedSOPSequence) for one in requests) == 2, 30)
        for number, request in enumerate(list(requests)):
            assert report(request, lost=number == 0) == 0
        until(lambda: sum(len(one.ReferencedSOPSequence) for one in requests) == 3, 30)
        assert node.store.removals.due(0.0, ["ODD@127.0.0.1:" + str(archive.port)]) is None
        assert report(requests[-1], lost=False) == 0
        assert node.store.removals.due(0.0, ["ODD@127.0.0.1:" + str(archive.port)]) == 1
        unknown = Dataset()
        unknown.TransactionUID, unknown.ReferencedSOPSequence = "2.25.1", []
        assert report(unknown, lost=False) == Status.INVALID_ARGUMENT
    finally:
        node.stop()
        server.shutdown()
