"""Storage commitment for what we were sent: asked of us, checked on the disk, reported, kept over restarts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from tests import peers
from tests.jobs import fake
from tests.jobs.test_flow import Clock
from tests.jobs.test_retention import World
from tests.jobs.test_store import admit, arrive
from tests.serve.stage import until
from tests.wire.notices import awake
from tests.wire.objects import CR, SR, film
from wetread.errors import PeerUnreachable, SettingsError
from wetread.jobs.instances import Arrival
from wetread.jobs.reporting import Reporting
from wetread.jobs.retention import DAY_S
from wetread.jobs.watch import Watch
from wetread.serve.node import Node
from wetread.settings import Destination, Peer, Settings, load
from wetread.wire.access import callback
from wetread.wire.associate import STORAGE_COMMITMENT
from wetread.wire.command import Status
from wetread.wire.commitment import WELL_KNOWN_INSTANCE, Failure, Instance, Report, Request
from wetread.wire.dimse import send

MAY = ("echo", "store", "commit")
SETTINGS = Settings(peers=(Peer("*", ("127.0.0.1", "10.1.2.3"), MAY, port=104),))


def gone(report: Report) -> int:
    raise PeerUnreachable("the association is over")


def asks(*instances: Instance, transaction: str = "2.25.7", ae: str = "CT1") -> Request:
    return Request(transaction, instances, ae, "10.1.2.3", gone)


class Asked(World):
    """A store, and a peer that asks."""

    def __init__(self, state: Path, url: str = "") -> None:
        super().__init__(state, url)
        self.clock = Clock()
        self.answer: int | None = 0  # None: the peer is away
        self.told: list[tuple[Destination, Report]] = []
        self.start()

    def start(self) -> None:
        self.reporting = Reporting(self.store, SETTINGS, Watch(), self._tell, self.clock)

    def _tell(self, to: Destination, report: Report) -> int:
        if self.answer is None:
            raise PeerUnreachable("away")
        self.told.append((to, report))
        return self.answer

    def look(self) -> None:
        """Report on everything that is due."""
        while self.reporting.step() == 0.0:
            pass

    def events(self) -> list[tuple[str, Any]]:
        return [(event, detail) for event, _, detail in self.store.overview.audits() if event.startswith("commitment")]


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Asked]:
    url = request.getfixturevalue("database") if request.param == "postgresql" else ""
    made = Asked(tmp_path / "state", url)
    yield made
    made.store.close()


def test_each_instance_is_judged_by_what_is_on_the_disk(world: Asked) -> None:
    whole, rotten, lost = (arrive(world.store, f"1.2.3.{n}") for n in (1, 2, 3))
    admit(world.store, whole, rotten, lost)
    world.store.spool.path(rotten.digest).write_bytes(b"rot")
    world.store.spool.remove(lost.digest)
    wanted = ((CR, "1.2.3.1"), (CR, "1.2.3.2"), (CR, "1.2.3.3"), (SR, "1.2.3.1"), (CR, "1.2.3.4"))
    assert world.reporting.hear(asks(*wanted)) is Status.SUCCESS
    world.look()
    ((to, report),) = world.told
    assert (to.ae_title, to.host, to.port) == ("CT1", "10.1.2.3", 104)
    failed = dict(zip(wanted[1:], (Failure(reason) for reason in (0x0110, 0x0110, 0x0119, 0x0112)), strict=True))
    assert report == Report("2.25.7", wanted[:1], tuple(failed.items()))
    assert report.event_type == 2
    detail = {"to": "CT1", "kept": 1, "failed": 4, "status": "0x0000"}
    assert world.events() == [("commitment-reported", detail)]
    world.look()
    assert len(world.told) == 1


def test_a_request_that_comes_while_another_is_reported_has_a_report_of_its_own(
    world: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite gives it the number of the one before."""
    reported, others = world.store.requests.reported, iter((asks((CR, "1.2.2"), ae="SC2"), asks((CR, "1.2.3"))))

    def meanwhile(*told: Any) -> None:
        reported(*told)
        for other in others:
            world.reporting.hear(other)
            break

    monkeypatch.setattr(world.store.requests, "reported", meanwhile)
    world.reporting.hear(asks((CR, "1.2.1")))
    world.look()
    told = [(to.ae_title, report.failed[0][0]) for to, report in world.told]
    assert told == [("CT1", (CR, "1.2.1")), ("SC2", (CR, "1.2.2")), ("CT1", (CR, "1.2.3"))]


def test_what_was_deleted_is_not_promised(world: Asked) -> None:
    world.study(1)
    world.store.removals.remove(1, "age")
    world.reporting.hear(asks((CR, "1.1.1")))
    world.look()
    assert world.told[0][1].failed == (((CR, "1.1.1"), Failure.NO_SUCH_INSTANCE),)


def test_other_bytes_under_a_known_uid_are_not_promised_to_who_sent_them(world: Asked) -> None:
    """CT1 was warned (0xB000) that the first bytes, which were SC2's, stay."""
    first = replace(arrive(world.store), source="SC2")
    other = replace(arrive(world.store, size=66), source="CT1")
    admit(world.store, first, other)
    world.reporting.hear(asks((CR, "1.2.3.1")))
    world.reporting.hear(asks((CR, "1.2.3.1"), ae="SC2"))
    world.look()
    assert world.told[0][1].failed == (((CR, "1.2.3.1"), Failure.PROCESSING_FAILURE),)
    assert world.told[1][1].kept == ((CR, "1.2.3.1"),)


def test_a_request_outlives_the_process_and_the_absence_of_its_peer(world: Asked) -> None:
    admit(world.store, arrive(world.store))
    world.answer = None
    assert world.reporting.hear(asks((CR, "1.2.3.1"))) is Status.SUCCESS
    assert world.reporting.hear(asks((CR, "1.2.3.1"))) is Status.SUCCESS  # our answer was lost
    assert world.reporting.hear(asks((CR, "1.2.3.9"))) is Status.INVALID_ARGUMENT
    world.look()
    world.again()
    world.start()
    world.answer = 0
    world.look()
    assert [report.kept for _, report in world.told] == [((CR, "1.2.3.1"),)]
    assert world.store.requests.waiting() == []


def test_a_peer_that_is_away_is_called_back_later_and_stops_nobody(world: Asked) -> None:
    world.answer = None
    world.reporting.hear(asks((CR, "1.2.3.1")))
    world.look()
    world.now += 60
    assert world.store.requests.depth() == (1, 60.0)
    world.answer = 0
    world.reporting.hear(asks((CR, "1.2.3.1"), transaction="2.25.8", ae="MR1"))
    world.look()
    assert [to.ae_title for to, _ in world.told] == ["MR1"]
    world.clock.now += SETTINGS.retry_most_s
    world.look()
    assert [to.ae_title for to, _ in world.told] == ["MR1", "CT1"]
    assert world.store.requests.depth() == (0, 0.0)


def test_a_peer_without_room_is_told_again_and_one_that_forgot_is_not(world: Asked) -> None:
    world.answer = Status.RESOURCE_LIMITATION
    world.reporting.hear(asks((CR, "1.2.3.1")))
    world.look()
    assert len(world.told) == len(world.store.requests.waiting()) == 1
    world.answer = Status.INVALID_ARGUMENT
    world.clock.now += SETTINGS.retry_most_s
    world.look()
    assert len(world.told) == 2
    assert world.store.requests.waiting() == []
    assert world.events()[0][1]["status"] == "0x0115"


def test_a_report_that_nobody_ever_took_is_forgotten(world: Asked) -> None:
    world.answer = None
    world.reporting.hear(asks((CR, "1.2.3.1")))
    world.look()
    world.now += DAY_S + 1
    assert world.store.removals.forget(DAY_S) == 1
    assert world.store.requests.waiting() == []
    assert world.events() == [("commitment-not-reported", {"to": "CT1"})]


def test_a_peer_that_lost_its_line_is_not_called(world: Asked) -> None:
    world.reporting.hear(replace(asks((CR, "1.2.3.1")), address="10.9.9.9"))
    world.look()
    assert world.told == []
    assert len(world.store.requests.waiting()) == 1


def test_no_false_success_among_1000_with_50_corrupted(tmp_path: Path) -> None:
    """G7: 50 of the blobs lost a bit, their length or all of themselves."""
    world = Asked(tmp_path / "state")
    uids = [f"1.2.3.{n}" for n in range(1000)]
    digests = []
    arrivals: list[Arrival] = [arrive(world.store, uid) for uid in uids]
    admit(world.store, *arrivals)
    digests = [one.digest for one in arrivals]
    broken = set(range(7, 1000, 20))
    for number in broken:
        path = world.store.spool.path(digests[number])
        data = bytearray(path.read_bytes())
        data[number % len(data)] ^= 1 << number % 8
        path.write_bytes((bytes(data), bytes(data[:-1]), b"")[number // 20 % 3])
    world.reporting.hear(asks(*((CR, uid) for uid in uids)))
    world.look()
    ((_, report),) = world.told
    assert len(broken) == len(report.failed) == 50
    assert {uid for (_, uid), _ in report.failed} == {uids[number] for number in broken}
    assert {uid for _, uid in report.kept} == {uids[number] for number in set(range(1000)) - broken}
    world.store.close()


def test_the_line_of_a_peer_says_where_reports_go(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    line = '[[peers]]\nae_title = "CT1"\naddresses = ["10.1.2.0/24"]\nmay = ["store", "commit"]\n'
    path.write_text(line)
    with pytest.raises(SettingsError, match="the right commit needs port"):
        load(path, {})
    path.write_text('tls_certificate = "c.pem"\n' + line + 'port = 104\nhost = "10.1.2.99"\ntls = true\n')
    settings = load(path, {})
    to = callback(settings, "CT1", "10.1.2.3")
    assert to == Destination("CT1", "10.1.2.99", 104, tls=True, tls_certificate=Path("c.pem"))
    assert callback(settings, "CT2", "10.1.2.3") is None
    assert callback(Settings(peers=(Peer("CT1", ("10.1.2.3",)),)), "CT1", "10.1.2.3") is None


# ---- peers ------------------------------------------------------------------------------------


def node_for(state: Path, port: int, **given: Any) -> Node:
    me = Peer("*", ("127.0.0.1",), MAY, port=port)
    quick = {"quiet_s": 0.2, "retry_first_s": 0.05, "retry_most_s": 0.2, "peer_timeout_s": 5.0, **given}
    return Node(Settings(state=state, port=0, http_port=0, peers=(me,), **quick), lambda: fake.READER)


class Modality:
    """A modality of pynetdicom that asks for commitment and takes reports, by associations of either side."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, Dataset, bool]] = []  # event type, contents, whether it called us back
        self.arrived = threading.Event()
        self.ae = AE("CT1")
        self.ae.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._reported, [True])]
        server = self.ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.server, self.port = server, int(server.server_address[1])

    def _reported(self, event: Any, called: bool) -> tuple[int, None]:
        assert event.request.AffectedSOPInstanceUID == WELL_KNOWN_INSTANCE
        self.reports.append((event.event_type, event.event_information, called))
        self.arrived.set()
        return 0, None

    @contextmanager
    def asking(self, port: int, both: bool = False) -> Iterator[Association]:
        """An association; `both`: that may carry reports of ours and of theirs."""
        ae = AE("CT1")
        ae.add_requested_context(STORAGE_COMMITMENT)
        roles: list[Any] = [build_role(STORAGE_COMMITMENT, scu_role=True, scp_role=both)]
        handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._reported, [False])]
        association = ae.associate("127.0.0.1", port, ae_title="WETREAD", evt_handlers=handlers, ext_neg=roles)
        assert association.is_established
        yield association
        association.release()

    def stop(self) -> None:
        self.server.shutdown()


@pytest.fixture
def modality() -> Iterator[Modality]:
    made = Modality()
    yield made
    made.stop()


def wish(*instances: str, transaction: str = "2.25.77") -> Dataset:
    made = Dataset()
    made.TransactionUID, made.ReferencedSOPSequence = transaction, []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CR, instance
        made.ReferencedSOPSequence.append(item)
    return made


def ask(association: Association, wanted: Dataset, action: int = 1, instance: str = WELL_KNOWN_INSTANCE) -> int:
    status, _ = awake(association).send_n_action(wanted, action, STORAGE_COMMITMENT, instance)
    return int(status.Status)


@pytest.mark.parametrize("both", [False, True], ids=["SCU", "both roles"])
def test_a_peer_that_stays_hears_it_on_the_same_association(tmp_path: Path, modality: Modality, both: bool) -> None:
    node = node_for(tmp_path / "state", modality.port)
    node.start()
    try:
        assert send(Destination("WETREAD", "127.0.0.1", node.port), [film()], "CT1") == [0]
        with modality.asking(node.port, both) as association:
            assert ask(association, wish("1.2.3.1.1", "1.2.3.1.2")) == 0
            assert modality.arrived.wait(20)
            until(lambda: node.store.requests.waiting() == [])
        ((event, told, called),) = modality.reports
        assert (event, told.TransactionUID, called) == (2, "2.25.77", False)
        assert [one.ReferencedSOPInstanceUID for one in told.ReferencedSOPSequence] == ["1.2.3.1.1"]
        (failed,) = told.FailedSOPSequence
        assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.1.2", 0x0112)
        text = node.metrics.text().decode()
        assert 'wetread_notices_total{kind="commitment request",status="0x0000"} 1.0' in text
        assert 'wetread_commitments_total{outcome="kept"} 1.0' in text
    finally:
        node.stop()


def test_a_peer_that_left_is_called_back_also_by_the_next_process(tmp_path: Path, modality: Modality) -> None:
    closed = peers.free_port()
    node = node_for(tmp_path / "state", closed)
    node.start()
    try:
        assert send(Destination("WETREAD", "127.0.0.1", node.port), [film()], "CT1") == [0]
        with modality.asking(node.port) as association:
            assert ask(association, wish("1.2.3.1.1")) == 0
    finally:
        node.stop()
    assert modality.reports == []
    node = node_for(tmp_path / "state", modality.port)
    node.start()
    try:
        until(lambda: modality.reports and node.store.requests.waiting() == [], 20)
        ((event, told, called),) = modality.reports
        assert (event, called) == (1, True)
        assert "FailedSOPSequence" not in told
        assert [one.ReferencedSOPInstanceUID for one in told.ReferencedSOPSequence] == ["1.2.3.1.1"]
    finally:
        node.stop()


def test_what_is_no_request_is_refused(tmp_path: Path, modality: Modality) -> None:
    node = node_for(tmp_path / "state", modality.port)
    node.start()
    try:
        with modality.asking(node.port) as association:
            assert ask(association, wish("1.2"), action=2) == 0x0123
            assert ask(association, wish("1.2"), instance="1.2.3") == 0x0112
            assert ask(association, wish()) == 0x0115
            assert ask(association, wish("1.2", transaction="")) == 0x0115
            broken = wish("1.2")
            del broken.ReferencedSOPSequence[0].ReferencedSOPClassUID
            assert ask(association, broken) == 0x0115
        assert node.store.requests.waiting() == []
    finally:
        node.stop()


@pytest.mark.peer
def test_orthanc_asks_us(tmp_path: Path) -> None:
    """It sends what it has with storage commitment, then asks for what it never sent, and for a damaged one."""
    with peers.orthanc(tmp_path / "orthanc") as running:
        node = node_for(tmp_path / "state", running.port)
        node.start()
        try:
            me = {"AET": "WETREAD", "Host": "127.0.0.1", "Port": node.port, "AllowNEventReport": True}
            running.call("/modalities/wetread", json.dumps(me).encode(), "PUT")
            made = running.call("/instances", film(), "POST")
            sent = {"Resources": [made["ID"]], "StorageCommitment": True, "Synchronous": True}
            job = running.call("/modalities/wetread/store", json.dumps(sent).encode(), "POST")
            kept = report_of(running, job["StorageCommitmentTransactionUID"])
            assert kept["Status"] == "Success"
            assert [one["SOPInstanceUID"] for one in kept["Success"]] == ["1.2.3.1.1"]
            (digest,) = node.store.spool.digests()
            node.store.spool.path(digest).write_bytes(b"rot")
            wanted = {"DicomInstances": [[CR, "1.2.3.1.1"], [CR, "1.2.3.1.2"], [SR, "1.2.3.1.1"]]}
            asked = running.call("/modalities/wetread/storage-commitment", json.dumps(wanted).encode(), "POST")
            lost = report_of(running, asked["ID"])
            assert lost["Status"] == "Failure"
            assert [one["FailureReason"] for one in lost["Failures"]] == [0x0110, 0x0112, 0x0119], lost
        finally:
            node.stop()


def report_of(running: peers.Orthanc, transaction: str) -> Any:
    found: list[Any] = []

    def done() -> bool:
        found.append(running.call(f"/storage-commitment/{transaction}"))
        return bool(found[-1]["Status"] != "Pending")

    until(done, 30)
    return found[-1]
