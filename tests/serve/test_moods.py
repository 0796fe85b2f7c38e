"""A PACS in every bad mood, on a real socket: nothing is lost, nobody is needed, and its good mood gets everything."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import peers
from tests.jobs import fake
from tests.jobs.test_flow import Seen, receive
from wetread.jobs.addressing import destination_name
from wetread.jobs.delivery import Outbox
from wetread.jobs.runner import Runner
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings
from wetread.wire.dimse import Listener, Received
from wetread.wire.transport import AbortReason, abort

TIMEOUT_S = 0.6
P_DATA = b"\x04"


class Proxy:
    """Stands before a PACS and spoils what passes, as its mood is."""

    def __init__(self, port: int) -> None:
        self.mood = "good"
        self._to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._door.close()
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            self._open.append(client)
            if self.mood == "blackhole":
                continue
            server = socket.create_connection(("127.0.0.1", self._to))
            self._open.append(server)
            for way in ((client, server, self._out), (server, client, self._back)):
                threading.Thread(target=self._pass, args=way, daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, through: Callable[..., bytes | None]) -> None:
        try:
            while data := source.recv(65536):
                passed = through(data, source, to)
                if passed is None:
                    break
                to.sendall(passed)
        except OSError:
            pass
        finally:
            for sock in (source, to):
                sock.close()

    def _out(self, data: bytes, client: socket.socket, server: socket.socket) -> bytes | None:
        if data[:1] == P_DATA and self.mood == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return None
        if data[:1] == P_DATA and self.mood == "abort":
            client.sendall(abort(AbortReason.NOT_SPECIFIED))
            return None
        return data

    def _back(self, data: bytes, server: socket.socket, client: socket.socket) -> bytes:
        if self.mood == "no common context" and data[:1] == b"\x02":
            return re.sub(rb"(\x21\x00...\x00)\x00", lambda found: found[1] + b"\x04", data, flags=re.DOTALL)
        if data[:1] == P_DATA and self.mood == "late":
            time.sleep(3 * TIMEOUT_S)
        if self.mood == "1 B/s":
            for byte in data:
                client.sendall(bytes((byte,)))
                time.sleep(1.0)
            return b""
        return data


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path / "pacs")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "state")
    yield made
    made.close()


def queued(store: Store, port: int) -> tuple[Outbox, Seen]:
    """Two studies wait for a PACS at a port."""
    to = Destination("PACS", "127.0.0.1", port, ("SR", "SEG"))
    settings = Settings(destinations=(to,), retry_first_s=0.02, retry_most_s=0.05, peer_timeout_s=TIMEOUT_S)
    receive(store, "1.1", "1.1.1")
    receive(store, "1.2", "1.2.1")
    worker, seen = Worker(store, fake.READER, settings, Watch()), Seen()
    assert worker.step()
    assert worker.step()
    send = Runner(store, settings)._send  # what a node delivers with
    return Outbox(destination_name(to), to, store, send, settings, seen), seen


def deliver(outbox: Outbox, patience_s: float = 10.0) -> None:
    """Try until nothing waits."""
    end = time.monotonic() + patience_s
    while (wait := outbox.step()) is not None:
        assert time.monotonic() < end, "not delivered"
        time.sleep(wait)


@pytest.mark.parametrize(
    ("mood", "outcome"),
    [
        ("blackhole", "unreachable"),
        ("reset", "unreachable"),
        ("abort", "unreachable"),
        ("late", "unreachable"),
        ("1 B/s", "unreachable"),
        ("no common context", "rejected"),
    ],
)
def test_a_bad_mood_passes(mood: str, outcome: str, store: Store, pacs: Receiver) -> None:
    proxy = Proxy(pacs.port)
    outbox, seen = queued(store, proxy.port)
    proxy.mood = mood
    begin = time.monotonic()
    for _ in range(2):
        wait = outbox.step()
        assert wait is not None
        time.sleep(wait)
    assert time.monotonic() - begin < 20 * TIMEOUT_S  # one that does not answer costs a timeout, not the node
    assert set(seen.outcomes) == {outcome}
    assert seen.terminal == []
    proxy.mood = "good"
    deliver(outbox)
    proxy.close()
    assert seen.terminal == [State.DELIVERED] * 2
    expected = {uid for instance in ("1.1.1", "1.2.1") for uid in fake.document_uids(instance)}
    assert {receipt.sop_instance_uid for receipt in pacs.receipts} == expected
    if mood != "late":  # else the PACS had them, and said so too late: sent again under the same UIDs
        assert len(pacs.receipts) == len(expected)


def test_a_port_that_is_closed(store: Store, tmp_path: Path) -> None:
    port = peers.free_port()
    outbox, seen = queued(store, port)
    outbox.step()
    assert seen.outcomes == ["unreachable"]
    pacs = Receiver(tmp_path / "pacs", port=port)
    pacs.start()
    deliver(outbox)
    pacs.stop()
    assert seen.terminal == [State.DELIVERED] * 2


@pytest.mark.parametrize(("status", "outcome"), [(0xA700, "full"), (0xC000, "rejected"), (0xB000, "stored")])
def test_what_it_answers(status: int, outcome: str, store: Store) -> None:
    answer = [status]
    got: list[str] = []

    def take(received: Received) -> int:
        if answer[0] in (0, 0xB000):
            got.append(received.sop_instance_uid)
        return answer[0]

    listener = Listener(Settings(ae_title="PACS", port=0), take)
    listener.start()
    outbox, seen = queued(store, listener.port)
    outbox.step()
    assert set(seen.outcomes) == {outcome}
    answer[0] = 0
    deliver(outbox)
    listener.stop(1.0)
    assert seen.terminal == [State.DELIVERED] * 2
    assert len(got) == len(set(got)) == 4
