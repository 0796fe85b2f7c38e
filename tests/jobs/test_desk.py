"""What a person does while the node runs: what was given up goes again, what waits can be ended."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import fake
from tests.jobs.older import back_to
from tests.jobs.test_flow import PACS, SETTINGS, Clock, Pacs, Seen, read_all, receive
from wetread.errors import BadInput, StoreError
from wetread.jobs.aside import Aside
from wetread.jobs.delivery import Outbox
from wetread.jobs.desk import Desk
from wetread.jobs.runner import Runner
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.tables import SCHEMA
from wetread.jobs.worker import Worker

NAME = "PACS@pacs.invalid:104"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def desk(tmp_path: Path, store: Store) -> Iterator[Desk]:
    """Beside the open store, as a command beside a running node."""
    made = Desk(tmp_path / "state")
    yield made
    made.close()


def deliver(store: Store, pacs: Pacs, clock: Clock) -> None:
    outbox = Outbox(NAME, PACS, store, pacs, replace(SETTINGS, max_rejections=2), Seen(), clock)
    while (wait := outbox.step()) is not None:
        clock.now += wait


def given_up(store: Store, desk: Desk, pacs: Pacs, clock: Clock) -> dict[str, Any]:
    """The job of a study of which the PACS does not want one document."""
    receive(store, "1.1", "1.1.1")
    read_all(store)
    bad = fake.document_uids("1.1.1")[0]
    pacs.status = lambda instance: 0xC000 if instance == bad else 0
    deliver(store, pacs, clock)
    (row,) = desk.jobs(State.FAILED)
    return row


def test_a_document_that_was_given_up_goes_again(store: Store, desk: Desk) -> None:
    pacs, clock = Pacs(), Clock()
    row = given_up(store, desk, pacs, clock)
    assert (row["procedure_step"], row["queued"], row["dead"]) == ("CANCELED", 0, 1)
    shown = desk.show(row["job"])
    assert {one["state"] for one in shown["deliveries"]} == {"SENT", "DEAD"}
    assert {one["status"] for one in shown["deliveries"]} == {"0x0000", "0xC000"}
    assert "delivery-failed" in shown["events"]
    pacs.status = lambda instance: 0
    assert desk.retry(row["job"]) is State.READ
    (waits,) = [one for one in desk.show(row["job"])["deliveries"] if one["state"] == "QUEUED"]
    assert waits["status"] == ""  # nobody has answered
    deliver(store, pacs, clock)
    assert [one["state"] for one in desk.jobs()] == ["DELIVERED"]
    assert sorted(pacs.stored) == sorted(fake.document_uids("1.1.1"))


def test_what_was_given_up_goes_again_to_a_destination_that_is_gone(store: Store, desk: Desk) -> None:
    """Also while the node runs: it was sent after the next start only."""
    pacs = Pacs()
    row = given_up(store, desk, pacs, Clock())
    pacs.status = lambda instance: 0
    runner = Runner(store, replace(SETTINGS, destinations=()), deliver=pacs)
    runner.start()
    try:
        desk.retry(row["job"])
        end = time.monotonic() + 10.0
        while desk.jobs()[0]["state"] != "DELIVERED" and time.monotonic() < end:
            runner._wake_outboxes()
            time.sleep(0.01)
    finally:
        runner.stop()
    assert sorted(pacs.stored) == sorted(fake.document_uids("1.1.1"))


def test_what_was_given_up_and_canceled_stays_failed(store: Store, desk: Desk) -> None:
    row = given_up(store, desk, Pacs(), Clock())
    assert desk.cancel(row["job"]) is State.FAILED
    with pytest.raises(BadInput, match="expected documents that were given up, got none"):
        desk.retry(row["job"])
    assert [one["state"] for one in desk.jobs()] == ["FAILED"]
    assert desk.cancel(row["job"]) is State.CANCELED  # nothing of it waits any more


def test_a_reading_that_failed_begins_anew(store: Store, desk: Desk) -> None:
    receive(store, "1.1", "1.1.1", size=fake.CRASHING_BYTES)
    settings, clock = replace(SETTINGS, max_tries=1), Clock()
    Worker(store, fake.READER, settings, Seen(), clock).step()
    (row,) = desk.jobs()
    assert row["state"] == State.FAILED
    assert desk.retry(row["job"]) is State.COMPLETE
    assert not Aside(store, fake.READER, settings, Seen(), clock).step()
    (row,) = desk.jobs()
    assert (row["tries"], row["reason"]) == (0, "")


def test_what_failed_and_a_person_has_seen_to_can_be_ended(store: Store, desk: Desk) -> None:
    receive(store, "1.1", "1.1.1", size=fake.CRASHING_BYTES)
    settings, pacs, clock = replace(SETTINGS, max_tries=1), Pacs(), Clock()
    Worker(store, fake.READER, settings, Seen(), clock).step()
    with pytest.raises(BadInput, match="got FAILED; end it when its refusals are made"):
        desk.cancel(1)  # its refusals are to come
    assert Aside(store, fake.READER, settings, Seen(), clock).step()
    deliver(store, pacs, clock)
    assert store.removals.due(0.0, ()) is None
    assert desk.cancel(1) is State.CANCELED
    assert store.removals.due(0.0, ()) == 1  # nothing keeps it any more


def test_what_waits_can_be_ended(store: Store, desk: Desk) -> None:
    receive(store, "1.1", "1.1.1")
    read_all(store)
    receive(store, "1.2", "1.2.1")
    assert [desk.cancel(row["job"]) for row in desk.jobs()] == [State.CANCELED] * 2
    pacs = Pacs()
    deliver(store, pacs, Clock())
    assert pacs.stored == []
    assert store.studies.take() is None
    assert {one["state"] for one in desk.show(1)["deliveries"]} == {"CANCELED"}


def test_what_makes_no_sense_is_told(store: Store, desk: Desk, tmp_path: Path) -> None:
    receive(store, "1.1", "1.1.1")
    with pytest.raises(BadInput, match="job 7: there is none"):
        desk.show(7)
    with pytest.raises(BadInput, match="expected one that failed, got"):
        desk.retry(1)
    desk.cancel(1)
    with pytest.raises(BadInput, match="expected one that waits, got CANCELED"):
        desk.cancel(1)
    with pytest.raises(BadInput, match="found no index"):
        Desk(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (tuple(back_to(2)), f"expected schema {SCHEMA}, got 2; start the node of this release first"),
        ((f"UPDATE store SET schema = {SCHEMA + 1}",), f"got {SCHEMA + 1}; use the matching release"),
    ],
    ids=["older", "newer"],
)
def test_an_index_of_another_release_is_left_to_its_node(
    tmp_path: Path, store: Store, statements: tuple[str, ...], said: str
) -> None:
    receive(store, "1.1", "1.1.1")
    store.close()
    with sqlite3.connect(tmp_path / "state/index.sqlite") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    with pytest.raises(StoreError, match=said):
        Desk(tmp_path / "state")
