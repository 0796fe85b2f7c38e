"""Completion by what was announced: exactly that completes at once, less holds for a bounded time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jobs import fake
from tests.jobs.test_flow import PACS, Clock, Pacs
from tests.wire.objects import CR, data_set, element
from wetread.errors import StoreError
from wetread.jobs.announced import Announced, Known, Outlook, Source
from wetread.jobs.delivery import Outbox
from wetread.jobs.expecting import SHARE
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.routes import Route
from wetread.settings import Settings
from wetread.wire.dimse import Received
from wetread.wire.part10 import EXPLICIT_LITTLE, header

SETTINGS = Settings(quiet_s=5.0, expect_s=300.0, routes=(Route(calling_ae=("ED",), lane="STAT"),))


class Short(Watch):
    """Counts studies that are read short."""

    def __init__(self) -> None:
        self.number = 0

    def short(self) -> None:
        self.number += 1


class World:
    """A node without sockets, whose clock the tests turn."""

    def __init__(self, store: Store, settings: Settings = SETTINGS) -> None:
        self.store, self.clock, self.watch = store, Clock(), Short()
        self.runner = Runner(store, settings, self.watch, clock=self.clock)
        self.runner._take_over()  # and no thread of a timer: `tick` is the timer
        self.runner._receipts.start()

    def send(self, study: str, *numbers: int, association: int = 1, calling: str = "T", **told: int) -> None:
        """Let objects of a study arrive."""
        for number in numbers:
            instance = f"{study}.1.{number}"
            data = header(CR, instance, EXPLICIT_LITTLE) + data_set(study, instance, **told)  # type: ignore[arg-type]
            received = Received(CR, instance, study, EXPLICIT_LITTLE, data, calling, association)
            assert self.runner.receive(received) == 0

    def release(self, association: int = 1) -> None:
        self.runner.association_ended(association, True)

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds
        for study_uid in self.runner._completion.due():
            self.runner._complete(study_uid)

    def states(self, study: str) -> list[str]:
        """The state of each version."""
        return [job.state.value for job in self.store.overview.versions(study)]

    def read(self) -> None:
        """Read what is complete."""
        worker = Worker(self.store, fake.READER, SETTINGS, Watch())
        while worker.step():
            pass

    def stop(self) -> None:
        self.runner._receipts.stop()


Start = Callable[..., World]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a node on the same folder; one that ran before is stopped."""
    worlds: list[World] = []

    def end() -> None:
        if worlds:
            worlds[-1].stop()
            worlds.pop().store.close()

    def make(settings: Settings = SETTINGS) -> World:
        end()
        worlds.append(World(Store(tmp_path / "state"), settings))
        return worlds[-1]

    yield make
    end()


@pytest.fixture
def world(start: Start) -> World:
    return start()


# ---- numbers in headers -----------------------------------------------------------------------


def test_the_last_object_completes_a_study_while_its_association_stays_open(world: World) -> None:
    world.send("1.1", 1, 2, of_study=3)
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 3, of_study=3)
    assert world.states("1.1") == ["COMPLETE"]
    world.release()
    assert world.watch.number == 0


def test_a_release_with_less_than_announced_holds_the_study(world: World) -> None:
    world.send("1.1", 1, 2, of_study=3)
    world.release()
    world.tick(299.0)
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 3, association=2)  # one object that says nothing
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.number == 0


def test_what_never_comes_is_waited_for_no_longer_than_told_and_that_is_said(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.send("1.1", 1, 2, of_study=5)
    world.release()
    world.tick(300.1)
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.number == 1
    assert world.store.overview.audits() == [("incomplete-study", 1, {"arrived": 2, "expected": 5})]
    (line,) = [record for record in caplog.records if record.getMessage() == "study is short"]
    assert (line.__dict__["expected"], line.__dict__["arrived"]) == (5, 2)


def test_an_urgent_study_is_held_for_a_share_of_its_deadline(world: World) -> None:
    world.send("1.1", 1, calling="ED", of_study=2)
    world.release()
    world.tick(SHARE * SETTINGS.stat_deadline_s - 0.1)
    assert world.states("1.1") == ["RECEIVED"]
    world.tick(0.2)
    assert world.states("1.1") == ["COMPLETE"]


def test_nobody_waits_where_that_is_switched_off(start: Start) -> None:
    world = start(Settings(quiet_s=5.0, expect_s=0.0))
    world.send("1.1", 1, of_study=2)
    world.release()
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.number == 1  # and it is said all the same


def test_a_number_that_is_too_small_makes_one_version_at_most(world: World) -> None:
    world.send("1.1", 1, 2, of_study=2)
    assert world.states("1.1") == ["COMPLETE"]
    world.read()
    for number in range(3, 7):
        world.send("1.1", number, of_study=2)
        world.read()
    assert world.states("1.1")[1:] == ["RECEIVED"]
    world.release()
    assert world.states("1.1")[1:] == ["COMPLETE"]


def test_a_sender_that_counts_along_makes_one_version_more(world: World) -> None:
    for number in range(1, 6):
        world.send("1.1", number, of_study=number)
        world.read()
    assert world.states("1.1")[1:] == ["RECEIVED"]
    world.release()
    assert world.states("1.1")[1:] == ["COMPLETE"]


def test_a_number_that_is_too_small_before_the_reading_begins_makes_no_version(world: World) -> None:
    world.send("1.1", *range(1, 6), of_study=2)
    world.release()
    assert world.states("1.1") == ["COMPLETE"]


def test_a_series_with_less_than_announced_holds_the_study_and_completes_nothing(world: World) -> None:
    world.send("1.1", 1, of_series=2)
    world.release()
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 2, association=2, of_series=2)
    assert world.states("1.1") == ["RECEIVED"]  # there may be other series
    world.release(2)
    assert world.states("1.1") == ["COMPLETE"]


@pytest.mark.parametrize("text", [b"many", b"-3", b"3.0", b"9" * 12])
def test_what_is_no_number_announces_nothing(world: World, text: bytes) -> None:
    told = element(0x00201208, "IS", text)
    pixels = element(0x7FE00010, "OW", bytes(64))
    data = header(CR, "1.1.1.1", EXPLICIT_LITTLE) + data_set("1.1", "1.1.1.1").partition(pixels[:8])[0] + told + pixels
    assert world.runner.receive(Received(CR, "1.1.1.1", "1.1", EXPLICIT_LITTLE, data, "T", 1)) == 0
    world.release()
    assert world.states("1.1") == ["COMPLETE"]
    assert world.watch.number == 0


def test_what_was_announced_outlives_the_process(start: Start) -> None:
    world = start()
    world.send("1.1", 1, of_study=3)
    world = start()
    world.tick(SETTINGS.quiet_s + 0.1)  # without the number it would be complete now
    assert world.states("1.1") == ["RECEIVED"]
    world.send("1.1", 2, 3)
    assert world.states("1.1") == ["COMPLETE"]


def test_a_study_that_was_whole_before_a_stop_is_complete_after_it(start: Start) -> None:
    world = start()
    world.send("1.1", 1, 2)
    world.store.announced.number("1.1", "", Source.HEADER, 2)  # the process ends before it acts
    world = start()
    assert world.states("1.1") == ["COMPLETE"]


def test_only_what_was_announced_is_asked_for_at_a_start(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of studies may wait; each would cost the start some queries."""
    world = start()
    for study, number in (("1.1", 0), ("1.2", 3), ("1.3", 0)):
        world.send(study, 1, of_study=number)
    asked: list[str] = []

    class Asked(Announced):
        def known(self, study_uid: str) -> Known:
            asked.append(study_uid)
            return super().known(study_uid)

    monkeypatch.setattr("wetread.jobs.store.Announced", Asked)
    start()
    assert asked == ["1.2"]


def test_an_index_that_cannot_be_read_leaves_it_to_the_release(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("full")

    with monkeypatch.context() as patch:
        patch.setattr(world.store.announced, "known", fail)
        world.send("1.1", 1, of_study=2)
    world.release()
    assert world.states("1.1") == ["COMPLETE"]


def test_documents_of_ours_that_an_archive_counts_are_not_waited_for(world: World) -> None:
    settings = replace(SETTINGS, destinations=(PACS,))
    world.send("1.1", 1)
    world.release()
    Worker(world.store, fake.READER, settings, Watch()).step()
    outbox = Outbox("PACS@pacs.invalid:104", PACS, world.store, Pacs(), settings, Watch())
    while outbox.step() is not None:
        pass
    assert world.states("1.1") == ["DELIVERED"]
    assert world.store.announced.known("1.1").ours == 2
    for number, outlook in ((1, Outlook.WHOLE), (2, Outlook.UNKNOWN), (3, Outlook.WHOLE), (4, Outlook.MORE)):
        world.store.announced.number("1.1", "", Source.QUERY, number)
        assert world.store.announced.known("1.1").outlook is outlook
