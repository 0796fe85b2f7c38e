"""A disk that fills, fails and rots: what was acknowledged is there, the sender is told, and work goes on."""

from __future__ import annotations

import logging
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.jobs import fake
from tests.jobs.test_flow import SETTINGS, Clock, Seen, receive, state
from tests.jobs.test_store import admit, arrive
from tests.serve.stage import Process, acknowledged, check_kept, check_spool, process, rows, until
from tests.wire.objects import film
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.worker import Worker
from wetread.serve.receiver import Receiver
from wetread.wire.dimse import send

#: Blobs are written by write, synced by fsync and named by rename; SQLite uses pwrite64 and fdatasync.
FAULTS = {
    "a full disk for blobs": "write:error=ENOSPC",
    "a full disk for the index and its log": "pwrite64:error=ENOSPC",
    "EIO for blobs": "write:error=EIO",
    "EIO for the index and its log": "pwrite64:error=EIO",
    "EIO when blobs and folders are synced": "fsync:error=EIO",
    "EIO when the log is synced": "fdatasync:error=EIO",
    "a disk that became read-only": "rename:error=EROFS",
}
BEFORE, DURING = ([film(f"{a}.{n}", f"{a}.{n}.1", 3000 + 2 * n) for n in range(4)] for a in ("1.1", "1.2"))


@contextmanager
def failing(node: Process, fault: str) -> Iterator[None]:
    """Let a system call of a running node fail each time."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    command = [strace, "-f", "-p", str(node.process.pid), "-e", f"trace={fault.partition(':')[0]}"]
    tracer = subprocess.Popen([*command, "-e", f"inject={fault}", "-o", "/dev/null"], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        if "attached" not in tracer.stderr.readline():
            pytest.skip("this machine forbids tracing")
        yield
    finally:
        tracer.terminate()
        tracer.communicate(timeout=10)


def check_all_done(state_folder: Path, node: Process, pacs: Receiver, kept: list[bytes]) -> None:
    """Everything is delivered, once each, and the node is as if nothing had been."""
    until(lambda: rows(state_folder, "SELECT count(*) FROM jobs WHERE state != 'DELIVERED'") == [(0,)], 30.0)
    assert node.stop() == 0
    check_spool(state_folder, kept)
    assert len({receipt.sop_instance_uid for receipt in pacs.receipts}) == 2 * len(kept)


def test_a_node_outlives_its_disk(tmp_path: Path, pacs: Receiver) -> None:
    """Fault after fault: the sender is told to keep its objects, and may send them when the fault is over."""
    where, kept = tmp_path / "state", list(BEFORE)
    with process(where, pacs.port, quiet_s=0.5) as node:
        assert acknowledged(node.destination, BEFORE) == BEFORE
        for number, (name, fault) in enumerate(FAULTS.items()):
            until(lambda: rows(where, "SELECT count(*) FROM jobs WHERE state != 'DELIVERED'") == [(0,)])
            during = [film(f"1.2.{number}", f"1.2.{number}.{n}", 3000 + 2 * n) for n in range(2)]
            with failing(node, fault):
                assert send(node.destination, during) == [0xA700] * 2, name
                assert node.get("/health")[0] == 200
                check_kept(where, kept)
            assert acknowledged(node.destination, during) == during, name
            kept += during
        check_all_done(where, node, pacs, kept)


def test_documents_wait_while_the_disk_is_full(tmp_path: Path, pacs: Receiver) -> None:
    """The reading is not to blame: it does not count as a try, and is done again."""
    where = tmp_path / "state"
    with process(where, pacs.port, quiet_s=60.0, max_tries=1) as node:
        with ExitStack() as full:

            def answered(index: int, _: int) -> None:
                if index == 1:  # both objects got through; before the association ends, nothing is read
                    full.enter_context(failing(node, "write:error=ENOSPC"))

            assert send(node.destination, BEFORE[:2], on_status=answered) == [0, 0]
            until(lambda: "wetread_reading_seconds_count 0.0" not in node.get("/metrics")[1])
            time.sleep(0.5)
            assert rows(where, "SELECT count(*) FROM documents") == [(0,)]
        check_all_done(where, node, pacs, BEFORE[:2])


def test_a_file_that_may_not_grow(tmp_path: Path, pacs: Receiver) -> None:
    """A real limit of the kernel (RLIMIT_FSIZE), without any right: large blobs first, then the index."""
    where = tmp_path / "state"
    large = film("1.3", "1.3.1", 400_000)
    with process(where, pacs.port) as node:
        before = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
        assert acknowledged(node.destination, BEFORE) == BEFORE
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (300_000, before[1]))
        assert send(node.destination, [large]) == [0xA700]
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (4000, before[1]))
        assert set(send(node.destination, DURING)) == {0xA700}
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, before)
        assert acknowledged(node.destination, [large, *DURING]) == [large, *DURING]
        check_all_done(where, node, pacs, [*BEFORE, large, *DURING])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 0.999])
def test_a_log_that_lost_its_end(share: float, tmp_path: Path) -> None:
    """What it told is told by the blobs."""
    store = Store(tmp_path / "one")
    admit(store, *(arrive(store, f"1.{n}.1", f"1.{n}") for n in range(20)))
    for n in range(20, 30):
        admit(store, arrive(store, f"1.{n}.1", f"1.{n}"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    store.close()
    log = tmp_path / "two" / "index.sqlite-wal"
    log.write_bytes(log.read_bytes()[: int(share * log.stat().st_size)])
    store = Store(tmp_path / "two")
    assert len(store.studies.incomplete()) == 30
    assert store.found is not None
    assert store.found.adopted > 0
    store.close()


def test_a_flipped_bit_in_an_object_ends_its_study_with_an_alarm_and_no_other(tmp_path: Path) -> None:
    store, clock, seen = Store(tmp_path), Clock(), Seen()
    receive(store, "1.1", "1.1.1")
    receive(store, "1.2", "1.2.1")
    (digest,) = store.studies.digests(store.overview.versions("1.1")[0].id)
    data = bytearray(store.spool.get(digest))
    data[-1] ^= 1
    store.spool.path(digest).write_bytes(data)
    worker = Worker(store, fake.READER, SETTINGS, seen, clock)
    for _ in range(8):
        worker.step()
        clock.now += 400.0
    assert state(store, "1.1") is State.FAILED
    assert state(store, "1.2") is State.READ
    assert seen.terminal == [State.FAILED]
    store.close()


def test_clocks_that_jump_delay_and_lose_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Retries and leases go by clocks that do not jump; ages are never negative."""
    caplog.set_level(logging.ERROR)
    now = 1.7e9
    store = Store(tmp_path, now=lambda: now)
    worker = Worker(store, fake.READER, SETTINGS, Seen(), Clock())
    for number, jump in enumerate((-1e9, 2e9, -5e8)):
        receive(store, f"1.{number}", f"1.{number}.1")
        now += jump
        assert worker.step()
        assert state(store, f"1.{number}") is State.READ
        assert store.overview.oldest_s() >= 0.0
        assert all(age >= 0.0 for _, age in store.overview.depths().values())
        assert store.studies.recover(3) == []
    receive(store, "1.9", "1.9.1")
    assert store.studies.take() is not None
    now += 1e9
    assert store.studies.recover(3) == []  # its reader is alive: no lease runs out by a jump
    assert not caplog.records
    store.close()
