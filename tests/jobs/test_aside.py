"""A study that was given up: FAILED with its alarm, and the PACS is told by a coded refusal, once."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pydicom
import pytest

from tests.jobs import fake
from tests.jobs.test_flow import PACS, SETTINGS, Clock, Pacs, Seen, receive, state
from wetread.errors import StoreError
from wetread.jobs.aside import Aside
from wetread.jobs.delivery import Outbox
from wetread.jobs.spool import UnreadableBlob
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.worker import Worker
from wetread.records import USUAL, Circumstances, Reading
from wetread.wire.part10 import meta

CT = "1.2.840.10008.5.1.4.1.1.2"
NAME = "PACS@pacs.invalid:104"


class Node:
    """Worker, aside and outbox of one store, turned by hand."""

    def __init__(self, store: Store, reader: fake.Fake = fake.READER) -> None:
        self.store, self.clock, self.seen, self.pacs = store, Clock(), Seen(), Pacs()
        self.worker = Worker(store, reader, SETTINGS, self.seen, self.clock)
        self.aside = Aside(store, reader, SETTINGS, self.seen, self.clock)
        self.outbox = Outbox(NAME, PACS, store, self.pacs, SETTINGS, self.seen, self.clock)

    def run(self, rounds: int = 20) -> None:
        for _ in range(rounds):
            if not self.worker.step() and not self.aside.step() and not self.outbox.step():
                self.clock.now += 1000.0

    def documents(self) -> list[pydicom.Dataset]:
        digests = [parcel.digest for parcel in self.store.parcels.waiting(NAME, frozenset(), 100)]
        return [pydicom.dcmread(io.BytesIO(self.store.made.get(digest))) for digest in digests]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state")
    yield made
    made.close()


def give_up(store: Store, study: str) -> None:
    """Let three processes die over a study."""
    for _ in range(3):
        assert store.studies.take() is not None
        store.leases.void()
        store.studies.recover(3)
    assert state(store, study) is State.FAILED


def test_a_crashing_study_between_two_good_ones(store: Store) -> None:
    receive(store, "1.1", "1.1.1")
    receive(store, "1.2", "1.2.1", "1.2.2", size=fake.CRASHING_BYTES)
    receive(store, "1.3", "1.3.1")
    node = Node(store)
    node.run()
    assert [state(store, study) for study in ("1.1", "1.2", "1.3")] == [State.DELIVERED, State.FAILED, State.DELIVERED]
    assert sorted(node.seen.terminal) == [State.DELIVERED, State.DELIVERED, State.FAILED]  # one alarm
    good = {*fake.document_uids("1.1.1"), *fake.document_uids("1.3.1")}
    assert len(node.pacs.stored) == len(set(node.pacs.stored)) == 6
    assert len(set(node.pacs.stored) - good) == 2  # one refusal an instance
    assert store.parcels.destinations() == []
    assert store.studies.given_up() is None


def test_the_refusal_says_what_happened(store: Store) -> None:
    receive(store, "1.2", "1.2.1", size=fake.CRASHING_BYTES)
    node = Node(store)
    while not node.aside.step():
        node.worker.step()
        node.clock.now += 400.0
    (sr,) = node.documents()
    assert (sr.Modality, sr.StudyInstanceUID, sr.PatientID) == ("SR", "1.2", "CANARY-ID-77")
    assert "CRASHED" in sr.to_json()
    assert "Read in vain 3 times; the last time: ValueError at fake.py:" in sr.to_json()
    assert "cannot be read" not in sr.to_json()
    assert store.overview.versions("1.2")[0].reason.startswith("ValueError at fake.py:")


def test_a_study_that_ended_the_process_is_answered_too(store: Store) -> None:
    receive(store, "1.2", "1.2.1")
    give_up(store, "1.2")
    node = Node(store)
    assert node.aside.step()
    (sr,) = node.documents()
    assert "the last time: process ended while reading" in sr.to_json()
    node.run()
    assert node.pacs.stored == [sr.SOPInstanceUID]
    assert state(store, "1.2") is State.FAILED
    assert node.seen.terminal == []  # the alarm is the runner's at its start


def test_reading_comes_first_and_a_full_disk_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(store, "1.2", "1.2.1")
    give_up(store, "1.2")
    node = Node(store)

    def full(data: bytes) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.made, "put", full)
        for _ in range(5):  # more often than max_tries
            assert node.aside.step()
            wait = node.aside.next()
            assert wait is not None
            node.clock.now += wait
    assert node.aside.step()
    assert len(node.documents()) == 1
    assert not node.aside.step()


def test_headers_that_cannot_be_read_now_are_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(store, "1.2", "1.2.1")
    give_up(store, "1.2")
    node, get, calls = Node(store), store.spool.get, iter(range(100))

    def share(digest: str) -> bytes:
        if next(calls) < 3:
            raise UnreadableBlob("spool: blob cannot be read: Stale file handle")
        return get(digest)

    monkeypatch.setattr(store.spool, "get", share)
    for _ in range(3):
        assert node.aside.step()
        assert node.documents() == []
        node.clock.now += 400.0
    assert node.aside.step()
    assert len(node.documents()) == 1


def test_one_lost_blob_costs_one_instance_its_header(store: Store) -> None:
    receive(store, "1.2", "1.2.1", "1.2.2")
    give_up(store, "1.2")
    store.spool.path(store.studies.digests(1)[0]).write_bytes(b"rot")
    node = Node(store)
    assert node.aside.step()
    (sr,) = node.documents()
    assert "1.2.2" in str(sr.CurrentRequestedProcedureEvidenceSequence)
    assert not node.aside.step()


def test_a_header_that_crashes_the_documents_is_left_out(store: Store) -> None:
    class Hurt(fake.Fake):
        def set_aside(
            self,
            study_uid: str,
            files: Iterable[tuple[str, str, bytes]],
            detail: str,
            given: Circumstances = USUAL,
        ) -> tuple[Reading, ...]:
            files = list(files)
            if any(data for _, _, data in files):
                raise ValueError("Canary^Patient")
            return super().set_aside(study_uid, files, detail, given)

    receive(store, "1.2", "1.2.1")
    give_up(store, "1.2")
    node = Node(store, Hurt())
    assert node.aside.step()
    assert node.documents() == []
    assert store.studies.given_up() is None
    assert state(store, "1.2") is State.FAILED


@pytest.mark.parametrize("hurt", [False, True])
def test_a_series_of_slices_gets_one_refusal(store: Store, hurt: bool) -> None:
    """Where one of its headers crashes the documents, the others stand in a few."""
    instances = [f"1.2.1.{number}" for number in range(1, 17)]
    receive(store, "1.2", *instances, sop_class=CT)
    lost = store.studies.digests(1)[5] if hurt else ""

    class Hurt(fake.Fake):
        def set_aside(
            self,
            study_uid: str,
            files: Iterable[tuple[str, str, bytes]],
            detail: str,
            given: Circumstances = USUAL,
        ) -> tuple[Reading, ...]:
            files = list(files)
            if any(digest == lost and data for _, digest, data in files):
                raise ValueError("Canary^Patient")
            return super().set_aside(study_uid, files, detail, given)

    give_up(store, "1.2")
    node = Node(store, Hurt())
    assert node.aside.step()
    documents = node.documents()
    assert len(documents) == (1 if not hurt else 4)
    referred = [
        one.ReferencedSOPInstanceUID
        for sr in documents
        for one in sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    ]
    assert sorted(referred) == sorted(set(instances) - ({instances_by_digest(store)[lost]} if hurt else set()))
    assert "CRASHED" in documents[0].to_json()
    assert not node.aside.step()


def instances_by_digest(store: Store) -> dict[str, str]:
    return {digest: meta(store.spool.get(digest)).sop_instance_uid for digest in store.studies.digests(1)}


def test_one_that_cannot_be_answered_holds_up_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for study in ("1.1", "1.2"):
        receive(store, study, f"{study}.1")
        give_up(store, study)
    node = Node(store)
    answer = store.studies.answer

    def broken(job: int, *rest: object) -> None:
        if job == 1:
            raise StoreError("index: cannot be used now")
        answer(job, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(store.studies, "answer", broken)
    assert node.aside.step()
    assert node.aside.step()
    assert [sr.StudyInstanceUID for sr in node.documents()] == ["1.2"]


def test_after_as_many_dead_processes_no_header_is_read(store: Store) -> None:
    receive(store, "1.2", "1.2.1")
    give_up(store, "1.2")
    job = store.studies.given_up()
    assert job is not None
    assert [store.studies.begin_aside(job.id) for _ in range(3)] == [1, 2, 3]
    node = Node(store)
    assert node.aside.step()
    assert node.documents() == []
    assert store.studies.given_up() is None
