"""Several processes on one PostgreSQL: exactly one wins, and what a dead one held comes back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.jobs import fake
from tests.jobs.older import back_to
from tests.jobs.postgres import postgres
from tests.jobs.test_expecting import World
from tests.jobs.test_flow import PACS, SETTINGS, Clock, Pacs, receive
from tests.jobs.test_store import arrive
from tests.wire.objects import CR
from wetread.errors import PeerUnreachable, StoreError
from wetread.jobs.committing import Committing
from wetread.jobs.completion import OPEN_FACTOR
from wetread.jobs.delivery import ELSEWHERE_S, Outbox
from wetread.jobs.instances import Effect
from wetread.jobs.reporting import Reporting, Tell
from wetread.jobs.runner import Runner
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.tables import SCHEMA, instances, leases
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.settings import Destination, Peer
from wetread.wire.commitment import Report, Request

Open = Callable[..., Store]
NAME = "PACS@pacs.invalid:104"

#: Takes a job and says so; then it waits to be killed.
HOLDER = """
import json, pathlib, sys, time
from wetread.jobs.store import Store
store = Store(pathlib.Path(sys.argv[1]), url=sys.argv[2], lease_s=1.0)
print(json.dumps(store.studies.take().id), flush=True)
time.sleep(60)
"""


def test_of_many_claimers_one_gets_each_study(shared: Open) -> None:
    stores = [shared() for _ in range(8)]
    for number in range(24):
        receive(stores[0], f"1.{number}", f"1.{number}.1")

    def claim(store: Store) -> list[int]:
        got = []
        while (job := store.studies.take()) is not None:
            got.append(job.id)
        return got

    with ThreadPoolExecutor(len(stores)) as pool:
        shares = list(pool.map(claim, stores))
    assert sorted(job for share in shares for job in share) == list(range(1, 25))


def test_what_a_killed_process_held_is_read_by_another(shared: Open, tmp_path: Path, database: str) -> None:
    store = shared(lease_s=1.0)
    receive(store, "1.1", "1.1.1")
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "state"), database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        job = json.loads(holder.stdout.readline())
        assert store.studies.take() is None
        assert store.studies.recover(3) == []  # it may still be at work
        os.kill(holder.pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while not (left := store.studies.recover(3)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [(one.id, state) for one, state in left] == [(job, State.COMPLETE)]
    assert Worker(store, fake.READER, SETTINGS, Watch()).step()
    assert store.overview.versions("1.1")[0].state is State.READ


def test_a_study_that_another_node_still_receives_is_left_to_it(shared: Open) -> None:
    receiver, store, clock = shared(), shared(), Clock()
    receiver.instances.admit([arrive(receiver, "1.1.1", "1.1")])
    other = Runner(store, SETTINGS, clock=clock)
    other._take_over()
    patience_s = OPEN_FACTOR * SETTINGS.quiet_s + 1.0
    for number in (2, 3):  # of which the other node is not told
        clock.now += patience_s
        receiver.instances.admit([arrive(receiver, f"1.1.{number}", "1.1")])
        assert other._completion.due() == []
    for late_s in (-3600.0, 3600.0):  # the receiver died; its clock may have been wrong
        with receiver._index.writing() as connection:
            connection.execute(update(instances).values(received_at=time.time() + late_s))
        clock.now += patience_s
        assert other._completion.due() == ["1.1"]
        other._take_over()
    receiver.studies.complete("1.1")
    clock.now += patience_s
    assert other._completion.due() == ["1.1"]  # the receiver did it; to declare it again changes nothing
    assert receiver.studies.complete("1.1") is None


def test_a_study_is_left_to_others_while_nobody_can_tell_who_receives_it(
    shared: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clock = shared(), Clock()
    store.instances.admit([arrive(store, "1.1.1", "1.1")])
    runner = Runner(store, SETTINGS, clock=clock)
    runner._take_over()

    def fail(study_uid: str) -> float:
        raise StoreError("index: cannot be used now")

    monkeypatch.setattr(store.studies, "silent_s", fail)
    clock.now += OPEN_FACTOR * SETTINGS.quiet_s + 1.0
    assert runner._completion.due() == []
    assert runner._completion.waits("1.1")


def test_a_study_that_two_nodes_receive_is_complete_when_both_have_it(shared: Open) -> None:
    """As when a load balancer spreads the associations of one study."""
    one, other = World(shared(lease_s=1.0)), World(shared(lease_s=1.0))
    one.send("1.1", 1, association=7)
    other.send("1.1", 2, association=7)
    one.release(7)
    assert one.states("1.1") == ["RECEIVED"]
    other.send("1.1", 3, association=7)
    other.release(7)
    assert other.states("1.1") == ["COMPLETE"]
    one.send("1.2", 1, association=8)
    other.send("1.2", 2, association=8)
    one.runner.association_ended(8, False)
    one.tick(SETTINGS.quiet_s + 1.0)  # nor do timers
    assert one.states("1.2") == ["RECEIVED"]
    time.sleep(1.1)  # the other died
    one.send("1.2", 3, association=9)
    one.release(9)
    assert one.states("1.2") == ["COMPLETE"]
    one.send("1.3", 1)
    other.send("1.3", 2)
    with one.store._index.writing() as connection:  # of two that stay open and silent neither waits for the other
        connection.execute(update(instances).values(received_at=time.time() - 3600.0))
    one.release()
    assert one.states("1.3") == ["COMPLETE"]
    other.release()
    with one.store._index.reading() as connection:
        assert list(connection.scalars(select(leases.c.name).where(leases.c.name.startswith("receives/")))) == []
    for world in (one, other):
        world.runner._receipts.stop()


def test_what_could_not_be_given_back_is_with_the_next_association(
    shared: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else this process would renew it, and other nodes would wait for its study, until it ends."""
    one, other = World(shared()), World(shared())

    def fail(*given: object) -> None:
        raise StoreError("index: cannot be used now")

    one.send("1.1", 1, association=7)
    with monkeypatch.context() as patch:
        patch.setattr(one.store.leases, "give_back", fail)
        one.release(7)
    one.send("1.2", 1, association=8)
    one.release(8)
    other.send("1.1", 2, association=9)
    other.release(9)
    assert other.states("1.1") == ["COMPLETE"]
    for world in (one, other):
        world.runner._receipts.stop()


def test_a_lease_that_is_renewed_does_not_run_out(shared: Open) -> None:
    first, second = shared(lease_s=0.5), shared()
    receive(first, "1.1", "1.1.1")
    assert first.studies.take() is not None
    for _ in range(4):
        time.sleep(0.25)
        first.leases.renew()
        assert second.studies.recover(3) == []


def test_what_was_taken_without_an_answer_is_taken_up_again(shared: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks while the answer to COMMIT is on its way."""
    import psycopg

    store = shared()
    receive(store, "1.1", "1.1.1")
    dialect = store._index.engine.dialect
    commit = dialect.do_commit

    def broken(connection: Any) -> None:
        commit(connection)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch:
        patch.setattr(dialect, "do_commit", broken)
        with pytest.raises(StoreError):
            store.studies.take()
    assert store.overview.versions("1.1")[0].state is State.READING
    assert [state for _, state in store.studies.recover(3)] == [State.COMPLETE]
    assert store.studies.take() is not None
    assert store.studies.recover(3) == []  # it is in hand


def test_who_lost_its_lease_stores_nothing(shared: Open) -> None:
    first, second = shared(lease_s=0.1), shared()
    receive(first, "1.1", "1.1.1")
    job = first.studies.take()
    assert job is not None
    time.sleep(0.15)
    assert [state for _, state in second.studies.recover(3)] == [State.COMPLETE]
    assert second.studies.take() is not None
    with pytest.raises(StoreError, match="another process took it"):
        first.studies.finish(job.id, [], "")
    assert not first.studies.reads(job.id)
    assert second.studies.reads(job.id)
    assert second.studies.finish(job.id, [], "") is State.DELIVERED


def test_a_second_node_removes_nothing_that_the_first_is_about_to_index(shared: Open) -> None:
    first = shared()
    arrival = arrive(first)
    second = shared()
    assert (first.found is None, second.found) == (False, None)
    assert first.instances.admit([arrival]) == [Effect.NEW]


def test_the_same_object_by_two_nodes_is_one(shared: Open) -> None:
    stores = [shared() for _ in range(4)]
    arrivals = [arrive(store) for store in stores]
    with ThreadPoolExecutor(4) as pool:
        effects = list(pool.map(lambda pair: pair[0].instances.admit([pair[1]])[0], zip(stores, arrivals, strict=True)))
    assert sorted(effect.value for effect in effects) == ["duplicate"] * 3 + ["new"]


def test_one_node_sends_to_a_destination_and_another_takes_over(shared: Open) -> None:
    stores, pacs, clock = [shared(), shared()], Pacs(), Clock()
    boxes = [Outbox(NAME, PACS, store, pacs, SETTINGS, Watch(), clock) for store in stores]
    for study in ("1.1", "1.2"):
        receive(stores[0], study, f"{study}.1")
        assert Worker(stores[0], fake.READER, SETTINGS, Watch()).step()
        if study == "1.1":
            assert boxes[0].step() == 0.0
    assert boxes[1].step() == ELSEWHERE_S
    stores[0].leases.release()
    assert boxes[1].step() == 0.0
    assert sorted(pacs.stored) == sorted(uid for study in ("1.1", "1.2") for uid in fake.document_uids(f"{study}.1"))


def test_a_node_that_does_not_reach_a_destination_leaves_it_to_another(shared: Open) -> None:
    stores, cut_off, pacs, clock = [shared(), shared()], Pacs(), Pacs(), Clock()
    cut_off.away = True
    boxes = [
        Outbox(NAME, PACS, store, send, SETTINGS, Watch(), clock)
        for store, send in zip(stores, (cut_off, pacs), strict=True)
    ]
    receive(stores[0], "1.1", "1.1.1")
    assert Worker(stores[0], fake.READER, SETTINGS, Watch()).step()
    assert (boxes[0].step() or 0.0) > 0.0
    assert boxes[1].step() == 0.0
    assert sorted(pacs.stored) == sorted(fake.document_uids("1.1.1"))

    asked: list[int] = []

    def away(_destination: Destination, _transaction: str, _instances: Mapping[str, str]) -> None:
        raise PeerUnreachable("PACS: no connection")

    asks = (away, lambda _destination, _transaction, instances: asked.append(len(instances)))
    committing = [Committing(PACS, store, SETTINGS, ask, clock) for store, ask in zip(stores, asks, strict=True)]
    assert (committing[0].step() or 0.0) > 0.0
    assert committing[1].step() == 0.0
    assert asked == [2]

    def silent(*_: object) -> int:
        raise PeerUnreachable("CT1: no connection")

    def told(_peer: Destination, report: Report) -> int:
        asked.append(len(report.kept))
        return 0

    peers = (Peer("CT1", ("127.0.0.1",), ("store", "commit"), port=104),)
    settings = replace(SETTINGS, peers=peers)
    tells: list[Tell] = [silent, told]
    reporting = [Reporting(one, settings, Watch(), tell, clock) for one, tell in zip(stores, tells, strict=True)]
    stores[0].requests.hear(Request("2.25.7", ((CR, "1.1.1"),), "CT1", "127.0.0.1", silent))
    assert [reporting[0].step(), reporting[1].step()] == [0.0, 0.0]
    assert asked == [2, 1]


def test_a_database_that_promises_nothing_is_refused(tmp_path: Path) -> None:
    with postgres("-c fsync=off") as url, pytest.raises(StoreError, match="fsync off"):
        Store(tmp_path / "state", url=url)


def test_an_empty_database_beside_a_full_spool_is_refused(shared: Open, server: str, tmp_path: Path) -> None:
    store = shared()
    store.instances.admit([arrive(store)])
    store.close()
    with pytest.raises(StoreError, match="the database is empty"):
        Store(tmp_path / "state", url=server)


def test_a_folder_that_nodes_of_another_database_use_is_refused(shared: Open, server: str, tmp_path: Path) -> None:
    shared()
    with pytest.raises(StoreError, match="another database"):
        Store(tmp_path / "state", url=server)


@pytest.mark.parametrize("url", ["mysql://wetread:secret@h/d", "no url: secret"])
def test_another_url_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="expected postgresql") as caught:
        Store(tmp_path / "state", url=url)
    assert "secret" not in str(caught.value)


def test_a_server_that_falls_silent_is_given_up_after_half_a_minute(shared: Open) -> None:
    connection = shared()._index.engine.raw_connection()
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        assert [wire.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [10, 5, 3, 30_000]
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    connection.close()


def test_a_server_that_is_away_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used now"):
        Store(tmp_path / "state", url="postgresql://wetread:secret@127.0.0.1:9/d")


def test_an_index_that_older_nodes_use_is_brought_up_once_they_are_gone(shared: Open, database: str) -> None:
    import psycopg

    old = shared()
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in back_to(SCHEMA - 1, shared=True):
            connection.execute(statement.encode())
    with pytest.raises(StoreError, match=f"expected schema {SCHEMA}, got {SCHEMA - 1}.*; stop all of them"):
        shared()
    with psycopg.connect(database, autocommit=True) as connection:
        assert connection.execute("SELECT schema FROM store").fetchone() == (SCHEMA - 1,)
    old.close()
    store = shared()
    receive(store, "1.1", "1.1.1")
    assert store.studies.take() is not None


def test_what_another_node_sent_a_moment_ago_is_not_sent_again(shared: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent between the look at what waits and the lease."""
    stores, pacs, clock = [shared(), shared()], Pacs(), Clock()
    boxes = [Outbox(NAME, PACS, store, pacs, SETTINGS, Watch(), clock) for store in stores]
    receive(stores[0], "1.1", "1.1.1")
    assert Worker(stores[0], fake.READER, SETTINGS, Watch()).step()
    acquire = stores[1].leases.acquire

    def late(name: str) -> bool:
        assert boxes[0].step() == 0.0
        stores[0].leases.release()
        return acquire(name)

    monkeypatch.setattr(stores[1].leases, "acquire", late)
    assert boxes[1].step() == 0.0
    assert sorted(pacs.stored) == sorted(fake.document_uids("1.1.1"))
    assert boxes[1].step() is None
