"""Which lane a study is in, and what is served first."""

from __future__ import annotations

import itertools
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from tests.jobs import fake
from tests.jobs.older import back_to
from tests.report.phantom import model
from tests.wire.objects import CR, film
from wetread.jobs import tables
from wetread.jobs.delivery import HURRY_S, Outbox
from wetread.jobs.instances import Arrival
from wetread.jobs.lanes import STREAMS_S, Lane, deadlines_s, facts_of, lane_of
from wetread.jobs.moves import Job
from wetread.jobs.runner import Runner
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.records import Code, Finding, Reading, Sender
from wetread.routes import Alert, Route
from wetread.settings import Destination, Settings
from wetread.trace import following
from wetread.turns import Turns
from wetread.wire.dimse import Received
from wetread.wire.glance import Tag
from wetread.wire.part10 import meta

PACS = Destination("PACS", "pacs.invalid", 104, ("SR", "SEG"))
SETTINGS = Settings(destinations=(PACS,), stat_deadline_s=60, urgent_deadline_s=600, routine_deadline_s=3600)


class Clock:
    """Seconds since the epoch that pass only when told."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    url = request.getfixturevalue("database") if request.param == "postgresql" else ""
    made = Store(tmp_path / "state", clock, url=url, deadlines=deadlines_s(SETTINGS))
    yield made
    made.close()


def receive(store: Store, study: str, lane: Lane = Lane.ROUTINE, instance: str = "") -> None:
    data = film(study, instance or f"{study}.1")
    arrival = Arrival(CR, instance or f"{study}.1", study, "1.2.840.10008.1.2.1", "T", store.spool.put(data), 1, lane)
    store.instances.admit([arrival])
    store.studies.complete(study)


def served(store: Store) -> list[str]:
    """The studies in the order in which they are read."""
    return [job.study_uid for job in iter(store.studies.take, None)]


def test_priors_go_last_until_somebody_wants_them(store: Store) -> None:
    receive(store, "1.1", Lane.PRIOR)
    receive(store, "1.2", Lane.PRIOR)
    receive(store, "1.3", Lane.ROUTINE)
    receive(store, "1.2", Lane.URGENT)  # the same object, from somebody
    assert served(store) == ["1.2", "1.3", "1.1"]
    assert [job.lane for one in ("1.1", "1.2") for job in store.overview.versions(one)] == [Lane.PRIOR, Lane.URGENT]
    for job in (store.overview.versions(one)[0] for one in ("1.1", "1.2", "1.3")):
        store.studies.finish(job.id, [], "NOT-AN-IMAGE")
    receive(store, "1.1", Lane.ROUTINE)
    receive(store, "1.3", Lane.ROUTINE)  # what is a duplicate stays one
    assert served(store) == ["1.1"]
    assert [job.lane for job in store.overview.versions("1.1")] == [Lane.ROUTINE]
    receive(store, "1.4", Lane.PRIOR)
    receive(store, "1.4", Lane.ROUTINE, "1.4.2")  # more of it, from somebody
    assert [job.lane for job in store.overview.versions("1.4")] == [Lane.ROUTINE]


def test_a_prior_whose_blobs_went_is_read_when_somebody_sends_it(store: Store) -> None:
    for instance in ("1.1.1", "1.1.2"):
        receive(store, "1.1", Lane.PRIOR, instance)
    store.studies.finish(next(job.id for job in iter(store.studies.take, None)), [], "NOT-AN-IMAGE")
    assert store.removals.remove(store.overview.versions("1.1")[0].id, "age") == 2
    receive(store, "1.1", Lane.PRIOR, "1.1.1")  # pulled again, for nobody
    assert served(store) == []
    for instance in ("1.1.1", "1.1.2"):
        receive(store, "1.1", Lane.ROUTINE, instance)
    assert served(store) == ["1.1"]
    prior, wanted = store.overview.versions("1.1")
    assert (prior.lane, wanted.lane) == (Lane.PRIOR, Lane.ROUTINE)
    assert len(store.files(wanted.id)) == 2
    assert store.studies.lost(wanted) == frozenset()


def test_a_prior_that_failed_is_tried_anew_when_somebody_sends_it(store: Store) -> None:
    receive(store, "1.1", Lane.PRIOR)
    job = store.studies.take()
    assert job is not None
    assert store.studies.fail(job, "crashed", 1) is State.FAILED
    receive(store, "1.1", Lane.URGENT)
    assert store.studies.given_up() is None
    again = store.studies.take()
    assert again is not None
    assert (again.id, again.lane, again.tries, again.reason) == (job.id, Lane.URGENT, 1, "")


# ---- which lane -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("term", "lane"),
    [
        ("STAT", Lane.STAT),
        ("HIGH", Lane.URGENT),
        ("ROUTINE", Lane.ROUTINE),
        ("MEDIUM", Lane.ROUTINE),
        ("LOW", Lane.ROUTINE),
        ("", Lane.ROUTINE),
        ("URGENTISSIMO", Lane.ROUTINE),
    ],
)
def test_the_standard_s_terms(term: str, lane: Lane) -> None:
    assert lane_of(facts_of({Tag.REQUESTED_PRIORITY: term}, Sender()), ()) is lane
    assert lane_of(facts_of({Tag.STEP_PRIORITY: term}, Sender()), ()) is lane


def test_rules_look_at_who_sends_and_what() -> None:
    rules = (
        Route(calling_ae=("ED_SCREEN",), lane="ROUTINE"),
        Route(calling_ae=("ed_*",), lane="URGENT"),
        Route(modality=("CT",), body_part=("HEAD",), study_description=("*stroke*",), lane="STAT"),
    )

    def lane(seen: dict[int, str], calling_ae: str) -> Lane:
        return lane_of(facts_of(seen, Sender(calling_ae)), rules)

    head: dict[int, str] = {Tag.MODALITY: "CT", Tag.BODY_PART: "HEAD", Tag.STUDY_DESCRIPTION: "CT Stroke protocol"}
    assert lane({}, "WARD") is Lane.ROUTINE
    assert lane({}, "ED_1") is Lane.URGENT
    assert lane({}, "ED_SCREEN") is Lane.ROUTINE  # the first that fits
    assert lane(head, "WARD") is Lane.STAT
    assert lane({**head, Tag.BODY_PART: "CHEST"}, "WARD") is Lane.ROUTINE
    assert lane({Tag.REQUESTED_PRIORITY: "STAT"}, "ED_SCREEN") is Lane.STAT  # the more urgent of both


def test_the_most_urgent_object_decides_and_the_next_version_inherits(store: Store) -> None:
    receive(store, "1.1", instance="1.1.1")
    receive(store, "1.1", Lane.STAT, "1.1.2")
    receive(store, "1.1", instance="1.1.3")
    assert [job.lane for job in store.overview.versions("1.1")] == [Lane.STAT]
    assert store.studies.take() is not None
    receive(store, "1.1", instance="1.1.4")
    assert [job.lane for job in store.overview.versions("1.1")] == [Lane.STAT, Lane.STAT]


def test_an_older_store_gets_its_lanes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    receive(store, "1.1", Lane.STAT)
    store.close()
    connection = sqlite3.connect(tmp_path / "index.sqlite")
    for statement in back_to(2):
        connection.execute(statement)
    connection.commit()
    connection.close()
    for _ in range(2):
        store = Store(tmp_path)
        assert [job.lane for job in store.overview.versions("1.1")] == [Lane.ROUTINE]
        store.close()


# ---- what is first ----------------------------------------------------------------------------


def test_lanes_are_served_in_their_order(store: Store) -> None:
    for number, lane in enumerate((Lane.ROUTINE, Lane.URGENT, Lane.STAT, Lane.ROUTINE, Lane.STAT)):
        receive(store, f"1.{number}", lane)
    assert served(store) == ["1.2", "1.4", "1.1", "1.0", "1.3"]


def test_a_reader_kept_for_stat_takes_nothing_else(store: Store) -> None:
    receive(store, "1.1", Lane.URGENT)
    assert store.studies.take(slowest=Lane.STAT) is None
    receive(store, "1.2", Lane.STAT)
    job = store.studies.take(slowest=Lane.STAT)
    assert job is not None
    assert job.study_uid == "1.2"


def test_routine_ages(store: Store, clock: Clock) -> None:
    receive(store, "1.1", Lane.ROUTINE)
    clock.now += 3600 - 60 - 1
    receive(store, "1.2", Lane.STAT)
    clock.now += 2
    receive(store, "1.3", Lane.STAT)
    assert served(store) == ["1.2", "1.1", "1.3"]


def test_nobody_is_passed_by_who_came_too_late(tmp_path: Path) -> None:
    """B passes A only if it came within the difference of their lanes' seconds after it: nobody starves."""
    clock, numbers, allowed = Clock(), itertools.count(), deadlines_s(SETTINGS)
    store = Store(tmp_path, clock, deadlines=allowed)

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 900), st.sampled_from(Lane)), min_size=2, max_size=6))
    def check(came: list[tuple[int, Lane]]) -> None:
        arrived = {}
        for pause, lane in came:
            clock.now += pause
            study = f"1.{next(numbers)}"
            arrived[study] = (clock.now, lane)
            receive(store, study, lane)
        order = served(store)
        assert sorted(order) == sorted(arrived)
        for earlier, later in itertools.combinations(order, 2):  # in the order of service
            (at, lane), (then, other) = arrived[earlier], arrived[later]
            assert at - then <= allowed[other] - allowed[lane]
            assert lane is not other or at <= then

    check()
    store.close()


WHEN = st.sampled_from((0.0, 1.0, 60.0, 600.0, 3000.0, 3540.0, 3541.0))
#: State, tries, lane, when its first object came.
ROW = st.tuples(st.sampled_from(("COMPLETE", "COMPLETE", "READ")), st.integers(0, 2), st.sampled_from(Lane), WHEN)


def waiting(store: Store, rows: Sequence[tuple[str, int, Lane, float]]) -> None:
    """Jobs with the numbers 1, 2, 3 ..., and none beside them."""
    names = ("state", "tries", "lane", "created_at")
    made = [
        {"id": i, "study_uid": f"1.{i}", "version": 1, "changed_at": 0.0, **dict(zip(names, row, strict=True))}
        for i, row in enumerate(rows, 1)
    ]
    with store._index.writing() as connection:
        connection.execute(tables.leases.delete())
        connection.execute(tables.jobs.delete())
        connection.execute(tables.jobs.insert(), made)


def test_what_is_taken_is_what_all_of_it_in_order_begins_with(store: Store) -> None:
    allowed = deadlines_s(SETTINGS)

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.lists(ROW, min_size=1, max_size=12),
        st.frozensets(st.integers(1, 12), max_size=3),
        st.sampled_from(Lane),
        st.booleans(),
        st.booleans(),
    )
    def check(
        rows: list[tuple[str, int, Lane, float]], but: frozenset[int], slowest: Lane, fresh: bool, last: bool
    ) -> None:
        waiting(store, rows)
        order = sorted(
            (tries, last and lane >= Lane.ROUTINE, at + allowed[lane], number)
            for number, (state, tries, lane, at) in enumerate(rows, 1)
            if state == "COMPLETE" and lane <= slowest and number not in but and not (fresh and tries)
        )
        due = store.studies.due(but, slowest, fresh, last)
        job = store.studies.take(but, slowest, fresh, last)
        assert (due and due.id) == (job and job.id)
        assert (job and job.id) == (order[0][-1] if order else None)

    check()


@pytest.mark.parametrize("fresh", [False, True])
def test_what_waits_is_not_sorted(store: Store, fresh: bool) -> None:
    """The first of each lane is where the index begins: taking it costs the same, however many wait."""
    waiting(store, [("COMPLETE", 0, Lane(i % 4), 1e6 + i) for i in range(3000)])
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    event.listen(store._index.engine, "before_cursor_execute", note)
    store.studies.due(frozenset((1, 2)), Lane.PRIOR, fresh, False)
    event.remove(store._index.engine, "before_cursor_execute", note)
    with store._index.reading() as connection:
        if store._index.shared:
            connection.exec_driver_sql("ANALYZE jobs")
        explain = "EXPLAIN (COSTS OFF) " if store._index.shared else "EXPLAIN QUERY PLAN "
        of_read, plan = (
            [str(row[-1]) for row in connection.exec_driver_sql(explain + one[0], one[1])] for one in asked[:2]
        )
    assert "JOIN jobs" in asked[0][0]
    assert not [one for one in of_read if "SCAN" in one.upper().split() and "INDEX" not in one.upper()], of_read
    assert "UNION ALL" in asked[1][0]
    told = "\n".join(plan)
    if store._index.shared:
        assert told.count("Index Only Scan using jobs_next on jobs") + told.count("Index Scan using jobs_next") == 4, (
            told
        )
        assert "Seq Scan" not in told, told
        assert [one.strip(" ->") for one in plan].count("Sort") == 1, told  # of the four that were found
    else:
        found = [one for one in plan if "jobs" in one]
        of_lane = "SEARCH jobs USING COVERING INDEX jobs_next (state=? AND lane=?" + (" AND tries=?)" if fresh else ")")
        assert found == ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)", *[of_lane] * 4], told
        assert [one for one in plan if "TEMP B-TREE" in one] == plan[-1:], told  # of the four that were found


def test_an_older_store_gets_its_order(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        new = set(connection.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'jobs'"))
        for statement in back_to(12):
            connection.execute(statement)
    connection.close()
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        assert set(connection.execute("SELECT name, sql FROM sqlite_master WHERE tbl_name = 'jobs'")) == new
    connection.close()


def test_documents_leave_in_the_order_of_lanes(store: Store) -> None:
    for number, lane in enumerate((Lane.ROUTINE, Lane.STAT)):
        receive(store, f"1.{number}", lane)
        Worker(store, fake.READER, SETTINGS, Watch()).step()
    sent: list[str] = []

    def send(_: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
        for i, file in enumerate(files):
            sent.append(meta(file).sop_instance_uid)
            on_status(i, 0)

    outbox = Outbox("PACS@pacs.invalid:104", PACS, store, send, SETTINGS, Watch())
    while outbox.step() is not None:
        pass
    assert sent == [*fake.document_uids("1.1.1"), *fake.document_uids("1.0.1")]


def test_documents_wait_once_for_a_stat_study_that_is_read(store: Store) -> None:
    """Its own go before them, and while they do, everybody else pauses; but nothing waits for ever."""
    receive(store, "1.0")
    Worker(store, fake.READER, SETTINGS, Watch()).step()
    turns, sent = Turns(), []

    def send(_: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
        sent.append((len(files), turns.hurried))
        for i in range(len(files)):
            on_status(i, 0)

    outbox = Outbox("PACS@pacs.invalid:104", PACS, store, send, SETTINGS, Watch(), turns=turns)
    with turns.first():
        assert outbox.step() == HURRY_S
        assert sent == []
        receive(store, "1.1", Lane.STAT)
        Worker(store, fake.READER, SETTINGS, Watch()).step()
        assert outbox.step() == 0.0
        assert sent == [(2, True)]
        assert outbox.step() == HURRY_S
        assert outbox.step() == 0.0  # somebody else is in a hurry now
    assert sent == [(2, True), (2, True)]
    receive(store, "1.2")
    receive(store, "1.3", Lane.STAT)
    while Worker(store, fake.READER, SETTINGS, Watch()).step():
        pass
    sent.clear()
    assert [outbox.step() for _ in range(3)] == [0.0, 0.0, None]
    assert sent == [(2, True), (2, False)]


@pytest.mark.parametrize("changed", [False, True])
def test_a_stat_study_goes_first_until_its_documents_are_kept(store: Store, changed: bool) -> None:
    """Also where it was complete only after the worker had looked what is due."""
    turns, hurried, finish, look = Turns(), [], store.studies.finish, store.studies.due

    def noted(*given: Any) -> State:
        hurried.append(turns.hurried)
        return finish(*given)

    def looked(*given: Any) -> Job | None:
        due = look(*given)
        if changed:
            receive(store, "1.2", Lane.STAT)
        return due

    store.studies.finish, store.studies.due = noted, looked  # type: ignore[method-assign, assignment]
    receive(store, "1.1")
    if not changed:
        receive(store, "1.2", Lane.STAT)
    worker = Worker(store, fake.READER, replace(SETTINGS, destinations=()), Watch(), turns=turns)
    assert worker.step()
    changed = False
    assert worker.step()
    assert hurried == [True, False]
    assert [store.overview.versions(study)[0].state for study in ("1.1", "1.2")] == ["DELIVERED", "DELIVERED"]


# ---- what was found ---------------------------------------------------------------------------


class Found(Watch):
    """Remembers how long results took."""

    def __init__(self) -> None:
        self.told: list[tuple[Lane, float, bool]] = []

    def answered_for(self, lane: Lane, seconds: float, late: bool) -> None:
        self.told.append((lane, seconds, late))


def finding(value: str, present: bool) -> Finding:
    code = Code(value, "SCT", "Intracranial haemorrhage")
    return Finding(code, 0.9, 0.5, present, model("ct"), "1.2", "A")


@pytest.mark.parametrize(
    ("value", "present", "lane"),
    [("1386000", True, Lane.STAT), ("1386000", False, Lane.ROUTINE), ("233604007", True, Lane.ROUTINE)],
)
def test_a_critical_finding_hastens_what_follows(store: Store, value: str, present: bool, lane: Lane) -> None:
    def read(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        (reading,) = fake.read(files)
        return (replace(reading, result=replace(reading.result, findings=(finding(value, present),))),)

    receive(store, "1.1")
    critical = replace(SETTINGS, alerts=(Alert("bleeding", ("1386000", "999")),))
    assert Worker(store, fake.Fake(read), critical, Watch()).step()
    receive(store, "1.1", instance="1.1.2")
    assert [job.lane for job in store.overview.versions("1.1")] == [lane, lane]


def test_a_missed_deadline_is_told(store: Store, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    found = Found()
    for study, wait in (("1.1", 59.0), ("1.2", 61.0)):
        receive(store, study, Lane.STAT)
        clock.now += wait
        Worker(store, fake.READER, SETTINGS, found).step()
    assert found.told == [(Lane.STAT, 59.0, False), (Lane.STAT, 61.0, True)]
    assert [record.getMessage() for record in caplog.records] == ["deadline missed"]


# ---- workers side by side ----


def test_what_failed_before_is_read_alone(store: Store) -> None:
    """If it ends the process, no other study loses a try with it."""
    receive(store, "1.1", Lane.STAT)
    failed = store.studies.take()
    assert failed is not None
    store.studies.fail(failed, "crashed", max_tries=3)
    one, other, third = threading.Lock(), threading.Lock(), threading.Lock()
    worker = Worker(store, fake.READER, SETTINGS, Watch(), desks=(one, third, other))
    with other:  # a worker beside it reads
        assert not worker.step()
        receive(store, "1.2")
        assert worker.step()  # what is fresh goes on
        assert [store.overview.versions(study)[0].state for study in ("1.1", "1.2")] == ["COMPLETE", "READ"]
    held = []

    def read(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        held.append((one.locked(), other.locked(), third.locked()))
        return fake.read(files)

    worker = Worker(store, fake.Fake(read), SETTINGS, Watch(), desks=(one, third, other))
    assert worker.step()
    receive(store, "1.3")
    assert worker.step()
    assert held == [(True, True, True), (True, False, False)]
    assert not any(desk.locked() for desk in (one, other, third))


def test_as_many_are_read_side_by_side_as_are_set(tmp_path: Path) -> None:
    store, met = Store(tmp_path), threading.Barrier(4)

    def read(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        met.wait(10)  # all of them, and the test
        return fake.read(files)

    runner = Runner(store, Settings(readers=3))
    for study in ("1.1", "1.2", "1.3"):
        receive(store, study)
    runner.start()
    runner.read_with(fake.Fake(read))
    try:
        met.wait(10)
    finally:
        runner.stop()
        store.close()


# ---- a long reading ---------------------------------------------------------------------------


def test_stat_does_not_wait_for_a_long_reading(tmp_path: Path) -> None:
    """While the routine study is half read, the STAT one is read whole; the routine one pauses for it and goes on."""
    store = Store(tmp_path)
    turns, steps = Turns(), []
    begun, stat_reads = threading.Event(), threading.Event()
    done = threading.Semaphore(0)

    def read(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        made = fake.read(files)
        if made[0].result.study_uid == "1.1":
            begun.set()
            assert stat_reads.wait(10)
            turns.pause()
        else:
            stat_reads.set()
            threading.Event().wait(0.05)  # the other one would be done by now
        steps.append(made[0].result.study_uid)
        done.release()
        return made

    routes = (Route(calling_ae=("ED",), lane="STAT"),)
    runner = Runner(store, Settings(routes=routes), turns=turns)
    runner.start()
    runner.read_with(fake.Fake(read))
    try:
        for number, (study, title) in enumerate((("1.1", "WARD"), ("1.2", "ED")), 1):
            data = film(study, f"{study}.1")
            runner.receive(Received(CR, f"{study}.1", study, "1.2.840.10008.1.2.1", data, title, number))
            runner.association_ended(number, released=True)
            assert begun.wait(10)
        assert all(done.acquire(timeout=10) for _ in range(2))
    finally:
        runner.stop()
        store.close()
    assert steps == ["1.2", "1.1"]


@pytest.mark.parametrize("hand", ["received", "read"])
def test_who_pauses_goes_on_between_stat_studies_of_one_association(tmp_path: Path, hand: str) -> None:
    """A scanner or a router may keep one association, and so one trace, open for all that it ever sends."""
    store, turns, went_on = Store(tmp_path), Turns(), threading.Event()
    runner = Runner(store, Settings(routes=(Route(calling_ae=("ED",), lane="STAT"),)), turns=turns)

    def receive_one(study: str) -> bool:
        data = film(study, f"{study}.1")
        return not runner.receive(Received(CR, f"{study}.1", study, "1.2.840.10008.1.2.1", data, "ED", 1))

    def pausing() -> None:
        turns.pause()
        went_on.set()

    def read(files: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        made = fake.read(files)
        if made[0].result.study_uid == "1.0":
            threading.Thread(target=pausing, daemon=True).start()
        assert went_on.wait(10 if made[0].result.study_uid == "1.1" else 0.05) is (made[0].result.study_uid == "1.1")
        return made

    runner.start()
    try:
        with following("a" * 32):
            assert receive_one("1.0")
            if hand == "received":
                threading.Thread(target=pausing, daemon=True).start()
                assert any(receive_one(f"1.{number}") and went_on.wait(0.01) for number in range(1, 100))
            else:
                assert receive_one("1.1")
                runner.association_ended(1, released=True)
                turns.pause()  # until the receipts are over: else who pauses waits for both studies
                worker = Worker(store, fake.Fake(read), SETTINGS, Watch(), turns=turns)
                assert [worker.step(), worker.step()] == [True, True]
                assert [store.overview.versions(one)[0].state for one in ("1.0", "1.1")] == ["READ", "READ"]
    finally:
        runner.stop()
        store.close()


def test_others_go_on_between_the_objects_of_a_stat_study_that_comes_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wetread.jobs.runner.LINGER_S", 30.0)
    store, turns, clock = Store(tmp_path), Turns(), Clock()
    runner = Runner(store, Settings(routes=(Route(calling_ae=("ED",), lane="STAT"),)), clock=clock, turns=turns)
    went_on = threading.Event()

    def pausing() -> None:
        turns.pause()
        went_on.set()

    def receive_one(number: int) -> None:
        data = film("1.1", f"1.1.{number}")
        runner.receive(Received(CR, f"1.1.{number}", "1.1", "1.2.840.10008.1.2.1", data, "ED", 1))

    runner.start()
    try:
        receive_one(1)
        threading.Thread(target=pausing, daemon=True).start()
        receive_one(2)
        assert not went_on.wait(0.1)
        clock.now += STREAMS_S
        receive_one(3)
        assert went_on.wait(10.0)
    finally:
        runner.stop()
        store.close()
