"""A job keeps the trace of the association that brought its first object, whoever works for it and when."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.jobs import fake
from tests.jobs.older import back_to
from tests.jobs.test_aside import give_up
from tests.jobs.test_flow import PACS, SETTINGS, Clock, Pacs
from tests.jobs.test_store import admit, arrive, take
from tests.serve.stage import until
from tests.wire.objects import film
from wetread.errors import StoreError
from wetread.jobs.aside import Aside
from wetread.jobs.delivery import Outbox
from wetread.jobs.retention import Retention
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker, stages_s
from wetread.records import Reading, Timing
from wetread.serve.logs import JsonFormatter
from wetread.trace import Span, new_trace_id, trace_id

Said = Callable[[], list[dict[str, Any]]]
NAME = "PACS@pacs.invalid:104"


class Spans(Watch):
    """Remembers the spans."""

    def __init__(self) -> None:
        self.seen: list[Span] = []

    def span(self, span: Span) -> None:
        self.seen.append(span)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def said() -> Iterator[Said]:
    """The lines of the log as they are written."""
    stream, logger = io.StringIO(), logging.getLogger("wetread")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    logger.setLevel(before)


def bring(store: Store, study: str, instance: str, trace: str = "", size: int = 64) -> str:
    """Take an object in, as from an association with a trace; return the trace."""
    trace = trace or new_trace_id()
    admit(store, replace(arrive(store, instance, study, size), trace_id=trace))
    return trace


def kept(store: Store, study: str) -> list[str]:
    return [job.trace_id for job in store.overview.versions(study)]


def test_the_first_object_decides_and_a_new_version_has_its_own(store: Store) -> None:
    first = bring(store, "1.1", "1.1.1")
    bring(store, "1.1", "1.1.2")
    store.studies.complete("1.1")
    bring(store, "1.1", "1.1.3")  # taken back from COMPLETE
    assert kept(store, "1.1") == [first]
    store.studies.complete("1.1")
    take(store)
    late = bring(store, "1.1", "1.1.4")
    assert kept(store, "1.1") == [first, late]
    assert first != late


def test_it_is_kept_over_a_restart(store: Store, tmp_path: Path) -> None:
    first = bring(store, "1.1", "1.1.1")
    store.close()
    again = Store(tmp_path / "state")
    assert kept(again, "1.1") == [first]
    again.close()


def test_objects_whose_association_nobody_knows_get_a_new_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    lost = bring(store, "1.1", "1.1.1")
    store.close()
    (tmp_path / "state" / "index.sqlite").unlink()
    store = Store(tmp_path / "state")
    (trace,) = kept(store, "1.1")
    assert len(trace) == 32
    assert trace != lost
    store.close()


def test_everything_that_is_said_of_a_job_carries_it(store: Store, said: Said) -> None:
    """Read, crashed, set aside, rejected, delivered, removed: with two jobs that take turns."""
    clock, pacs, watch = Clock(), Pacs(), Spans()
    traces = {1: bring(store, "1.1", "1.1.1"), 2: bring(store, "1.2", "1.2.1", size=fake.CRASHING_BYTES)}
    store.studies.complete("1.1")
    store.studies.complete("1.2")
    answers = iter([0xC000])
    pacs.status = lambda instance: next(answers, 0)
    worker = Worker(store, fake.READER, SETTINGS, watch, clock)
    aside = Aside(store, fake.READER, SETTINGS, watch, clock)
    outbox = Outbox(NAME, PACS, store, pacs, SETTINGS, watch, clock)
    for _ in range(20):
        if not worker.step() and not aside.step() and not outbox.step():
            clock.now += 1000.0
    Retention(store, replace(SETTINGS, keep_days=1e-12), watch, clock).step()
    lines = [line for line in said() if "job" in line]
    assert {line["event"] for line in lines} == {
        "job read",
        "reading crashed",
        "job set aside",
        "document rejected",
        "delivery ended",
        "blobs removed",
    }
    assert {line["event"] for line in lines if line.get("trace_id") != traces[line["job"]]} == set()
    assert {span.trace_id for span in watch.seen if span.trace_id != traces[int(span.about["job"])]} == set()
    assert [span.name for span in watch.seen if span.about["job"] == 2].count("read") == 3
    assert trace_id() == ""


def test_what_could_not_be_recorded_at_once_carries_it_too(store: Store, said: Said) -> None:
    trace = bring(store, "1.1", "1.1.1", size=fake.CRASHING_BYTES)
    store.studies.complete("1.1")
    worker = Worker(store, fake.READER, SETTINGS, Watch())
    fail = store.studies.fail

    def cannot(*given: object) -> None:
        store.studies.fail = fail  # type: ignore[method-assign]
        raise StoreError("index: cannot be used now")

    store.studies.fail = cannot  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreError):
        worker.step()
    worker.step()
    (crashed,) = (line for line in said() if line["event"] == "reading crashed")
    assert crashed["trace_id"] == trace


def test_a_destination_that_is_away_names_the_trace_of_what_it_did_not_take(store: Store, said: Said) -> None:
    trace, pacs, watch = bring(store, "1.1", "1.1.1"), Pacs(), Spans()
    store.studies.complete("1.1")
    Worker(store, fake.READER, SETTINGS, watch).step()
    pacs.away = True
    Outbox(NAME, PACS, store, pacs, SETTINGS, watch).step()
    (line,) = (line for line in said() if line["event"] == "destination failed")
    assert line["trace_id"] == trace
    assert watch.seen[-1].about == {"job": 1, "document": "SR", "destination": NAME, "outcome": "unreachable"}


def test_a_job_that_was_given_up_answers_under_it(store: Store, said: Said) -> None:
    trace, watch = bring(store, "1.1", "1.1.1"), Spans()
    store.studies.complete("1.1")
    give_up(store, "1.1")
    Aside(store, fake.READER, SETTINGS, watch).step()
    assert [(span.name, span.trace_id) for span in watch.seen] == [("set-aside", trace)]
    assert said()[-1]["trace_id"] == trace


def test_what_a_start_takes_up_carries_it(store: Store, said: Said) -> None:
    """One study whose reading was cut off, one that no association completes any more."""
    traces = {1: bring(store, "1.1", "1.1.1")}
    store.studies.complete("1.1")
    take(store)
    store.leases.void()
    traces[2] = bring(store, "1.2", "1.2.1")
    runner = Runner(store, replace(SETTINGS, quiet_s=0.05))
    runner.start()
    until(lambda: len(said()) == 2)
    runner.stop()
    lines = {line["event"]: (line["job"], line.get("trace_id")) for line in said()}
    assert lines == {"reading was cut off": (1, traces[1]), "study complete": (2, traces[2])}


def test_stages_are_added_up_and_the_decoding_counts_once() -> None:
    decoded = Timing("acquire", 100.0)
    films = [(decoded, Timing("infer", 20.0), Timing("report", 5.0)), (decoded, Timing("infer", 30.0))]
    result = fake.read([("film", film("1.1", "1.1.1"))])[0].result
    readings = [Reading(result, (), timings) for timings in films]
    assert stages_s(readings) == pytest.approx({"acquire": 0.1, "infer": 0.05, "report": 0.005})
    assert list(stages_s(readings)) == ["acquire", "infer", "report"]


def test_a_store_of_schema_3_is_brought_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bring(store, "1.1", "1.1.1")
    store.close()
    with sqlite3.connect(tmp_path / "index.sqlite") as connection:
        for statement in back_to(3):
            connection.execute(statement)
    connection.close()
    check_brought_up(lambda: Store(tmp_path))


def test_a_shared_store_of_schema_3_is_brought_up(shared: Callable[..., Store], database: str) -> None:
    import psycopg

    bring(store := shared(), "1.1", "1.1.1")
    store.close()
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in back_to(3, shared=True):
            connection.execute(statement.encode())
    check_brought_up(shared)


def check_brought_up(open_one: Callable[[], Store]) -> None:
    """What was there has no trace and is read as before; what comes has one."""
    for _ in range(2):
        store = open_one()
        assert kept(store, "1.1")[0] == ""
        store.close()
    store, watch = open_one(), Spans()
    store.studies.complete("1.1")
    assert Worker(store, fake.READER, SETTINGS, watch).step()
    assert watch.seen == []
    brought = bring(store, "1.2", "1.2.1")
    assert kept(store, "1.2") == [brought]
    store.close()
