"""A node that is behind its deadlines: what it leaves out, in which order, and how it comes back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.jobs import fake
from tests.jobs.test_lanes import SETTINGS, Clock, clock, receive, store
from wetread.errors import SettingsError
from wetread.jobs.lanes import Lane
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.jobs.strain import Strain
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.records import USUAL, Circumstances, Reading, Stored
from wetread.settings import STEPS, Destination, Settings, load

__all__ = ["clock", "store"]  # the fixtures

ALL = replace(SETTINGS, build="fp32")


@dataclass
class Seen(Watch):
    """Remembers which steps began and ended."""

    steps: list[tuple[str, bool]] = field(default_factory=list)

    def degraded(self, step: str, yes: bool) -> None:
        self.steps.append((step, yes))


class Told(fake.Fake):
    """Remembers under which circumstances it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.__dict__["given"] = []

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        self.__dict__["given"].append(given.reduced)
        return super().read_blobs(blobs, given)


def passes(strain: Strain, clock: Clock, seconds: float) -> list[tuple[str, ...]]:
    """The steps in force after each ten seconds."""
    seen = []
    for _ in range(int(seconds / 10)):
        clock.now += 10.0
        strain.look()
        seen.append(strain.steps)
    return seen


def read_one(store: Store) -> bool:
    job = store.studies.take()
    if job is not None:
        store.studies.finish(job.id, [], "NOT-AN-IMAGE")
    return job is not None


def read_all(store: Store) -> None:
    while read_one(store):
        pass


def test_the_steps_come_one_by_one_and_go_in_reverse(
    store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    seen = Seen()
    strain = Strain(store.overview, ALL, seen, clock)
    receive(store, "1.1", Lane.STAT)
    assert set(passes(strain, clock, 110)) == {()}  # late for less than 60 s
    assert [len(steps) for steps in passes(strain, clock, 240)] == [n for n in (1, 2, 3, 4) for _ in range(6)]
    assert strain.steps == STEPS
    assert passes(strain, clock, 600)[-1] == STEPS
    read_all(store)
    back = [len(steps) for steps in passes(strain, clock, 240)]
    assert back == [4] * 5 + [n for n in (3, 2, 1) for _ in range(6)] + [0]
    assert seen.steps == [(step, True) for step in STEPS] + [(step, False) for step in reversed(STEPS)]
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["behind its deadlines: step begins"] * 4 + ["in time again: step ends"] * 4
    assert [record.__dict__["step"] for record in caplog.records] == [step for step, _ in seen.steps]


@pytest.mark.parametrize(("waits", "holds"), [(100, True), (60, False)])
def test_a_node_at_the_edge_does_not_swing(store: Store, clock: Clock, waits: int, holds: bool) -> None:
    """Where nobody is late, but waits for more than half of the lane's time, no step begins or ends."""
    strain, came, seen = Strain(store.overview, replace(ALL, stat_deadline_s=150.0), Watch(), clock), [], set()
    for number in range(60):
        receive(store, f"1.{number}", Lane.STAT)
        came.append(clock.now)
        clock.now += 10.0
        while number >= 22 and clock.now - came[0] >= waits:
            read_one(store)
            came.pop(0)
        if number >= 21:
            strain.look()
            seen.add(strain.steps)
    assert seen == ({STEPS[:1]} if holds else {STEPS[:1], ()})


@pytest.mark.parametrize("why", ["receiving", "slow", "crashed", "routine", "off", "empty"])
def test_what_is_no_strain(store: Store, clock: Clock, why: str) -> None:
    settings = {"off": replace(ALL, degrade_after_s=0.0), "empty": replace(ALL, degrade="")}.get(why, ALL)
    strain = Strain(store.overview, settings, Watch(), clock)
    if why == "slow":  # it took an hour to come, and is read as soon as it is complete
        for study in range(5):
            receive(store, f"1.{study}", Lane.STAT)
            with store._index.writing() as connection:
                connection.exec_driver_sql(f"UPDATE jobs SET created_at = {clock.now - 3600}")
            assert set(passes(strain, clock, 50)) == {()}
            read_all(store)
        return
    receive(store, "1.1", Lane.ROUTINE if why == "routine" else Lane.STAT)
    if why == "receiving":
        with store._index.writing() as connection:
            connection.exec_driver_sql("UPDATE jobs SET state = 'RECEIVED'")
    if why == "crashed":
        job = store.studies.take()
        assert job is not None
        store.studies.fail(job, "crashed", max_tries=3)
    assert set(passes(strain, clock, 900)) == {()}
    assert not settings.steps or why not in ("off", "empty")


def test_a_reading_that_takes_too_long_is_strain(store: Store, clock: Clock) -> None:
    strain = Strain(store.overview, ALL, Watch(), clock)
    receive(store, "1.1", Lane.STAT)
    assert store.studies.take() is not None
    assert passes(strain, clock, 120)[-1] == STEPS[:1]


def test_the_worker_tells_the_reader_and_leaves_routine_to_the_end(store: Store, clock: Clock) -> None:
    reader, strain = Told(), Strain(store.overview, ALL, Watch(), clock)
    worker = Worker(store, reader, ALL, Watch(), clock, strain=strain)
    receive(store, "1.1")
    clock.now += 3600 + 60 + 240
    receive(store, "1.2", Lane.URGENT)
    strain.steps = STEPS
    order = []
    while worker.step():
        order += [study for study in ("1.1", "1.2") if store.overview.versions(study)[0].state == "READ"]
    assert order == ["1.2", "1.1", "1.2"]  # though the routine one is long due
    assert reader.__dict__["given"] == [("documents", "pictures", "builds")] * 2  # the order changes no document
    strain.steps = ()
    receive(store, "1.3")
    assert worker.step()
    assert reader.__dict__["given"][-1] == ()


def test_a_node_looks_by_itself(tmp_path: Path) -> None:
    """A study that cannot be read as the reader is stuck: the first step is in force, and its end is seen."""
    store, free, begun = Store(tmp_path), threading.Event(), threading.Event()
    events: list[tuple[str, bool]] = []
    told = threading.Condition()

    class Loud(Watch):
        def degraded(self, step: str, yes: bool) -> None:
            with told:
                events.append((step, yes))
                told.notify_all()

    class Stuck(fake.Fake):
        def read_blobs(
            self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
        ) -> tuple[Reading, ...]:
            begun.set()
            assert free.wait(30)
            return super().read_blobs(blobs, given)

    settings = replace(SETTINGS, destinations=(), routine_deadline_s=0.1, degrade_after_s=0.2, degrade="pictures")
    runner = Runner(store, settings, Loud())
    runner.start()
    receive(store, "1.1")
    runner.read_with(Stuck())
    assert begun.wait(10)
    with told:
        assert told.wait_for(lambda: events == [("pictures", True)], 20)
    assert runner.strain.steps == ("pictures",)
    free.set()
    with told:
        assert told.wait_for(lambda: events[-1] == ("pictures", False), 20)
    runner.stop()
    store.close()


def test_steps_by_the_settings() -> None:
    assert Settings().steps == ("documents", "pictures", "routine")  # auto: the fastest builds read already
    assert Settings(build="fp32").steps == STEPS
    assert load(environ={"WETREAD_DEGRADE": "Routine,pictures"}).steps == ("routine", "pictures")
    assert load(environ={"WETREAD_DEGRADE": ""}).steps == ()
    for wrong in ("mirror", "pictures, pictures"):
        with pytest.raises(SettingsError, match="degrade: expected some of documents, pictures, builds, routine"):
            load(environ={"WETREAD_DEGRADE": wrong})


@pytest.mark.parametrize(
    ("kinds", "steps"),
    [
        (("SR", "PDF", "SC"), ("documents", "pictures", "routine")),
        (("PDF",), ("pictures", "routine")),
        (("SC", "KOS"), ("documents", "routine")),
        (("SEG",), ("documents", "pictures", "routine")),
        (("SC", "PDF"), ("routine",)),
    ],
)
def test_no_destination_falls_silent(kinds: tuple[str, ...], steps: tuple[str, ...]) -> None:
    others = Destination("A", "a.invalid", 104)
    assert Settings(destinations=(others, Destination("B", "b.invalid", 104, kinds))).steps == steps
