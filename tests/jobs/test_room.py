"""A bounded queue says no early and explicitly, and has room again by itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.jobs import fake
from tests.wire.objects import CR, film
from wetread.jobs.completion import OPEN_FACTOR, Completion
from wetread.jobs.instances import Arrival
from wetread.jobs.lanes import Lane
from wetread.jobs.room import LOOK_S, TRUST_S, Room
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.routes import Route
from wetread.settings import Settings
from wetread.turns import Turns
from wetread.wire.dimse import Received

LIMITS = Settings(max_waiting=10, max_waiting_bytes=10_000, min_free_bytes=1000, stat_reserve=0.2)


@dataclass
class World:
    """A store, a disk and a clock that the tests turn."""

    store: Store
    now: float = 0.0
    free: int = 1 << 40

    def room(self, settings: Settings = LIMITS) -> Room:
        return Room(self.store.overview, Path("/"), settings, lambda: self.now, lambda _: self.free)

    def receive(self, *studies: str, size: int = 64) -> None:
        """Store and complete studies of one object."""
        for study in studies:
            data = film(study, f"{study}.1", size)
            arrival = Arrival(CR, f"{study}.1", study, "1.2.840.10008.1.2.1", "T", self.store.spool.put(data), size)
            self.store.instances.admit([arrival])
            self.store.studies.complete(study)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = Store(tmp_path)
    yield World(store)
    store.close()


def lacks(room: Room, study: str, lane: Lane, size: int) -> str:
    with room.asked(study, lane, size) as short:
        return short


def test_studies_are_bounded_and_stat_has_a_reserve(world: World) -> None:
    room = world.room()
    assert [lacks(room, f"1.{n}", Lane.ROUTINE, 1) for n in range(11)] == [""] * 10 + ["studies"]
    assert [lacks(room, f"2.{n}", Lane.STAT, 1) for n in range(3)] == ["", "", "studies"]
    assert lacks(room, "3.1", Lane.URGENT, 1) == "studies"
    assert lacks(room, "1.1", Lane.ROUTINE, 1) == ""  # has begun, and shall be whole


def test_bytes_are_bounded(world: World) -> None:
    room = world.room()
    assert lacks(room, "1.1", Lane.ROUTINE, 9000) == ""
    assert lacks(room, "1.2", Lane.ROUTINE, 1001) == "bytes"
    assert lacks(room, "1.2", Lane.STAT, 1001) == ""
    assert lacks(room, "1.1", Lane.ROUTINE, 1999) == ""
    assert lacks(room, "1.1", Lane.ROUTINE, 1) == "bytes"


def test_the_disk_keeps_a_rest(world: World) -> None:
    room = world.room()
    world.free = 1099
    assert lacks(room, "1.1", Lane.ROUTINE, 100) == "disk"
    assert lacks(room, "1.1", Lane.STAT, 100) == ""
    world.free = 899
    assert lacks(room, "1.2", Lane.STAT, 100) == "disk"


def test_what_waited_before_counts_and_room_comes_back_by_itself(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "wetread.jobs")
    world.receive(*(f"1.{n}" for n in range(10)))
    room = world.room()
    assert [lacks(room, f"2.{n}", Lane.ROUTINE, 1) for n in range(5)] == ["studies"] * 5
    Worker(world.store, fake.READER, Settings(), Watch()).step()
    assert lacks(room, "2.1", Lane.ROUTINE, 1) == "studies"  # nobody has looked since
    world.now += LOOK_S
    assert lacks(room, "2.1", Lane.ROUTINE, 1) == ""
    told = [record.getMessage() for record in caplog.records if "room" in record.getMessage()]
    assert told == ["no room", "room again"]  # not one line an object


def test_what_other_nodes_took_is_seen_in_time(world: World) -> None:
    room = world.room()
    assert lacks(room, "1.0", Lane.ROUTINE, 1) == ""
    world.receive(*(f"1.{n}" for n in range(10)))  # as another node on the same store would
    world.now += TRUST_S
    assert lacks(room, "2.1", Lane.ROUTINE, 1) == "studies"


def test_what_is_on_its_way_into_the_index_counts(world: World) -> None:
    room = world.room()
    with ExitStack() as coming:
        for number in range(10):
            coming.enter_context(room.asked(f"1.{number}", Lane.ROUTINE, 1))
        world.now += TRUST_S  # the index is asked, and knows nothing of them
        assert lacks(room, "2.1", Lane.ROUTINE, 1) == "studies"
    world.now += TRUST_S  # none of them could be kept
    assert lacks(room, "2.1", Lane.ROUTINE, 1) == ""


def test_what_waits_for_a_destination_does_not_count(world: World) -> None:
    world.receive("1.1")
    assert list(world.store.overview.waiting()) == ["1.1"]
    Worker(world.store, fake.READER, Settings(), Watch()).step()
    assert world.store.overview.waiting() == {}


class Refused(Watch):
    """Remembers what found no room."""

    def __init__(self) -> None:
        self.told: list[tuple[Lane, str]] = []

    def no_room(self, lane: Lane, short: str) -> None:
        self.told.append((lane, short))


def test_the_peer_is_told_and_nothing_of_it_is_kept(world: World) -> None:
    watch = Refused()
    routes = (Route(calling_ae=("ED",), lane="STAT"),)
    settings = Settings(max_waiting=1, stat_reserve=1.0, quiet_s=100.0, routes=routes)
    runner = Runner(world.store, settings, watch)
    runner.start()
    answers = []
    for number, (study, title) in enumerate((("1.1", "WARD"), ("1.2", "WARD"), ("1.3", "ED"), ("1.4", "ED"))):
        data = film(study, f"{study}.1")
        received = Received(CR, f"{study}.1", study, "1.2.840.10008.1.2.1", data, title, number)
        answers.append(runner.receive(received))
    runner.stop()
    assert answers == [0x0000, 0xA700, 0x0000, 0xA700]
    assert watch.told == [(Lane.ROUTINE, "studies"), (Lane.STAT, "studies")]
    assert len(list(world.store.spool.digests())) == 2
    assert sorted(world.store.studies.incomplete()) == ["1.1", "1.3"]


def test_nobody_is_turned_away_while_a_stat_study_is_read(world: World) -> None:
    turns, settings = Turns(), Settings(max_waiting=1, stat_reserve=0.0, quiet_s=100.0)
    runner = Runner(world.store, settings, Watch(), turns=turns)
    runner.start()

    def send(study: str) -> int:
        data = film(study, f"{study}.1")
        return runner.receive(Received(CR, f"{study}.1", study, "1.2.840.10008.1.2.1", data, "WARD", 1))

    with ThreadPoolExecutor(1) as pool:
        with turns.first():
            assert pool.submit(send, "1.1").result(10) == 0x0000  # what is taken waits a moment, not for the end
            turned_away = pool.submit(send, "1.2")
            assert wait([turned_away], 0.1).not_done
        assert turned_away.result(10) == 0xA700
    runner.stop()


def test_a_study_of_which_an_object_was_refused_waits_for_it(world: World) -> None:
    completed: list[str] = []
    completion = Completion(completed.append, 5.0, lambda: world.now)
    completion.touch("1.1", 1)
    completion.refused("1.1", 1)
    completion.refused("1.9", 1)  # nothing of it was taken
    completion.touch("1.1", 1)
    completion.end(1, released=True)
    world.now += 5.1
    assert completed == completion.due() == []
    completion.touch("1.1", 2)  # its sender tries again
    completion.end(2, released=True)
    assert completed == ["1.1"]


def test_a_sender_that_never_tries_again_holds_no_study_for_ever(world: World) -> None:
    completion = Completion(lambda _: None, 5.0, lambda: world.now)
    completion.touch("1.1", 1)
    completion.refused("1.1", 1)
    completion.end(1, released=True)
    world.now += 5.0 * OPEN_FACTOR + 0.1
    assert completion.due() == ["1.1"]
