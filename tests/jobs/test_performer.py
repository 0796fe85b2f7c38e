"""Fetching what a work item is about, and who of several nodes performs it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jobs import fake
from tests.jobs.older import back_to
from tests.jobs.test_ordering import Bench
from tests.serve.worklist import step
from wetread.errors import PeerRefused, PeerUnreachable
from wetread.jobs import performer as performer_module
from wetread.jobs.fetching import Fetching
from wetread.jobs.performer import ELSEWHERE_S, Manager, OwnList, Performer
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.settings import Destination, Settings
from wetread.wire.dicomjson import DataSet, code, dataset, item, text, values
from wetread.wire.retrieve import Fetched
from wetread.wire.ups import StepState

ARCHIVES = (Destination("A", "127.0.0.1", 1), Destination("B", "127.0.0.1", 1))
SETTINGS = Settings(archives=ARCHIVES, expect_s=10.0, retry_first_s=1.0, retry_most_s=1.0)
INPUT = dataset({"StudyInstanceUID": "1.2.3"})


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fetching(answers: dict[str, int | Exception | None], clock: Clock, came: int = 3) -> Fetching:
    """Archives that answer so, by their AE titles."""

    def count(archive: Destination, _study: str) -> int | None:
        answer = answers[archive.ae_title]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def move(_archive: Destination, _study: str, on_progress: Callable[[Fetched], None]) -> Fetched:
        on_progress(Fetched(remaining=2, completed=1))
        return Fetched(completed=came)

    return Fetching(SETTINGS, lambda received: 0, lambda number, released: None, count, move, clock)


def test_the_archive_that_has_it_is_asked_to_send_it() -> None:
    clock = Clock()
    made = fetching({"A": None, "B": 3}, clock)
    assert made.step() is None
    fetch = made.want("1.2.3")
    assert made.step() == 0.0
    assert (fetch.came, fetch.failure, fetch.ended_at) == (3, "", 100.0)
    assert made.want("1.2.3") is fetch
    assert made.step() is None


def test_the_archive_that_the_item_names_is_asked_alone() -> None:
    made = fetching({"A": 3, "B": None}, Clock())
    fetch = made.want("1.2.3", {"B", "ELSEWHERE"})
    made.step()
    assert fetch.failure == "No archive has the study"
    strangers = made.want("1.2.4", {"ELSEWHERE"})  # nobody whom we know: everybody is asked
    made.step()
    assert strangers.came == 3


def test_an_archive_that_is_away_is_asked_again() -> None:
    clock, answers = Clock(), dict[str, int | Exception | None](A=None, B=PeerUnreachable("away"))
    made = fetching(answers, clock)
    fetch = made.want("1.2.3")
    made.step()
    assert (fetch.ended_at, "does not answer" in fetch.told) == (None, True)
    wait_s = made.step()
    assert wait_s is not None
    assert 0 < wait_s <= 1.0
    answers["B"] = 3
    clock.now += 1.0
    made.step()
    assert fetch.came == 3


def test_an_archive_that_refuses_says_why() -> None:
    made = fetching({"A": PeerRefused("A: does not know WETREAD"), "B": None}, Clock())
    fetch = made.want("1.2.3")
    made.step()
    assert fetch.failure == "A: does not know WETREAD"
    nothing = fetching({"A": 3, "B": None}, Clock(), came=0)
    nothing.want("1.2.3")
    nothing.step()
    assert nothing.want("1.2.3").failure == "The archive sent nothing of the study"


def performer(store: Store, clock: Clock, managers: Sequence[Manager] = (), found: Fetching | None = None) -> Performer:
    made = found or fetching({"A": None, "B": None}, clock)
    lists = managers or [OwnList(store)]
    return Performer(store, SETTINGS, made, lambda study: None, Watch(), lists, clock)


def test_of_two_nodes_one_performs(shared: Callable[..., Store]) -> None:
    clock = Clock()
    stores = [shared(), shared()]
    nodes = [performer(one, clock) for one in stores]
    stores[0].worklist.create("1.9", step(InputInformationSequence=INPUT))
    assert nodes[0].step() is not None
    assert nodes[1].step() == ELSEWHERE_S
    assert stores[1].worklist.depths()["IN PROGRESS"] == 1
    stores[0].leases.release()  # it is gone: the other goes on, under the same Transaction UID
    nodes[1].step()
    stores[1].worklist.request_cancel("1.9", {}, "X")
    nodes[1].step()
    assert stores[0].worklist.depths()["CANCELED"] == 1
    assert stores[0].tasks.all() == []


def test_what_came_to_nothing_is_canceled_in_time(tmp_path: Path) -> None:
    clock, store = Clock(), Store(tmp_path)
    found = fetching({"A": 3, "B": None}, clock)
    node = performer(store, clock, found=found)
    store.worklist.create("1.9", step(InputInformationSequence=INPUT))
    node.step()
    found.step()
    node.step()
    clock.now += SETTINGS.expect_s - 1
    node.step()
    assert store.worklist.depths()["IN PROGRESS"] == 1
    clock.now += 2
    assert node.step() is not None
    data = store.worklist.item("1.9")
    assert data is not None
    progress = item(data, "ProcedureStepProgressInformationSequence")
    assert text(progress, "ReasonForCancellation") == "The archive sent the study, and nothing came"
    assert values(progress, "ProcedureStepCancellationDateTime")
    assert node.step() is None
    store.close()


@pytest.mark.parametrize("who", ["asked", "somebody else"])
def test_what_was_canceled_is_not_fetched(tmp_path: Path, who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is away meanwhile."""
    clock, store, answers = (
        Clock(),
        Store(tmp_path),
        dict[str, int | Exception | None](A=None, B=PeerUnreachable("away")),
    )
    found = fetching(answers, clock)
    node = performer(store, clock, found=found)
    store.worklist.create("1.9", step(InputInformationSequence=INPUT))
    node.step()
    assert found.step() == 0.0
    if who == "asked":
        store.worklist.request_cancel("1.9", {}, "X")
    else:
        monkeypatch.setattr(OwnList, "update", lambda *given: False)
    node.step()
    assert store.tasks.all() == []
    answers["B"] = 3
    clock.now += 60.0
    assert found.step() is None
    store.close()


def test_what_is_withheld_is_not_named(tmp_path: Path) -> None:
    bench, clock = Bench(tmp_path), Clock()
    bench.order("A1", "P1^^^SITE^MR")
    bench.send("1.2.3", "A1", "P2", "SITE")
    assert bench.read("1.2.3") is State.FAILED
    node = performer(bench.store, clock)
    bench.store.worklist.create("1.9", step(InputInformationSequence=INPUT))
    node.step()
    waiting = bench.store.worklist.item("1.9")
    assert waiting is not None
    assert "Withheld" in str(waiting)
    assert text(waiting, "ProcedureStepState") == "IN PROGRESS"
    desk = bench.desk()
    desk.discard(desk.withheld()[0]["job"])
    desk.close()
    node.step()
    ended = bench.store.worklist.item("1.9")
    assert ended is not None
    assert text(ended, "ProcedureStepState") == "CANCELED"
    assert bench.store.tasks.outputs("1.2.3") == []
    assert not set(fake.document_uids("1.2.3.1.1")) & set(str(ended).split("'"))
    bench.store.close()


class Lost:
    """A list on which somebody else is always faster, or takes what was ours."""

    name = "elsewhere"
    most = 4

    def __init__(self, grants: bool) -> None:
        self.grants = grants
        self.asked = 0

    def ready(self) -> bool:
        return True

    def scheduled(self, ours: Callable[[DataSet], bool]) -> Sequence[DataSet]:
        return [step(SOPInstanceUID="1.9", InputInformationSequence=INPUT)]

    def claim(self, uid: str, transaction_uid: str, again: bool) -> DataSet | None:
        assert not again
        self.asked += 1
        return self.scheduled(lambda _: True)[0] if self.grants else None

    def update(self, task: object, changes: DataSet) -> bool:
        return False

    def end(self, task: object, state: StepState) -> bool:
        raise AssertionError("it was not ours")

    def base(self, uid: str) -> str:
        return ""


def test_what_is_for_others_hides_nothing_that_is_for_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performer_module, "_SCHEDULED", replace(performer_module._SCHEDULED, limit=2))
    store = Store(tmp_path)
    station = code("OTHER", "99X", "Another station")
    for number in range(4):
        store.worklist.create(
            f"1.8.{number}", step(InputInformationSequence=INPUT, ScheduledStationNameCodeSequence=station)
        )
    store.worklist.create("1.9", step(InputInformationSequence=INPUT))
    performer(store, Clock()).step()
    assert [task.uid for task in store.tasks.all()] == ["1.9"]
    store.close()


def test_who_loses_stays_quiet(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for grants in (False, True):
        manager = Lost(grants)
        performer(store, Clock(), [manager]).step()
        assert manager.asked == 1
        assert store.tasks.all() == []
    store.close()


def test_a_task_goes_on_where_its_manager_moved_to(tmp_path: Path) -> None:
    old, new = (Destination("UPS", url=f"{scheme}://ups.invalid/rs") for scheme in ("http", "https"))
    gone, other = "GONE@https://gone.invalid/rs", Destination("OTHER", url="https://other.invalid/rs")
    with closing(Store(tmp_path)) as store:
        for manager, uid in (
            (old.names[0], "1.1"),
            (new.names[0], "1.2"),
            (old.names[0], "1.2"),
            (gone, "1.3"),
            ("", "1.4"),
        ):
            assert store.tasks.begin(manager, uid, {})
        store.tasks.follow((new, other))
        assert {(one.manager, one.uid) for one in store.tasks.all()} == {
            (new.names[0], "1.1"),
            (new.names[0], "1.2"),
            (old.names[0], "1.2"),
            (gone, "1.3"),
            ("", "1.4"),
        }


def test_an_index_that_knew_no_tasks_is_brought_up(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        for statement in back_to(7):
            connection.execute(statement)
    connection.close()
    store = Store(tmp_path)
    assert store.tasks.begin("", "1.9", step())
    assert not store.tasks.begin("", "1.9", step())
    assert store.tasks.outputs("1.2.3") == []
    store.close()
