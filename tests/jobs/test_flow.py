"""Completion, reading and delivery, with clocks that the tests turn."""

from __future__ import annotations

import errno
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jobs import fake
from tests.wire.objects import CR, film
from wetread.errors import DecoderDied, NotRead, PeerBusy, PeerUnreachable, StoreError
from wetread.jobs import worker as worker_module
from wetread.jobs.completion import OPEN_FACTOR, Completion
from wetread.jobs.delivery import Outbox
from wetread.jobs.instances import Arrival
from wetread.jobs.retry import Backoff
from wetread.jobs.spool import UnreadableBlob
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker, check_study
from wetread.records import Reading, Stored
from wetread.settings import Destination, Settings
from wetread.wire.part10 import meta

PACS = Destination("PACS", "pacs.invalid", 104, ("SR", "SEG"))
SETTINGS = Settings(destinations=(PACS,), retry_first_s=1.0, retry_most_s=300.0, max_tries=3)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Seen(Watch):
    """Remembers what was told."""

    def __init__(self) -> None:
        self.terminal: list[State] = []
        self.outcomes: list[str] = []
        self.away_now: list[bool] = []  # changes only

    def away(self, destination: str, yes: bool) -> None:
        if self.away_now[-1:] != [yes]:
            self.away_now.append(yes)

    def ended(self, state: State) -> None:
        self.terminal.append(state)

    def sent(self, destination: str, outcome: str) -> None:
        self.outcomes.append(outcome)


class Pacs:
    """Answers as it is told and remembers what it stored."""

    def __init__(self) -> None:
        self.away = False
        self.busy_s = 0.0
        self.status: Callable[[str], int] = lambda instance: 0
        self.stored: list[str] = []
        self.calls = 0

    def __call__(self, destination: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
        self.calls += 1
        if self.away:
            raise PeerUnreachable("PACS: no connection")
        if self.busy_s:
            raise PeerBusy("PACS: no room", self.busy_s)
        for i, file in enumerate(files):
            instance = meta(file).sop_instance_uid
            status = self.status(instance)
            if status == 0:
                self.stored.append(instance)
            on_status(i, status)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state")
    yield made
    made.close()


def receive(store: Store, study: str, *instances: str, size: int = 64, sop_class: str = CR) -> None:
    """Store and complete a study."""
    arrivals = []
    for instance in instances:
        data = film(study, instance, size, sop_class)
        arrivals.append(
            Arrival(sop_class, instance, study, "1.2.840.10008.1.2.1", "T", store.spool.put(data), len(data))
        )
    store.instances.admit(arrivals)
    store.studies.complete(study)


def state(store: Store, study: str) -> State:
    return store.overview.versions(study)[-1].state


# ---- completion -------------------------------------------------------------------------------


@pytest.fixture
def completed() -> list[str]:
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def completion(completed: list[str], clock: Clock) -> Completion:
    return Completion(completed.append, 5.0, clock)


def test_release_completes_at_once(completion: Completion, completed: list[str]) -> None:
    completion.touch("1.1", 1)
    completion.touch("1.2", 1)
    completion.touch("1.3", 2)
    completion.end(1, released=True)
    assert completed == ["1.1", "1.2"]


def test_the_last_of_parallel_associations_completes(completion: Completion, completed: list[str]) -> None:
    completion.touch("1.1", 1)
    completion.touch("1.1", 2)
    completion.end(1, released=True)
    assert completed == []
    completion.end(2, released=True)
    assert completed == ["1.1"]


def test_a_single_slice_leaves_it_to_the_timer(completion: Completion, completed: list[str], clock: Clock) -> None:
    """Some senders open an association for each object; a film is a result of its own, a slice is not."""
    for association in (1, 2, 3):
        for sliced in (None, True):
            completion.touch("1.1", association, sliced)
        completion.end(association, released=True)
        clock.now += 4.9
        assert (completed, completion.due()) == ([], [])
    clock.now += 0.2
    assert completion.due() == ["1.1"]
    for study_uid, objects in (("1.2", (True, True)), ("1.3", (False,))):
        for sliced in objects:
            completion.touch(study_uid, 4, None)
            completion.touch(study_uid, 4, sliced)
    completion.end(4, released=True)
    assert completed == ["1.2", "1.3"]


def test_a_broken_association_leaves_it_to_the_timer(
    completion: Completion, completed: list[str], clock: Clock
) -> None:
    completion.touch("1.1", 1)
    completion.end(1, released=False)
    assert completed == []
    clock.now += 4.9
    assert completion.due() == []
    clock.now += 0.2
    assert completion.due() == ["1.1"]
    assert completion.due() == []


@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_study_that_lacks_an_object_is_not_complete_at_release(
    completion: Completion, completed: list[str], clock: Clock, which: int
) -> None:
    for number in (1, 2, 3):
        (completion.refused if number == which else completion.touch)("1.1", 1)
    completion.end(1, released=True)
    clock.now += 5.0 * OPEN_FACTOR - 0.1
    assert (completed, completion.due()) == ([], [])
    completion.touch("1.1", 2)  # its sender tries again
    completion.end(2, released=True)
    assert completed == ["1.1"]


def test_a_study_of_which_nothing_was_taken_is_forgotten(completion: Completion, completed: list[str]) -> None:
    completion.refused("1.1", 1)
    completion.refused("1.2", 1)
    completion.adopt("1.2", patient=False)  # the store holds something of it
    completion.end(1, released=True)
    assert (completion.waits("1.1"), completion.waits("1.2"), completed) == (False, True, [])


def test_an_association_that_never_ends_holds_nothing_back_for_ever(completion: Completion, clock: Clock) -> None:
    completion.touch("1.1", 1)
    clock.now += 5.0 * OPEN_FACTOR - 0.1
    assert completion.due() == []
    clock.now += 0.2
    assert completion.due() == ["1.1"]


def test_only_what_others_may_receive_is_asked_about_and_watched_as_long_again(clock: Clock) -> None:
    asked, elsewhere = [], {"1.1", "1.2"}

    def ask(study_uid: str) -> bool:
        asked.append(study_uid)
        return study_uid in elsewhere

    completion = Completion(lambda _: None, 5.0, clock, ask)
    completion.touch("1.1", 1)
    completion.end(1, released=False)
    completion.adopt("1.2", patient=True)
    clock.now += 5.0 * OPEN_FACTOR + 0.1
    assert completion.due() == ["1.1"]  # its objects came here
    assert asked == ["1.2"]
    elsewhere.clear()
    clock.now += 5.0 * OPEN_FACTOR - 0.2
    assert completion.due() == []
    clock.now += 0.3
    assert completion.due() == ["1.2"]


def test_the_timer_runs_by_itself(completed: list[str]) -> None:
    completion = Completion(completed.append, 0.05)
    completion.start()
    completion.touch("1.1")
    for _ in range(100):
        if completed:
            break
        time.sleep(0.02)
    completion.stop()
    assert completed == ["1.1"]


def test_a_study_that_cannot_be_completed_now_keeps_no_other_waiting() -> None:
    completed: list[str] = []

    def complete(study_uid: str) -> None:
        completed.append(study_uid)
        if completed == ["1.1"]:
            raise RuntimeError("unforeseen")

    completion = Completion(complete, 0.05)
    completion.start()
    for study_uid in ("1.1", "1.2"):
        completion.touch(study_uid)
    end = time.monotonic() + 5.0
    while len(completed) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    completion.stop()
    assert sorted(completed) == ["1.1", "1.1", "1.2"]


# ---- reading ----------------------------------------------------------------------------------


def test_a_study_is_read_and_queued(store: Store) -> None:
    receive(store, "1.2.3", "1.2.3.1", "1.2.3.2")
    seen = Seen()
    assert Worker(store, fake.READER, SETTINGS, seen).step()
    assert state(store, "1.2.3") is State.READ
    assert store.overview.depths()["PACS@pacs.invalid:104"][0] == 4
    assert seen.terminal == []


def test_the_memory_of_a_large_study_goes_back_when_nothing_follows(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    monkeypatch.setattr(worker_module, "LARGE", 3000)
    monkeypatch.setattr(worker_module, "give_back", lambda: given.append("back"))
    worker = Worker(store, fake.READER, SETTINGS, Seen(), clock)
    for study, size in (("1.1", 64), ("1.2", 3000), ("1.3", 64)):
        receive(store, study, f"{study}.1", size=size)
        assert worker.step()
        clock.now += worker_module.TIDY_S / 2
        assert not worker.step()
        assert not given
    clock.now += worker_module.TIDY_S / 2
    for _ in range(2):
        assert not worker.step()
        assert len(given) == 1
    receive(store, "1.4", "1.4.1")
    assert worker.step()
    clock.now += worker_module.TIDY_S
    assert not worker.step()
    assert len(given) == 1
    monkeypatch.setattr(worker_module, "HUGE", 5000)
    receive(store, "1.5", "1.5.1", size=5000)
    assert worker.step()
    assert len(given) == 2


def test_a_refusal_has_its_document_too(store: Store) -> None:
    receive(store, "1.2.3", "1.2.3.1", size=fake.REFUSED_BYTES)
    Worker(store, fake.READER, SETTINGS, Watch()).step()
    assert state(store, "1.2.3") is State.READ
    assert store.overview.versions("1.2.3")[0].reason == "WRONG-VIEW"
    assert store.overview.depths()["PACS@pacs.invalid:104"][0] == 2


@pytest.mark.parametrize("read", [lambda files: (), lambda files: (_ for _ in ()).throw(NotRead("NOT-AN-IMAGE"))])
def test_nothing_to_read_is_a_refusal(store: Store, read: Callable[..., tuple[Reading, ...]]) -> None:
    receive(store, "1.2.3", "1.2.3.1")
    seen = Seen()
    Worker(store, fake.Fake(read), SETTINGS, seen).step()
    assert seen.terminal == [State.REFUSED]
    assert store.overview.versions("1.2.3")[0].reason == "NOT-AN-IMAGE"


def test_a_study_that_crashes_is_set_aside_and_blocks_nobody(
    store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receive(store, "1.1", "1.1.1", size=fake.CRASHING_BYTES)
    receive(store, "1.2", "1.2.1")
    seen = Seen()
    worker = Worker(store, fake.READER, SETTINGS, seen, clock)
    assert worker.step()
    assert state(store, "1.1") is State.COMPLETE
    assert worker.step()
    assert state(store, "1.2") is State.READ
    assert not worker.step()  # the first one waits
    for _ in range(2):
        wait = worker.next()
        assert wait is not None
        clock.now += wait
        assert worker.step()
    assert state(store, "1.1") is State.FAILED
    assert seen.terminal == [State.FAILED]
    assert worker.next() is None
    ((event, _, detail),) = store.overview.audits()
    assert (event, detail["tries"]) == ("reading-failed", 3)
    assert detail["reason"].startswith("ValueError at fake.py:")
    assert "Canary" not in "".join(str(record.__dict__) for record in caplog.records)


def test_a_reading_of_another_study_is_not_believed(store: Store) -> None:
    receive(store, "1.2.3", "1.2.3.1")

    def lie(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        (told,) = fake.read(files)
        return (replace(told, result=replace(told.result, study_uid="1.2.4")),)

    Worker(store, fake.Fake(lie), SETTINGS, Watch()).step()
    assert state(store, "1.2.3") is State.COMPLETE  # it counts as a try
    assert store.overview.depths().get("PACS@pacs.invalid:104", (0,))[0] == 0
    nameless = replace(fake.read([("x", film("1.2.3", "1.2.3.1"))])[0].result, study_uid="")
    check_study(store.overview.versions("1.2.3")[0], [Reading(nameless, ())])


def test_tries_cut_off_by_a_kill_count(store: Store, tmp_path: Path) -> None:
    receive(store, "1.1", "1.1.1")
    for left in (State.COMPLETE, State.COMPLETE, State.FAILED):
        assert store.studies.take() is not None
        store.close()
        store.__init__(tmp_path / "state")  # type: ignore[misc]
        assert [after for _, after in store.studies.recover(3)] == [left]


@pytest.mark.parametrize(
    "error",
    [DecoderDied("START", detail="EAGAIN"), OSError(errno.EMFILE, "Too many open files")],
    ids=["child", "file"],
)
def test_a_decoder_that_does_not_start_is_not_the_study_s_fault(store: Store, clock: Clock, error: Exception) -> None:
    receive(store, "1.1", "1.1.1")
    busy = [True] * 5  # more often than max_tries

    def read(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        if busy and busy.pop():
            raise error
        return fake.read(files)

    worker = Worker(store, fake.Fake(read), SETTINGS, Watch(), clock)
    for _ in range(6):
        assert state(store, "1.1") is State.COMPLETE
        assert worker.step()
        clock.now += 400.0
    assert state(store, "1.1") is State.READ
    assert store.overview.versions("1.1")[0].tries == 1


def test_a_store_that_fails_is_not_the_study_s_fault(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(store, "1.1", "1.1.1")
    worker = Worker(store, fake.READER, SETTINGS, Watch(), clock)

    put_back = store.studies.put_back

    def full(*_: object) -> State:
        raise StoreError("index: cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(store.studies, "finish", full)
        for _ in range(5):  # more often than max_tries
            assert worker.step()
            clock.now += 400.0
        broken = iter((True, True))
        monkeypatch.setattr(store.studies, "put_back", lambda job: full() if next(broken, False) else put_back(job))
        with pytest.raises(StoreError):
            worker.step()
        with pytest.raises(StoreError):
            worker.step()
        assert state(store, "1.1") is State.READING
    clock.now += 400.0
    assert worker.step()
    assert state(store, "1.1") is State.READ
    assert store.overview.versions("1.1")[0].tries == 1


@pytest.mark.parametrize(
    ("error", "tries", "ends"),
    [
        (RuntimeError("can't start new thread"), 0, State.READ),
        (LookupError("nobody foresaw it"), 3, State.FAILED),
    ],
)
def test_whatever_keeps_documents_from_being_stored_leaves_no_study_in_reading(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, error: Exception, tries: int, ends: State
) -> None:
    receive(store, "1.1", "1.1.1")
    worker, fails, put_all = Worker(store, fake.READER, SETTINGS, Watch(), clock), [True] * 3, store.made.put_all

    def made(blobs: Iterable[bytes]) -> list[str]:
        if fails:
            fails.pop()
            raise error
        return put_all(blobs)

    monkeypatch.setattr(store.made, "put_all", made)
    for number in range(1, 4):
        assert worker.step()
        assert state(store, "1.1") is (State.FAILED if number == tries else State.COMPLETE)
        clock.now += 400.0
    worker.step()
    assert state(store, "1.1") is ends
    assert [event for event, *_ in store.overview.audits()] == ["reading-failed"] * (ends is State.FAILED)


def test_a_system_without_a_thread_is_not_the_study_s_fault(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(store, "1.1", "1.1.1")
    worker = Worker(store, fake.READER, SETTINGS, Watch(), clock)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(5):  # more often than max_tries
            assert worker.step()
            assert (state(store, "1.1"), store.overview.versions("1.1")[0].tries) == (State.COMPLETE, 0)
            clock.now += 400.0
    assert worker.step()
    assert state(store, "1.1") is State.READ


@pytest.mark.parametrize(("away_s", "ends"), [(3000.0, State.READ), (1e9, State.FAILED)])
def test_blobs_that_cannot_be_read_for_a_while_are_not_the_study_s_fault(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, away_s: float, ends: State
) -> None:
    receive(store, "1.1", "1.1.1")
    worker, begin, stored = Worker(store, fake.READER, SETTINGS, Watch(), clock), clock.now, store.spool.stored

    def share(digest: str) -> Stored:
        if clock.now < begin + away_s:
            raise UnreadableBlob("spool: blob cannot be read: Stale file handle")
        return stored(digest)

    monkeypatch.setattr(store.spool, "stored", share)
    for _ in range(5):  # more often than max_tries
        assert worker.step()
        assert (state(store, "1.1"), store.overview.versions("1.1")[0].tries) == (State.COMPLETE, 0)
        clock.now += 400.0
    for _ in range(10):  # for more than an hour
        worker.step()
        clock.now += 400.0
    assert state(store, "1.1") is ends


# ---- delivery ---------------------------------------------------------------------------------


@pytest.fixture
def pacs() -> Pacs:
    return Pacs()


@pytest.fixture
def seen() -> Seen:
    return Seen()


def backoff_of(seed: int) -> Backoff:
    return Backoff(1.0, 300.0, random.Random(seed))


@pytest.fixture
def outbox(store: Store, pacs: Pacs, seen: Seen, clock: Clock) -> Outbox:
    return Outbox("PACS@pacs.invalid:104", PACS, store, pacs, SETTINGS, seen, clock, backoff_of(1))


def read_all(store: Store) -> None:
    worker = Worker(store, fake.READER, SETTINGS, Watch())
    while worker.step():
        pass


def test_delivery_ends_the_job(store: Store, outbox: Outbox, pacs: Pacs, seen: Seen) -> None:
    receive(store, "1.1", "1.1.1")
    receive(store, "1.2", "1.2.1", size=fake.REFUSED_BYTES)
    read_all(store)
    assert [outbox.step() for _ in range(3)] == [0.0, 0.0, None]  # one study after the other
    assert sorted(pacs.stored) == sorted(fake.document_uids("1.1.1") + fake.document_uids("1.2.1"))
    assert seen.terminal == [State.DELIVERED, State.REFUSED]
    assert seen.outcomes == ["stored"] * 4


def test_an_outage_of_72_hours_needs_nobody(store: Store, outbox: Outbox, pacs: Pacs, seen: Seen, clock: Clock) -> None:
    for number in range(20):
        receive(store, f"1.{number}", f"1.{number}.1")
    read_all(store)
    pacs.away = True
    end = clock.now + 72 * 3600
    waits = []
    while clock.now < end:
        wait = outbox.step()
        assert wait is not None
        waits.append(wait)
        clock.now += wait
    assert max(waits) <= 300.0
    assert waits[:6] == sorted(waits[:6])
    assert pacs.calls < 2000  # a destination that is away is not hammered
    pacs.away = False
    begin = clock.now
    while (wait := outbox.step()) is not None:
        clock.now += wait
    assert clock.now - begin <= 600
    assert len(pacs.stored) == len(set(pacs.stored)) == 40
    assert seen.terminal == [State.DELIVERED] * 20


def test_what_was_answered_and_cannot_be_recorded_is_not_sent_again(
    store: Store, outbox: Outbox, pacs: Pacs, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(store, "1.1", "1.1.1")
    read_all(store)
    first, second = fake.document_uids("1.1.1")
    pacs.status = lambda instance: 0xC000 if instance == second else 0

    def full(*_: object) -> None:
        raise StoreError("index: cannot be used now (OperationalError)")

    for name in ("delivered", "rejected"):
        with monkeypatch.context() as patch:
            patch.setattr(store.parcels, name, full)
            for _ in range(3):
                with pytest.raises(StoreError):
                    outbox.step()
    outbox.step()
    assert (pacs.calls, pacs.stored) == (2, [first])
    assert seen.outcomes == ["stored", "rejected"]


def test_one_document_that_is_rejected_holds_up_no_other(
    store: Store, outbox: Outbox, pacs: Pacs, seen: Seen, clock: Clock
) -> None:
    receive(store, "1.1", "1.1.1")
    receive(store, "1.2", "1.2.1")
    read_all(store)
    bad = fake.document_uids("1.1.1")[0]
    pacs.status = lambda instance: 0xC000 if instance == bad else 0
    while (wait := outbox.step()) == 0.0:
        pass
    assert len(pacs.stored) == 3
    assert seen.terminal == [State.DELIVERED]
    assert wait is not None
    assert 0.5 <= wait <= 1.0
    clock.now += wait
    outbox.step()
    assert seen.outcomes.count("rejected") == 2
    pacs.status = lambda instance: 0xB000  # stored, with a warning
    clock.now += 10.0
    outbox.step()
    assert seen.terminal == [State.DELIVERED] * 2


def test_a_damaged_document_holds_up_no_other(store: Store, outbox: Outbox, pacs: Pacs, seen: Seen) -> None:
    receive(store, "1.1", "1.1.1")
    read_all(store)
    first = store.parcels.waiting(outbox.name, frozenset(), 1)[0]
    store.made.path(first.digest).write_bytes(b"rot")
    store.made.take(first.digest)  # as long as it is in memory, the disk is not asked
    outbox.step()
    assert len(pacs.stored) == 1
    assert outbox.step() is None
    assert state(store, "1.1") is State.FAILED  # a person may restore it and send it again
    assert seen.terminal == [State.FAILED]


def test_a_document_that_is_refused_too_often_is_given_up_with_an_alarm(
    store: Store, pacs: Pacs, seen: Seen, clock: Clock
) -> None:
    receive(store, "1.1", "1.1.1")
    read_all(store)
    bad = fake.document_uids("1.1.1")[0]
    pacs.status = lambda instance: 0xC000 if instance == bad else 0
    settings = replace(SETTINGS, max_rejections=3)
    outbox = Outbox("PACS@pacs.invalid:104", PACS, store, pacs, settings, seen, clock)
    while (wait := outbox.step()) is not None:
        clock.now += wait
    assert seen.outcomes == ["rejected", "stored", "rejected", "dead"]
    assert seen.terminal == [State.FAILED]


def test_a_destination_is_left_alone_for_as_long_as_it_asks(
    store: Store, outbox: Outbox, pacs: Pacs, seen: Seen, clock: Clock
) -> None:
    receive(store, "1.1", "1.1.1")
    read_all(store)
    pacs.busy_s = 900.0
    assert outbox.step() == 900.0
    assert seen.outcomes == ["full"]
    pacs.busy_s = 0.0
    clock.now += 900.0
    outbox.step()
    outbox.step()
    assert seen.terminal == [State.DELIVERED]


def test_a_destination_without_room_is_asked_with_one_document_at_a_time(
    store: Store, outbox: Outbox, pacs: Pacs, seen: Seen, clock: Clock
) -> None:
    for number in range(3):
        receive(store, f"1.{number}", f"1.{number}.1")
    read_all(store)
    pacs.status = lambda instance: 0xA700
    for _ in range(10):
        clock.now += outbox.step() or 0.0
    assert seen.away_now == [False, True]
    assert seen.outcomes.count("full") == 2 + 9  # the first association, then one document after each wait
    pacs.status = lambda instance: 0
    while (wait := outbox.step()) is not None:
        clock.now += wait
    assert len(pacs.stored) == len(set(pacs.stored)) == 6
    assert seen.terminal == [State.DELIVERED] * 3
    assert seen.away_now == [False, True, False]


def test_a_destination_without_room_is_asked_again_soon_however_much_it_refused_at_a_time(
    store: Store, outbox: Outbox, pacs: Pacs, clock: Clock
) -> None:
    receive(store, "1.1", *(f"1.1.{number}" for number in range(8)))
    read_all(store)
    pacs.status = lambda instance: 0xA700
    waits = []
    for _ in range(3):
        waits.append(outbox.step() or 0.0)
        clock.now += waits[-1]
    assert [0.5 * most <= wait <= most for wait, most in zip(waits, (1.0, 2.0, 4.0), strict=True)] == [True] * 3, waits


def test_breaking_off_keeps_what_was_confirmed(store: Store, outbox: Outbox, pacs: Pacs, clock: Clock) -> None:
    receive(store, "1.1", "1.1.1")
    read_all(store)
    calls = 0

    def break_off(instance: str) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise PeerUnreachable("PACS: the connection broke")
        return 0

    pacs.status = break_off
    wait = outbox.step()
    assert wait is not None
    assert wait > 0
    clock.now += wait
    while (wait := outbox.step()) is not None:
        clock.now += wait
    assert sorted(pacs.stored) == sorted(fake.document_uids("1.1.1"))
    assert state(store, "1.1") is State.DELIVERED


@pytest.mark.parametrize(
    "error", [PeerUnreachable("PACS: the connection broke"), OverflowError("nobody foresaw it")], ids=["broken", "odd"]
)
def test_one_document_over_which_the_peer_breaks_off_holds_nothing_else_up(
    store: Store, outbox: Outbox, pacs: Pacs, clock: Clock, error: Exception
) -> None:
    for number in range(3):
        receive(store, f"1.{number}", f"1.{number}.1")
    read_all(store)
    hated = fake.document_uids("1.0.1")[0]

    def break_off(instance: str) -> int:
        if instance == hated:
            raise error
        return 0

    pacs.status = break_off
    for _ in range(20):
        clock.now += outbox.step() or 0.0
    assert len(pacs.stored) == len(set(pacs.stored)) == 5
    assert [state(store, f"1.{number}") for number in range(3)] == [State.READ, State.DELIVERED, State.DELIVERED]
    pacs.status = lambda instance: 0
    while (wait := outbox.step()) is not None:
        clock.now += wait
    assert state(store, "1.0") is State.DELIVERED


@pytest.mark.parametrize("seed", range(5))
def test_documents_over_which_the_peer_breaks_off_starve_nothing(
    store: Store, pacs: Pacs, clock: Clock, seed: int
) -> None:
    """However long they have failed, and although they were queued first: each waits its turn."""
    outbox = Outbox("PACS@pacs.invalid:104", PACS, store, pacs, SETTINGS, Watch(), clock, backoff_of(seed))
    receive(store, "1.0", "1.0.1")
    read_all(store)
    hated = fake.document_uids("1.0.1")

    def break_off(instance: str) -> int:
        if instance in hated:
            raise PeerUnreachable("PACS: the connection broke")
        return 0

    def turn(seconds: float) -> None:
        end = clock.now + seconds
        while clock.now < end:
            clock.now += outbox.step() or 0.01

    pacs.status = break_off
    turn(3600.0)
    receive(store, "1.1", "1.1.1")
    read_all(store)
    turn(SETTINGS.retry_most_s)
    assert state(store, "1.1") is State.DELIVERED
    pacs.away = True
    receive(store, "1.2", "1.2.1")
    read_all(store)
    turn(3600.0)
    pacs.away = False
    turn(3 * SETTINGS.retry_most_s)  # those two, and then one that it takes
    assert [state(store, f"1.{number}") for number in range(3)] == [State.READ, State.DELIVERED, State.DELIVERED]


def test_waits_grow_to_their_cap_and_vary() -> None:
    backoff = Backoff(1.0, 300.0, random.Random(7))
    waits = [backoff.wait_s(failures) for failures in (1, 2, 3, 8, 9, 10, 1000)]
    for wait, full in zip(waits, (1, 2, 4, 128, 256, 300, 300), strict=True):
        assert full / 2 <= wait <= full
    assert backoff.wait_s(50) != backoff.wait_s(50)
