"""Spool and index: what is durable, what is kept, what is refused."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import sqlalchemy.exc
from sqlalchemy import event

from tests.wire.objects import CR, film
from wetread.errors import StoreError
from wetread.jobs import states
from wetread.jobs.index import UnusableIndex, translated
from wetread.jobs.instances import Arrival, Effect
from wetread.jobs.opening import Found
from wetread.jobs.parcels import enclose
from wetread.jobs.receipt import Receipts
from wetread.jobs.spool import DamagedBlob, Spool
from wetread.jobs.states import MAY_FOLLOW, PROCEDURE_STEP, TERMINAL, State
from wetread.jobs.store import Store
from wetread.jobs.tables import SCHEMA, documents, outbox
from wetread.records import Document

TO = {"PACS@127.0.0.1:104": ("SR",)}


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = request.getfixturevalue("database") if request.param == "postgresql" else ""
    made = Store(tmp_path / "state", url=url)
    yield made
    made.close()


def arrive(store: Store, instance: str = "1.2.3.1", study: str = "1.2.3", size: int = 64) -> Arrival:
    data = film(study, instance, size)
    return Arrival(CR, instance, study, "1.2.840.10008.1.2.1", "TEST", store.spool.put(data), len(data))


def admit(store: Store, *arrivals: Arrival) -> list[Effect]:
    return store.instances.admit(arrivals)


def sr(instance: str = "1.9.1", data: bytes = b"sr") -> Document:
    return Document("SR", "sr.dcm", data, "1.2.840.10008.5.1.4.1.1.88.11", instance)


def take(store: Store) -> int:
    job = store.studies.take()
    assert job is not None
    return job.id


def test_the_index_syncs_at_every_commit(store: Store) -> None:
    if store.shared:
        with store._index.engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        return
    with store._index.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_file_folder_and_index_are_synced_in_this_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def record_fsync(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        steps.append("folder" if os.path.isdir(path) else "file")
        fsync(handle)

    def record_rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", record_rename)
    event.listen(store._index.engine, "commit", lambda connection: steps.append("commit"))
    receipts = Receipts(store.instances)
    receipts.start()
    for number in range(200):
        receipts.admit(arrive(store, f"1.2.3.{number}"))
        steps.append("acknowledge")
    receipts.stop()
    assert steps == ["file", "rename", "folder", "commit", "acknowledge"] * 200


def test_who_reads_the_index_keeps_no_arrival_waiting(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "state")) as store, ExitStack() as readers:
        for _ in range(20):
            readers.enter_context(store._index.reading()).exec_driver_sql("SELECT 1")
        assert admit(store, arrive(store)) == [Effect.NEW]


def test_where_no_connection_is_free_that_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> NoReturn:
        raise sqlalchemy.exc.TimeoutError("pool limit reached")

    monkeypatch.setattr(store._index.engine, "connect", full)
    with pytest.raises(StoreError, match=r"cannot be used now \(TimeoutError"), store._index.reading():
        pass


def test_an_arrival_that_cannot_be_admitted_ends_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def unforeseen(_arrivals: object) -> NoReturn:
        raise RuntimeError("unforeseen")

    receipts = Receipts(store.instances)
    receipts.start()
    with monkeypatch.context() as patched:
        patched.setattr(store.instances, "admit", unforeseen)
        with pytest.raises(RuntimeError):
            receipts.admit(arrive(store, "1.2.3.1"))
    assert receipts.admit(arrive(store, "1.2.3.1")) is Effect.NEW
    receipts.stop()


def test_what_arrives_when_the_node_ends_is_answered(tmp_path: Path) -> None:
    """By STOW-RS, say, while a reading is given the time to end."""
    with closing(Store(tmp_path / "state")) as store:
        receipts, told = Receipts(store.instances), list[type]()
        receipts.start()
        receipts.stop()

        def admit_late() -> None:
            try:
                receipts.admit(arrive(store))
            except StoreError as error:
                told.append(type(error))

        sender = threading.Thread(target=admit_late, daemon=True)
        sender.start()
        sender.join(5)
        assert told == [StoreError]


def test_a_blob_that_changed_on_disk_is_repaired_when_it_comes_again(store: Store) -> None:
    arrival = arrive(store)
    admit(store, arrival)
    path = store.spool.path(arrival.digest)
    path.write_bytes(b"other bytes")
    with pytest.raises(DamagedBlob, match="ask for the study again"):
        store.spool.get(arrival.digest)
    assert admit(store, arrive(store)) == [Effect.DUPLICATE]
    assert hashlib.sha256(store.spool.get(arrival.digest)).hexdigest() == arrival.digest


def test_objects_that_arrive_together_share_a_commit(store: Store) -> None:
    commits: list[int] = []
    gate = threading.Event()

    def commit(_connection: object) -> None:
        gate.wait(2)
        commits.append(1)

    event.listen(store._index.engine, "commit", commit)
    receipts = Receipts(store.instances)
    receipts.start()
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(receipts.admit, arrive(store, f"1.2.3.{n}")) for n in range(16)]
        gate.set()
        assert [future.result(5) for future in futures] == [Effect.NEW] * 16
    receipts.stop()
    assert len(commits) < 16


def test_folders_of_objects_that_arrive_together_are_synced_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, each would wait for the disk for all who came before it."""
    arrivals = [arrive(store, f"1.2.3.{n}") for n in range(4)]
    together = threading.Barrier(4, timeout=10)
    sync = store.spool.sync

    def wait_for_all(digests: Iterable[str]) -> None:
        together.wait()
        sync(digests)

    monkeypatch.setattr(store.spool, "sync", wait_for_all)
    receipts = Receipts(store.instances)
    receipts.start()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(receipts.admit, arrivals)) == [Effect.NEW] * 4
    receipts.stop()


def test_documents_wait_for_the_disk_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each blob's bytes, then its name, then its folder; the digests come in the order of the blobs."""
    spool, blobs = Spool(tmp_path / "made"), [bytes([n]) * 10 for n in range(4)]
    fsync, rename = os.fsync, Path.rename
    together = threading.Barrier(4, timeout=10)
    steps: dict[int, list[str]] = {}

    def record(step: str) -> None:
        steps.setdefault(threading.get_ident(), []).append(step)

    def record_fsync(handle: int) -> None:
        record("folder" if os.path.isdir(os.readlink(f"/proc/self/fd/{handle}")) else "file")
        together.wait()
        fsync(handle)

    def record_rename(self: Path, target: Path) -> Path:
        record("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", record_rename)
    assert spool.put_all(blobs) == [hashlib.sha256(data).hexdigest() for data in blobs]
    assert list(steps.values()) == [["file", "rename", "folder"]] * 4


def test_one_bad_arrival_does_not_spoil_its_batch(store: Store) -> None:
    good = [arrive(store, f"1.2.3.{n}") for n in range(3)]
    bad = Arrival(CR, "1.2.3.9", None, "1.2.840.10008.1.2.1", "TEST", good[0].digest, 1)  # type: ignore[arg-type]
    receipts = Receipts(store.instances)
    gate = threading.Event()
    store.failpoint = lambda name: None if name != "indexed" else (gate.wait(5), None)[1]
    receipts.start()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(receipts.admit, arrival) for arrival in (good[0], good[1], bad, good[2])]
        end = time.monotonic() + 2
        while receipts._queue.qsize() < 3 and time.monotonic() < end:  # what comes behind the first is one batch
            time.sleep(0.001)
        gate.set()
        failed = [future.exception(5) for future in futures]
    receipts.stop()
    assert [type(error) for error in failed] == [type(None), type(None), StoreError, type(None)]


def test_same_bytes_again_change_nothing(store: Store) -> None:
    assert admit(store, arrive(store)) == [Effect.NEW]
    assert admit(store, arrive(store), arrive(store)) == [Effect.DUPLICATE] * 2
    store.studies.complete("1.2.3")
    assert len(store.files(take(store))) == 1
    assert len(list(store.spool.digests())) == 1


def test_a_blob_that_changed_explains_whatever_its_reading_ended_with(store: Store) -> None:
    arrival = arrive(store)
    admit(store, arrival)
    store.studies.complete("1.2.3")
    files = store.files(take(store))
    with store.checked(files):
        assert files[0][1].size == store.spool.path(arrival.digest).stat().st_size
    with store.spool.path(arrival.digest).open("r+b") as blob:
        blob.write(b"rot")
    with pytest.raises(DamagedBlob, match="has changed"), store.checked(files):
        raise ValueError("what the reader made of it")
    store.spool.remove(arrival.digest)
    with pytest.raises(DamagedBlob, match="is gone"), store.checked(files):
        pass


def test_other_bytes_under_one_uid_never_overwrite(store: Store) -> None:
    first, second = arrive(store, size=64), arrive(store, size=66)
    assert admit(store, first, second) == [Effect.NEW, Effect.CONFLICT]
    assert list(store.spool.digests()) == [first.digest]
    ((happened, _job, detail),) = store.overview.audits()
    assert happened == "conflicting-instance"
    assert (detail["kept"], detail["refused"]) == (first.digest, second.digest)


def test_our_own_documents_start_no_new_study(store: Store) -> None:
    admit(store, arrive(store))
    store.studies.complete("1.2.3")
    store.studies.finish(take(store), [(sr("1.9.1", film("1.2.3", "1.9.1")), TO)], "")
    assert admit(store, arrive(store, "1.9.1"), arrive(store, "1.9.1", size=70)) == [Effect.OWN] * 2
    assert [job.version for job in store.overview.versions("1.2.3")] == [1]


def test_a_late_object_makes_a_new_version(store: Store) -> None:
    admit(store, arrive(store, "1.2.3.1"))
    store.studies.complete("1.2.3")
    admit(store, arrive(store, "1.2.3.2"))  # nobody has begun: the same version goes on
    assert [job.state for job in store.overview.versions("1.2.3")] == [State.RECEIVED]
    store.studies.complete("1.2.3")
    first = take(store)
    admit(store, arrive(store, "1.2.3.3"))
    assert store.studies.finish(first, [(sr(), {})], "") is State.DELIVERED
    store.studies.complete("1.2.3")
    second = take(store)
    assert [len(store.files(job)) for job in (first, second)] == [2, 1]
    assert [job.version for job in store.overview.versions("1.2.3")] == [1, 2]


def test_a_version_waits_for_the_reading_of_the_one_before_it(store: Store) -> None:
    """It refers to what came of that."""
    admit(store, arrive(store, "1.2.3.1"))
    store.studies.complete("1.2.3")
    first = take(store)
    for instance, study in (("1.2.3.2", "1.2.3"), ("1.9.1", "1.9")):
        admit(store, arrive(store, instance, study))
        store.studies.complete(study)
    other = store.studies.take()
    assert other is not None
    assert other.study_uid == "1.9"
    assert store.studies.take() is None
    store.studies.finish(first, [(sr(), TO)], "")
    second = store.studies.take()
    assert second is not None
    assert (second.study_uid, second.version) == ("1.2.3", 2)
    assert store.earlier(second) == (sr().data,)


def test_a_series_of_which_an_object_came_late_is_read_whole(store: Store) -> None:
    def receive(*objects: tuple[str, str], study: str = "1.2.3") -> list[str]:
        digests = []
        for instance, series in objects:
            arrival = replace(arrive(store, instance, study), series_uid=series)
            admit(store, arrival)
            digests.append(arrival.digest)
        store.studies.complete(study)
        return digests

    receive(("1.9.1", "1.2.3.7"), study="1.9")  # another study, of all things with the same series

    def read() -> list[str]:
        job = take(store)
        digests = store.studies.digests(job)
        assert len(store.files(job)) == len(digests)
        store.studies.finish(job, [], "NOT-AN-IMAGE")
        return digests

    first = receive(("1.2.3.1", "1.2.3.7"), ("1.2.3.2", "1.2.3.7"), ("1.2.3.3", "1.2.3.8"))
    read()
    assert read() == first
    (late,) = receive(("1.2.3.0", "1.2.3.7"))
    assert read() == [late, *first[:2]]
    (other,) = receive(("1.2.3.5", "1.2.3.9"))
    assert read() == [other]
    receive(("1.2.3.6", "1.2.3.7"))
    assert len(read()) == 4


def test_what_was_said_before_is_known_to_later_versions(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    made: list[bytes] = []
    for number in (1, 2, 3):
        admit(store, arrive(store, f"1.2.3.{number}"))
        store.studies.complete("1.2.3")
        job = store.studies.take()
        assert job is not None
        assert list(store.earlier(job)) == sorted(made, key=lambda data: hashlib.sha256(data).hexdigest())
        papers = [sr(f"1.9.{number}", film("1.2.3", f"1.9.{number}")), Document("HTML", "page.html", b"<p>")]
        papers.append(Document("SEG", "s.dcm", b"seg", "1.2.840.10008.5.1.4.1.1.66.4", f"1.8.{number}"))
        made.append(papers[0].data)
        store.studies.finish(job.id, [(one, TO) for one in papers], "")
    admit(store, arrive(store, "1.7.1", "1.7"))
    store.studies.complete("1.7")
    other = store.studies.take()
    assert other is not None
    assert store.earlier(other) == ()
    store.made.path(hashlib.sha256(made[0]).hexdigest()).write_bytes(b"flipped")
    assert job is not None
    assert list(store.earlier(job)) == [made[1]]
    assert [record.message for record in caplog.records] == ["earlier report left out"]


def test_a_document_is_queued_once_for_each_destination(store: Store) -> None:
    made = [sr(), Document("HTML", "page.html", b"<p>")]
    for number in (1, 2):  # the second version makes the same document again
        admit(store, arrive(store, f"1.2.3.{number}"))
        store.studies.complete("1.2.3")
        store.studies.finish(take(store), [(one, {**TO, "B@h:1": ("SR", "SEG")}) for one in made], "")
    depths = store.overview.depths()
    assert {name: depth for name, (depth, _) in depths.items()} == {"PACS@127.0.0.1:104": 1, "B@h:1": 1}
    assert store.overview.counts()["DELIVERED"] == 1  # it had nothing left to deliver


def test_however_much_waits_for_another_try_the_rest_is_found(store: Store) -> None:
    """A statement takes 65,535 parameters (PostgreSQL) or 32,766 (SQLite)."""
    admit(store, arrive(store))
    store.studies.complete("1.2.3")
    store.studies.finish(take(store), [(sr(f"1.9.{n}", b"%d" % n), TO) for n in range(3)], "")
    rejected = store.parcels.waiting("PACS@127.0.0.1:104", frozenset(), 1)
    but = frozenset(range(10, 70_000)) | {rejected[0].id}
    assert len(store.parcels.waiting("PACS@127.0.0.1:104", but, 1)) == 1
    assert len(store.parcels.waiting("PACS@127.0.0.1:104", but, 9)) == 2


def test_a_job_ends_when_its_last_document_is_confirmed(store: Store) -> None:
    admit(store, arrive(store))
    store.studies.complete("1.2.3")
    assert store.studies.finish(take(store), [(sr("1.9.1"), TO), (sr("1.9.2"), TO)], "WRONG-VIEW") is State.READ
    first, second = store.parcels.waiting("PACS@127.0.0.1:104", frozenset(), 10)
    store.parcels.rejected(first, 0xA700)
    assert store.parcels.delivered(second) is None
    assert store.parcels.delivered(first) is State.REFUSED
    assert store.overview.versions("1.2.3")[0].reason == "WRONG-VIEW"
    assert store.parcels.destinations() == []


def test_what_is_confirmed_is_no_other_document_that_got_its_number(store: Store) -> None:
    """One was under way while its study was read again: SQLite gives the numbers of its rows to the new one's."""
    admit(store, arrive(store))
    store.studies.complete("1.2.3")
    store.studies.finish(take(store), [(sr(), TO)], "")
    (old,) = store.parcels.waiting("PACS@127.0.0.1:104", frozenset(), 9)
    digest = store.made.put(b"anew")
    with store._index.writing() as connection:
        for table in (outbox, documents):
            connection.execute(table.delete())
        enclose(connection, old.job, sr("1.9.2", b"anew"), digest, TO, 0.0)
    (new,) = store.parcels.waiting("PACS@127.0.0.1:104", frozenset(), 9)
    assert store.shared or new.id == old.id
    store.parcels.delivered(old)
    store.parcels.rejected(old, 0xC000, dead=True)
    store.parcels.blocked(old, "PACS@127.0.0.1:104", "BURNED-IN")
    assert store.parcels.waiting("PACS@127.0.0.1:104", frozenset(), 9) == [new]
    assert store.parcels.delivered(new) is State.DELIVERED


def test_only_declared_transitions_happen(store: Store) -> None:
    admit(store, arrive(store))
    job = store.overview.versions("1.2.3")[0].id
    store.studies.complete("1.2.3")
    with pytest.raises(StoreError, match="cannot become COMPLETE"):
        store.studies.put_back(job)
    assert store.overview.versions("1.2.3")[0].state is State.COMPLETE


def test_states_are_sound() -> None:
    assert set(MAY_FOLLOW) == set(State)
    left = {old for olds in MAY_FOLLOW.values() for old in olds}
    # By a person, and what was read as a prior only by whoever sends it.
    assert left == set(State) - TERMINAL | {State.FAILED, State.DELIVERED, State.REFUSED}
    assert set(PROCEDURE_STEP) == set(State)
    for state in State:
        assert state.value in (states.__doc__ or "")


def test_what_the_index_does_not_know_is_taken_in_or_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = arrive(store)
    admit(store, kept)
    late = arrive(store, "1.2.3.2")
    store.made.put(b"never stored")
    (tmp_path / "spool" / "tmp" / "1-1").write_bytes(b"cut off")
    store.close()
    store = Store(tmp_path)
    assert sorted(store.spool.digests()) == sorted((kept.digest, late.digest))
    assert not list((tmp_path / "spool" / "tmp").iterdir())
    assert not list(store.made.digests())
    assert store.found == Found(adopted=1, removed=1)
    store.studies.complete("1.2.3")
    assert len(store.files(take(store))) == 2
    store.close()


def test_an_object_that_contradicts_another_is_not_taken_in(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = arrive(store)
    admit(store, kept)
    arrive(store, size=66)
    store.close()
    store = Store(tmp_path)
    assert list(store.spool.digests()) == [kept.digest]
    assert [event for event, _, _ in store.overview.audits()] == ["conflicting-instance"]
    store.close()


#: Takes from a store what schema 6 added, and what schema 5 did.
def test_another_schema_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute("UPDATE store SET schema = 99")
    connection.close()
    with pytest.raises(StoreError, match=f"expected schema {SCHEMA}, got 99"):
        Store(tmp_path)


def test_a_second_process_is_kept_out(store: Store, tmp_path: Path) -> None:
    if store.shared:
        Store(tmp_path / "state", url=str(store._index.engine.url)).close()
        return
    with pytest.raises(StoreError, match="in use"):
        Store(tmp_path / "state")


def test_a_write_that_does_not_end_holds_up_no_other_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wetread.jobs.index.WRITER_WAITS_S", 0.05)
    made = Store(tmp_path / "state")
    arrival = arrive(made)
    with ThreadPoolExecutor(1) as pool:
        with made._index.writing(), pytest.raises(StoreError, match="index: is busy"):
            pool.submit(made.instances.admit, [arrival]).result(10)
        assert pool.submit(made.instances.admit, [arrival]).result(10) == [Effect.NEW]
        with made._index.writing(), pytest.raises(StoreError, match="index: is busy"):
            pool.submit(made.close).result(10)
        with pytest.raises(StoreError, match="is closed"):  # whoever was cut off begins nothing more
            made.instances.admit([arrival])
    made.close()


def test_however_many_wait_for_a_write_that_does_not_end_none_waits_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wetread.jobs.index.WRITER_WAITS_S", 0.5)
    made = Store(tmp_path / "state")
    arrivals = [arrive(made, f"1.2.3.{number}") for number in range(12)]
    receipts = Receipts(made.instances)
    receipts.start()
    with ThreadPoolExecutor(len(arrivals)) as pool:
        with made._index.writing():
            begin = time.monotonic()
            answers = [pool.submit(receipts.admit, arrival) for arrival in arrivals]
            told = [type(answer.exception(10)) for answer in answers]
            seconds = time.monotonic() - begin
        assert (told, seconds < 1.5) == ([UnusableIndex] * len(arrivals), True)
        assert list(pool.map(receipts.admit, arrivals)) == [Effect.NEW] * len(arrivals)
    receipts.stop()
    made.close()


def test_what_the_database_refuses_for_all_is_not_tried_for_each(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have waited half a minute for the lock of another process."""
    tries: list[int] = []

    def locked(arrivals: Sequence[Arrival]) -> NoReturn:
        tries.append(len(arrivals))
        failed = sqlalchemy.exc.OperationalError("BEGIN IMMEDIATE", {}, sqlite3.OperationalError("database is locked"))
        raise translated(failed)

    monkeypatch.setattr(store.instances, "admit", locked)
    receipts = Receipts(store.instances)
    entries: list[tuple[Arrival, Future[Effect]]] = [(arrive(store, f"1.2.3.{n}"), Future()) for n in range(3)]
    receipts._admit(entries)
    assert tries == [3]
    assert [type(future.exception(0)) for _, future in entries] == [UnusableIndex] * 3


def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    arrival = arrive(store)
    store.close()
    with pytest.raises(StoreError, match="closed"):
        admit(store, arrival)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "file" / "state")


def test_a_changed_blob_is_noticed(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    digest = spool.put(b"truth")
    spool.path(digest).write_bytes(b"Truth")
    with pytest.raises(StoreError, match="has changed"):
        spool.get(digest)
    spool.remove(digest)
    with pytest.raises(DamagedBlob, match="is gone"):
        spool.get(digest)
    spool.path(digest).mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        spool.get(digest)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        spool.put(b"data")
    assert not list(spool.digests())
    assert not list((tmp_path / "tmp").iterdir())


def test_a_document_is_taken_from_memory_once_and_then_from_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, remembers=10)
    small, large, last = digests = spool.put_all([b"small", b"larger than that", b"last"])
    for digest in digests:
        spool.path(digest).write_bytes(b"rot")
    assert spool.take(last) == b"last"
    for digest in (small, large, last):  # pushed out, never kept, given out
        with pytest.raises(DamagedBlob):
            spool.take(digest)
