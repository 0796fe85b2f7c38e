"""Work items in the index: durable, claimed by one of many, told to whom it concerns; on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.jobs import older
from tests.serve.worklist import performed, step
from wetread.errors import StoreError
from wetread.jobs.store import Store
from wetread.jobs.worklist import Worklist
from wetread.uids import new_uid
from wetread.wire.dicomjson import text
from wetread.wire.match import Wanted
from wetread.wire.ups import StepState, StepStatus

DAY_S = 86400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    made = Store(tmp_path, now=clock)
    yield made
    made.close()


def told(store: Store, ae_title: str, since: int = 0) -> list[tuple[str, str]]:
    found = [json.loads(report) for _, report in store.subscriptions.since(ae_title, since)]
    return [(text(one, "AffectedSOPInstanceUID"), text(one, "ProcedureStepState")) for one in found]


def claim_all(worklists: list[Worklist], uids: list[str], claimers: int) -> dict[str, list[str]]:
    """Let so many claim every step; return who got each: Transaction UIDs."""
    won: dict[str, list[str]] = {uid: [] for uid in uids}

    def claimer(number: int) -> None:
        for uid in uids:
            transaction = new_uid()
            answer = worklists[number % len(worklists)].change(uid, StepState.IN_PROGRESS, transaction)
            if answer.status is StepStatus.SUCCESS:
                won[uid].append(transaction)
            else:
                assert answer.status is StepStatus.WRONG_TRANSACTION

    with ThreadPoolExecutor(claimers) as pool:
        list(pool.map(claimer, range(claimers)))
    return won


@pytest.mark.parametrize("items", [10, pytest.param(1000, marks=pytest.mark.slow)])
def test_of_claimers_on_two_nodes_one_wins(items: int, shared: Callable[..., Store]) -> None:
    nodes = [shared(), shared()]
    uids = [f"1.2.{number}" for number in range(items)]
    for uid in uids:
        nodes[0].worklist.create(uid, step())
    won = claim_all([node.worklist for node in nodes], uids, 16 if items < 100 else 100)
    for uid, (winner,) in won.items():
        assert nodes[1].worklist.update(uid, performed(), winner).status is StepStatus.SUCCESS
    assert nodes[1].worklist.depths()["IN PROGRESS"] == items


def test_a_node_tells_what_another_wrote(shared: Callable[..., Store]) -> None:
    one, other = shared(), shared()
    one.worklist.subscribe("WATCH", "", locked=False)
    other.worklist.create("1.2", step())
    other.worklist.change("1.2", StepState.IN_PROGRESS, "1.9")
    assert told(one, "WATCH") == [("1.2", "SCHEDULED"), ("1.2", "IN PROGRESS")]
    assert [text(item, "SOPInstanceUID") for item in one.worklist.search(Wanted(), 10)] == ["1.2"]


def test_what_was_acknowledged_outlives_the_process(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.worklist.create("1.2", step())
    store.worklist.change("1.2", StepState.IN_PROGRESS, "1.9")
    store.worklist.subscribe("WATCH", "1.2", locked=True)
    store._index.engine.dispose()  # nothing is tidied up, as when the process is killed
    store._lock.release()
    store = Store(tmp_path)
    assert store.worklist.update("1.2", performed(), "1.9").status is StepStatus.SUCCESS
    assert store.worklist.change("1.2", StepState.COMPLETED, "1.9").status is StepStatus.SUCCESS
    assert told(store, "WATCH")[-1] == ("1.2", "COMPLETED")
    store.close()


def test_what_is_not_written_is_not_acknowledged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.worklist.create("1.2", step())
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        connection.execute("CREATE TRIGGER full BEFORE UPDATE ON workitems BEGIN SELECT RAISE(ABORT, 'disk'); END")
    connection.close()
    with pytest.raises(StoreError):
        store.worklist.change("1.2", StepState.IN_PROGRESS, "1.9")
    assert store.worklist.depths()["SCHEDULED"] == 1
    store.close()


def test_ended_items_are_forgotten_unless_somebody_holds_them(store: Store, clock: Clock) -> None:
    for uid in ("1.1", "1.2", "1.3"):
        store.worklist.create(uid, step())
    store.worklist.subscribe("KEEP", "1.2", locked=True)
    store.worklist.subscribe("LOOK", "1.1", locked=False)
    for uid in ("1.1", "1.2"):
        store.worklist.change(uid, StepState.IN_PROGRESS, "1.9")
        store.worklist.change(uid, StepState.CANCELED, "1.9")
    clock.now += DAY_S - 1
    assert store.worklist.forget(DAY_S) == 0
    clock.now += 2
    assert store.worklist.forget(DAY_S) == 1
    assert [store.worklist.item(uid) is None for uid in ("1.1", "1.2", "1.3")] == [True, False, False]
    assert not store.subscriptions.any_of("LOOK")
    store.worklist.subscribe("KEEP", "1.2", locked=False)  # the lock is taken back
    assert store.worklist.forget(DAY_S) == 1
    assert store.worklist.forget(0.0) == 0  # what waits stays


def test_numbers_of_events_are_never_given_twice(store: Store, clock: Clock) -> None:
    store.worklist.subscribe("WATCH", "", locked=False)
    store.worklist.create("1.1", step())
    last = store.subscriptions.last()
    assert last > 0
    clock.now += 3600.0  # the log is short
    store.worklist.create("1.2", step())
    assert told(store, "WATCH") == told(store, "WATCH", last) == [("1.2", "SCHEDULED")]
    assert store.subscriptions.last() > last


def test_an_index_that_knew_no_work_items_is_brought_up(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        for statement in older.back_to(6):
            connection.execute(statement)
    connection.close()
    store = Store(tmp_path)
    assert store.worklist.create("1.2", step()).status is StepStatus.SUCCESS
    store.close()
