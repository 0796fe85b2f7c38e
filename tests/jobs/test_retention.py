"""What may be deleted, when, and that nothing else ever is."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.jobs.test_store import TO, admit, arrive, sr, take
from tests.wire.objects import film
from wetread.errors import StoreError
from wetread.jobs.desk import Desk
from wetread.jobs.instances import Effect
from wetread.jobs.parcels import Addressed
from wetread.jobs.resources import Wanted
from wetread.jobs.retention import DAY_S, LOOK_S, MOST, Retention
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.tables import resources
from wetread.jobs.watch import Watch
from wetread.records import Document
from wetread.settings import Settings
from wetread.wire.associate import INSTANCE_AVAILABILITY
from wetread.wire.dimse import Notice, Status

PLENTY = 1 << 40


class World:
    """A store whose clocks and disk the test turns."""

    def __init__(self, state: Path, url: str) -> None:
        self.now, self.monotonic, self.free = 1e9, 0.0, PLENTY
        self.removed: list[str] = []
        self._state, self._url = state, url
        self._open: Callable[[], Store] = lambda: Store(state, now=lambda: self.now, url=url)
        self.store = self._open()

    def again(self) -> None:
        """Close the store and open it again."""
        self.store.close()
        self.store = self._open()

    def keeper(self, **given: float) -> Retention:
        """Return a retention that looks at once."""
        watch = Watch()
        watch.removed = self.removed.append  # type: ignore[method-assign, assignment]
        settings = Settings(**{"keep_days": 7.0, "least_free_bytes": 1000, **given})  # type: ignore[arg-type]
        return Retention(self.store, settings, watch, lambda: self.monotonic, lambda folder: self.free)

    def study(self, number: int, deliver: bool = True, refusal: str = "", *, more: Addressed | None = None) -> int:
        """Take, read and, if told, deliver a study."""
        uid = f"1.{number}"
        admit(self.store, arrive(self.store, f"{uid}.1", uid))
        self.store.studies.complete(uid)
        job = take(self.store)
        made = [(sr(f"{uid}.9", film(uid, f"{uid}.9")), TO), *([more] if more is not None else [])]
        self.store.studies.finish(job, made, refusal)
        if deliver:
            self.deliver()
        return job

    def deliver(self) -> None:
        """Let the destination confirm everything."""
        for parcel in self.store.parcels.waiting("PACS@127.0.0.1:104", frozenset(), 100):
            self.store.parcels.delivered(parcel)

    def retry(self, job: int) -> None:
        """Have a job read again, as a person does."""
        desk = Desk(self._state, self._url)
        desk.retry(job)
        desk.close()

    def blobs(self) -> tuple[int, int]:
        """How many objects and documents are on disk."""
        return len(list(self.store.spool.digests())), len(list(self.store.made.digests()))


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("database") if request.param == "postgresql" else ""
    made = World(tmp_path / "state", url)
    yield made
    made.store.close()


def test_a_delivered_study_goes_when_its_days_are_over(world: World) -> None:
    world.study(1)
    world.study(2, refusal="WRONG-VIEW")
    keeper = world.keeper()
    world.now += 7 * DAY_S - 1
    assert keeper.step() == LOOK_S
    assert world.blobs() == (2, 2)
    world.now += 2
    assert keeper.step() == LOOK_S  # it does not look all the time
    assert world.blobs() == (2, 2)
    world.monotonic += LOOK_S
    assert keeper.step() == LOOK_S
    assert world.blobs() == (0, 0)
    assert world.removed == ["age", "age"]
    removed = [detail for event, _, detail in world.store.overview.audits() if event == "removed"]
    assert removed == [{"why": "age", "objects": 1, "documents": 1}] * 2
    assert {job.state for n in (1, 2) for job in world.store.overview.versions(f"1.{n}")} == {
        State.DELIVERED,
        State.REFUSED,
    }


def test_what_a_bundle_says_is_found_until_it_goes(world: World) -> None:
    url = "urn:uuid:00000000-0000-4000-8000-000000000001"
    told = {"identifier": [{"system": "urn:x", "value": "a_b"}], "subject": {"identifier": {"value": "4711"}}}
    report = {"resourceType": "DiagnosticReport", "status": "preliminary", "effectiveDateTime": "2026-11-29", **told}
    bundle = Document("FHIR", "x.json", json.dumps({"entry": [{"fullUrl": url, "resource": report}]}).encode())
    job = world.study(1, deliver=False, more=(bundle, {}))
    found, total = world.store.resources.search(Wanted("DiagnosticReport", patient=("4711",), dates=("ge2026-11",)), 10)
    assert (total, found) == (1, [{**report, "id": url[-36:]}])
    wanted = ({"identifiers": ("urn:x|a%",)}, {"identifiers": ("aXb",)}, {"patient": ("|47",)}, {"dates": ("lt2026",)})
    assert [world.store.resources.search(Wanted("DiagnosticReport", **one), 10)[1] for one in wanted] == [0, 0, 0, 0]
    world.deliver()
    world.now += 7 * DAY_S
    assert world.store.removals.remove(job, "test") == 3
    assert world.store.resources.search(Wanted("DiagnosticReport"), 10) == ([], 0)
    with world.store._index.reading() as connection:
        assert connection.execute(select(resources)).all() == []


def test_nothing_goes_before_its_delivery_is_confirmed(world: World) -> None:
    world.study(1, deliver=False)  # queued
    world.study(2, deliver=False)
    for parcel in world.store.parcels.waiting("PACS@127.0.0.1:104", frozenset(), 1):
        assert world.store.parcels.rejected(parcel, 0xC000, dead=True) is State.FAILED
    admit(world.store, arrive(world.store, "1.3.1", "1.3"))  # received
    admit(world.store, arrive(world.store, "1.4.1", "1.4"))
    world.store.studies.complete("1.4")
    job = world.store.studies.take()  # being read
    assert job is not None
    admit(world.store, arrive(world.store, "1.5.1", "1.5"))
    world.store.studies.complete("1.5")
    crashed = world.store.studies.take()
    assert crashed is not None
    assert world.store.studies.fail(crashed, "crashed", max_tries=1) is State.FAILED
    world.now += 1000 * DAY_S
    world.free = 0
    before = world.blobs()
    world.keeper().step()
    assert world.blobs() == before
    assert world.removed == []


def test_a_node_without_destinations_keeps_its_results(world: World) -> None:
    admit(world.store, arrive(world.store))
    world.store.studies.complete("1.2.3")
    assert world.store.studies.finish(take(world.store), [(sr(), {})], "") is State.DELIVERED
    world.now += 1000 * DAY_S
    world.keeper().step()
    assert world.blobs() == (1, 1)


def test_what_a_rule_lets_nobody_read_and_sends_nowhere_goes(world: World) -> None:
    """Else a whole hospital's mammography would stay for ever."""
    admit(world.store, arrive(world.store))
    world.store.studies.complete("1.2.3")
    assert world.store.studies.finish(take(world.store), [(sr(), {})], "NOT-ROUTED") is State.REFUSED
    world.keeper().step()
    assert world.blobs() == (1, 1)
    world.now += 8 * DAY_S
    world.keeper().step()
    assert world.blobs() == (0, 0)


def test_a_study_with_a_version_on_its_way_stays(world: World) -> None:
    world.study(1)
    admit(world.store, arrive(world.store, "1.1.2", "1.1"))
    world.now += 8 * DAY_S
    world.keeper().step()
    assert world.blobs() == (2, 1)


@pytest.mark.parametrize("why", ["age", "space"])
def test_a_study_with_a_version_that_failed_stays_until_a_person_acts(world: World, why: str) -> None:
    world.study(1)
    admit(world.store, arrive(world.store, "1.1.2", "1.1"))
    world.store.studies.complete("1.1")
    later = world.store.studies.take()
    assert later is not None
    assert world.store.studies.fail(later, "crashed", max_tries=1) is State.FAILED
    if why == "age":
        world.now += 8 * DAY_S
    else:
        world.free = 0
    world.keeper().step()
    assert world.blobs() == (2, 1)
    world.store.studies.answer(later.id, [])  # what waits to be set aside is no reason: only that it FAILED
    world.monotonic += LOOK_S
    world.keeper().step()
    assert world.blobs() == (2, 1)
    world.retry(later.id)
    world.store.studies.finish(take(world.store), [(sr("1.1.9", film("1.1", "1.1.9")), TO)], "")
    world.deliver()
    world.now += 8 * DAY_S
    world.keeper().step()
    assert world.blobs() == (0, 0)


def test_with_little_space_the_oldest_go_first_and_no_more_than_needed(world: World) -> None:
    for number in range(3):
        world.study(number)
        world.now += 10
    world.free = 10
    keeper = world.keeper()
    remove = world.store.removals.remove

    def freeing(job: int, why: str, committing: Collection[str] = ()) -> int:
        world.free += 600
        return remove(job, why, committing)

    world.store.removals.remove = freeing  # type: ignore[method-assign]
    keeper.step()
    assert world.removed == ["space", "space"]
    assert world.blobs() == (1, 1)
    assert world.store.removals.due() == world.store.overview.versions("1.2")[0].id


def test_zero_keeps_for_ever(world: World) -> None:
    world.study(1)
    world.now += 1e9
    world.free = 0
    world.keeper(keep_days=0.0, least_free_bytes=0).step()
    assert world.blobs() == (1, 1)


def test_a_clock_that_jumps_deletes_only_what_was_delivered(world: World) -> None:
    world.study(1)
    world.study(2, deliver=False)
    world.now -= 1e8  # back: nothing is old
    world.keeper().step()
    assert world.blobs() == (2, 2)
    world.now += 2e8  # forward: what was delivered goes early, nothing else
    world.keeper().step()
    assert world.blobs() == (1, 1)
    world.deliver()


def test_the_same_object_again_is_known_and_not_read_again(world: World) -> None:
    world.study(1)
    world.now += 8 * DAY_S
    world.keeper().step()
    assert admit(world.store, arrive(world.store, "1.1.1", "1.1")) == [Effect.DUPLICATE]
    assert admit(world.store, arrive(world.store, "1.1.1", "1.1", 66)) == [Effect.CONFLICT]
    assert admit(world.store, arrive(world.store, "1.1.9", "1.1")) == [Effect.OWN]
    assert world.blobs() == (0, 0)
    assert len(world.store.overview.versions("1.1")) == 1
    admit(world.store, arrive(world.store, "1.1.2", "1.1"))  # a new object is a new version, as ever
    assert [job.version for job in world.store.overview.versions("1.1")] == [1, 2]


def test_a_late_object_is_not_held_up_by_those_that_were_deleted(world: World) -> None:
    for number in (1, 2):
        admit(world.store, replace(arrive(world.store, f"1.1.{number}", "1.1"), series_uid="1.1.7"))
    world.store.studies.complete("1.1")
    world.store.studies.finish(take(world.store), [(sr("1.1.9", film("1.1", "1.1.9")), TO)], "")
    world.deliver()
    world.now += 8 * DAY_S
    world.keeper().step()
    late = arrive(world.store, "1.1.3", "1.1", 77)
    admit(world.store, replace(late, series_uid="1.1.7"))
    world.store.studies.complete("1.1")
    first, second = world.store.overview.versions("1.1")
    assert world.store.studies.digests(second.id) == [late.digest]
    assert world.store.studies.lost(second) == {"1.1.7"}
    assert world.store.studies.lost(first) == frozenset()
    assert [name for name, _ in world.store.files(second.id)]


def test_a_document_that_a_later_version_shares_stays_with_it(world: World) -> None:
    world.study(1)
    first = world.store.overview.versions("1.1")[0].id
    world.now += 8 * DAY_S
    admit(world.store, arrive(world.store, "1.1.2", "1.1"))
    world.store.studies.complete("1.1")
    world.store.studies.finish(take(world.store), [(sr("1.1.9", film("1.1", "1.1.9")), TO)], "")
    world.keeper().step()
    assert world.blobs() == (1, 1)  # the object of the first version went
    assert world.store.removals.due() != first


def test_a_kill_between_the_two_steps_is_made_good_at_the_next_start(world: World) -> None:
    job = world.study(1)
    world.study(2)

    class Killed(BaseException):
        pass

    def die(name: str) -> None:
        if name == "forgotten":
            raise Killed

    world.store.failpoint = die
    with pytest.raises(Killed):
        world.store.removals.remove(job, "age")
    assert world.blobs() == (2, 2)
    world.again()
    found = world.store.found
    assert found is not None
    assert (found.removed, found.adopted, found.missing) == (2, 0, 0)
    assert world.blobs() == (1, 1)
    assert [event for event, _, _ in world.store.overview.audits()] == ["removed"]


def test_what_somebody_wanted_meanwhile_stays(world: World) -> None:
    job = world.study(1)
    assert world.store.removals.due() == job
    admit(world.store, arrive(world.store, "1.1.2", "1.1"))
    assert world.store.removals.remove(job, "age") == 0
    assert world.blobs() == (2, 1)


def test_a_document_made_again_while_it_goes_is_not_lost(world: World) -> None:
    """A later version begins between the two steps: its blob stays."""
    job = world.study(1)

    def late(name: str) -> None:
        if name == "forgotten":
            admit(world.store, arrive(world.store, "1.1.2", "1.1"))

    world.store.failpoint = late
    world.store.removals.remove(job, "age")
    world.store.failpoint = lambda name: None
    assert world.blobs() == (2, 1)
    world.again()
    assert world.blobs() == (1, 0)


def test_many_studies_are_deleted_in_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wetread.jobs.retention.MOST", 2)
    assert MOST == 100
    for number in range(3):
        world.study(number)
    world.now += 8 * DAY_S
    keeper = world.keeper()
    assert keeper.step() == 0.0
    assert keeper.step() == LOOK_S
    assert world.blobs() == (0, 0)


def test_of_several_nodes_one_deletes(shared: Callable[..., Store]) -> None:
    one, two = shared(), shared()
    assert one.leases.acquire("retention")
    retention = Retention(two, Settings(), Watch(), lambda: 0.0, lambda folder: PLENTY)

    def fail(ended_s: float = 0.0, committing: Collection[str] = ()) -> int | None:
        raise StoreError("asked")

    two.removals.due = fail  # type: ignore[method-assign]
    assert retention.step() == LOOK_S


def test_notices_go_with_time_unless_their_study_is_on_its_way(world: World) -> None:
    for number in (1, 2, 3):
        notice = Notice(INSTANCE_AVAILABILITY, f"1.9.{number}", True, frozenset((f"1.{number}",)), "", frozenset("1"))
        assert world.store.announced.hear(notice) is Status.SUCCESS
    world.study(1)
    admit(world.store, arrive(world.store, "1.2.1", "1.2"))  # it waits to be read; of the third nothing came
    world.now += 6 * DAY_S
    world.keeper().step()
    assert all(world.store.announced.known(f"1.{number}").listed for number in (1, 2, 3))
    world.now += 1 * DAY_S + 1
    world.keeper(keep_days=0.0).step()
    assert all(world.store.announced.known(f"1.{number}").listed for number in (1, 2, 3))
    world.keeper().step()
    assert [bool(world.store.announced.known(f"1.{number}").listed) for number in (1, 2, 3)] == [False, True, False]
