"""The listener: what it keeps, what it answers, and what cannot harm it."""

from __future__ import annotations

import logging
import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace

import pytest

from tests.wire.objects import CR, data_set, film
from wetread.errors import BadInput, PeerRefused, PeerUnreachable, SettingsError, StoreError
from wetread.settings import Destination, Settings
from wetread.wire import associate, command
from wetread.wire.associate import Associate, Context
from wetread.wire.command import Command
from wetread.wire.dimse import Commitment, Listener, Notice, Received, Request, echo, send
from wetread.wire.part10 import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, header
from wetread.wire.transport import Pdu, pdu

SETTINGS = Settings(port=0, peer_timeout_s=2.0, max_associations=3)


class Bench:
    """A listener that remembers what it was given."""

    def __init__(self, settings: Settings = SETTINGS, answer: Callable[[Received], int] = lambda received: 0) -> None:
        self.objects: list[Received] = []
        self.ends: list[tuple[int, bool]] = []
        self.statuses: list[int] = []
        self.notices: list[Notice | Commitment | Request] = []
        self.heard = 0  # what the next notice is answered with
        self.ended = threading.Event()
        self._answer = answer
        self.listener = Listener(settings, self._keep, self._end, self.statuses.append, on_notice=self._hear)
        self.listener.start()
        self.destination = Destination("WETREAD", "127.0.0.1", self.listener.port)

    def _keep(self, received: Received) -> int:
        self.objects.append(received)
        return self._answer(received)

    def _hear(self, notice: Notice | Commitment | Request) -> int:
        self.notices.append(notice)
        return self.heard

    def _end(self, number: int, released: bool) -> None:
        self.ends.append((number, released))
        self.ended.set()

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.listener.port), timeout=5.0)

    def associate(self, called: str = "WETREAD", syntax: str = EXPLICIT_LITTLE) -> socket.socket:
        """A connection with an association for CR images on context 1."""
        sock = self.connect()
        sock.sendall(associate.encode(Pdu.ASSOCIATE_RQ, Associate(called, "TEST", (Context(1, CR, (syntax,)),), 16384)))
        answer = read_pdu(sock)
        assert answer[0] == Pdu.ASSOCIATE_AC, answer
        return sock


def read_pdu(sock: socket.socket) -> tuple[int, bytes]:
    """Read one PDU; (0, b"") when the connection is closed."""
    head = sock.recv(6, socket.MSG_WAITALL)
    if len(head) < 6:
        return 0, b""
    kind, _, length = struct.unpack(">BBL", head)
    return kind, sock.recv(length, socket.MSG_WAITALL)


def store_pdus(data: bytes, sop_class: str = CR, instance: str = "1.2.3.9", context: int = 1) -> bytes:
    """All PDUs of one C-STORE."""
    asked = Command(command.Field.C_STORE_RQ, 1, sop_class, instance, data_set=True)
    return b"".join(command.pdus(Context(context, sop_class, ("",)), asked, memoryview(data), 16384))


def status_of(sock: socket.socket) -> int:
    """The status of the next answer."""
    kind, body = read_pdu(sock)
    assert kind == Pdu.P_DATA_TF, (kind, body)
    return command.decode(body[6:]).status


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.listener.stop(0.5)


@pytest.fixture
def answering() -> Iterator[Callable[..., Bench]]:
    with ExitStack() as stack:

        def make(settings: Settings = SETTINGS, answer: Callable[[Received], int] = lambda received: 0) -> Bench:
            made = Bench(settings, answer)
            stack.callback(made.listener.stop, 0.5)
            return made

        yield make


def test_echo(bench: Bench) -> None:
    assert 0 < echo(bench.destination) < 1.0


@pytest.mark.parametrize(
    ("syntax", "order", "implicit"),
    [
        (IMPLICIT_LITTLE, "<", True),
        (EXPLICIT_LITTLE, "<", False),
        (EXPLICIT_BIG, ">", False),
        ("1.2.840.10008.1.2.4.203", "<", False),
    ],
)
def test_bytes_are_kept_as_they_came(bench: Bench, syntax: str, order: str, implicit: bool) -> None:
    item = header(CR, "1.2.3.9", syntax) + data_set("1.2.3", "1.2.3.9", 300_001, order=order, implicit=implicit)
    assert send(bench.destination, [item]) == [0]
    (kept,) = bench.objects
    assert kept.data == item
    assert (kept.study_uid, kept.transfer_syntax, kept.calling_ae) == ("1.2.3", syntax, "WETREAD")
    assert bench.ended.wait(2)
    assert bench.ends == [(1, True)]
    assert bench.statuses == [0]


def test_more_kinds_than_one_association_can_hold(bench: Bench) -> None:
    classes = [f"1.2.840.10008.5.1.4.1.1.{number}" for number in range(130)]
    items = [film(instance=f"1.2.3.{n}", sop_class=sop_class) for n, sop_class in enumerate(classes)]
    seen: list[tuple[int, int]] = []
    assert send(bench.destination, items, on_status=lambda i, status: seen.append((i, status))) == [0] * 130
    assert seen == [(i, 0) for i in range(130)]
    assert {kept.association for kept in bench.objects} == {1, 2, 3}  # two contexts each


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreError("disk full"), 0xA700),
        (OSError(28, "No space left on device"), 0xA700),
        (MemoryError(), 0xA700),
        (BadInput("odd"), 0xC000),
        (ValueError("Canary^Patient"), 0xA700),
    ],
)
def test_failures_become_statuses(
    answering: Callable[..., Bench], error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_received: Received) -> int:
        raise error

    caplog.set_level(logging.DEBUG)
    bench = answering(answer=fail)
    assert send(bench.destination, [film(), film(instance="1.2.3.2")]) == [status, status]
    assert "Canary" not in "".join(str(record.__dict__) for record in caplog.records)


@pytest.mark.parametrize(
    ("pdus", "status"),
    [
        (store_pdus(data_set("1.2.3", "1.2.3.8")), 0xA900),
        (store_pdus(b"noise, no data set"), 0xC000),
        (store_pdus(data_set("../..", "1.2.3.9")), 0xC000),
        (store_pdus(data_set("1.2.3", "1.2.3.9"), sop_class="1.2.840.10008.5.1.4.1.1.2"), 0x0122),
    ],
    ids=["other instance", "noise", "path as UID", "class of another context"],
)
def test_objects_that_cannot_be_filed_are_refused(bench: Bench, pdus: bytes, status: int) -> None:
    with bench.associate() as sock:
        sock.sendall(pdus)
        assert status_of(sock) == status
        sock.sendall(store_pdus(data_set("1.2.3", "1.2.3.9")))  # and the association goes on
        assert status_of(sock) == 0
    assert [kept.study_uid for kept in bench.objects] == ["1.2.3"]


def test_an_operation_that_we_do_not_know(bench: Bench) -> None:
    with bench.associate() as sock:
        find = Command(0x0020, 3, CR)
        sock.sendall(b"".join(command.pdus(Context(1, CR, ("",)), find, memoryview(b""), 16384)))
        assert status_of(sock) == 0x0211


def test_unknown_called_title_is_refused(bench: Bench) -> None:
    with pytest.raises(PeerRefused, match="called AE title not recognized"):
        echo(replace(bench.destination, ae_title="OTHER"))


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(PeerUnreachable, match="no connection"):
        echo(Destination("WETREAD", "127.0.0.1", port))


def test_a_silent_peer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        with pytest.raises(PeerUnreachable, match="within"):
            echo(Destination("X", "127.0.0.1", silent.getsockname()[1]), timeout_s=0.2)
        assert time.monotonic() - begin < 1.0


def test_a_port_in_use_is_said(bench: Bench) -> None:
    with pytest.raises(SettingsError, match="cannot be bound"):
        Listener(replace(SETTINGS, port=bench.listener.port), lambda received: 0).start()


def request(ids: Iterable[int]) -> bytes:
    """An A-ASSOCIATE-RQ with these context ids, its length as its bytes are."""
    contexts = tuple(Context(number % 256, CR, (EXPLICIT_LITTLE,)) for number in ids)
    return associate.encode(Pdu.ASSOCIATE_RQ, Associate("WETREAD", "TEST", contexts, 16384))


HOSTILE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("160301020001 0001fc0303") + bytes(32),
    "HL7": b"\x0bMSH|^~\\&|A|B\r\x1c\r",
    "4 GiB": struct.pack(">BBL", 1, 0, 0xFFFFFFFF),
    "no association": struct.pack(">BBL", 4, 0, 10) + bytes(10),
    "length 0": struct.pack(">BBL", 1, 0, 0),
    "length 1": struct.pack(">BBL", 1, 0, 1) + b"x",
    "129 contexts": request(range(1, 259, 2)),
    "equal context ids": request((1, 1)),
    "even context id": request((2,)),
    "item past its end": pdu(Pdu.ASSOCIATE_RQ, request((1,))[6:-2]),
    "type 0": bytes(6),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_first_bytes_are_aborted_at_once(bench: Bench, data: bytes) -> None:
    begin = time.monotonic()
    with bench.connect() as sock:
        sock.sendall(data)
        kind, body = read_pdu(sock)
        assert kind == Pdu.ABORT
        assert body[2] == 2  # the service provider
        assert time.monotonic() - begin < 0.5
    assert echo(bench.destination) < 1.0


def test_the_next_object_is_under_way_before_an_answer_is_told(
    answering: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wetread.wire.dimse.WINDOW", 1)  # as most peers have it
    second = threading.Event()
    told: list[tuple[int, int]] = []

    def keep(received: Received) -> int:
        if received.sop_instance_uid == "1.2.3.2":
            second.set()
        return 0

    bench = answering(answer=keep)

    def tell(number: int, status: int) -> None:
        assert number or second.wait(30)
        told.append((number, status))

    assert send(bench.destination, [film(), film(instance="1.2.3.2")], on_status=tell) == [0, 0]
    assert told == [(0, 0), (1, 0)]


def test_data_behind_an_abort_is_not_read(bench: Bench) -> None:
    with bench.associate() as sock:
        sock.sendall(pdu(Pdu.ABORT, bytes(4)) + store_pdus(data_set("1.2.3", "1.2.3.9")))
        assert bench.ended.wait(2)
    assert bench.ends == [(1, False)]
    assert not bench.objects


@pytest.mark.parametrize("seed", range(4))
def test_noise_ends_nothing_but_itself(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    whole = request((1, 3)) + store_pdus(data_set("1.2.3", "1.2.3.9"))
    begin = time.monotonic()
    for _ in range(50):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        # Cut off is right; left hanging would be a TimeoutError.
        with bench.connect() as sock, suppress(ConnectionError):
            sock.sendall(data[: chance.randrange(1, len(data))])
            with suppress(OSError):  # not connected any more
                sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass
    assert time.monotonic() - begin < 15.0
    assert echo(bench.destination) < 1.0


@pytest.mark.parametrize("before", [True, False], ids=["before", "within the association"])
def test_a_pdu_of_4_gib_is_refused_without_reading_it(bench: Bench, before: bool) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    sent = 0
    with bench.connect() if before else bench.associate() as sock:
        try:
            sock.sendall(struct.pack(">BBL", 1 if before else 4, 0, 0xFFFFFFFF))
            while sent < 300 << 20 and time.monotonic() - begin < 5.0:
                sent += sock.send(bytes(1 << 16))
        except OSError:
            pass
    assert time.monotonic() - begin < 3.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 32 << 10  # kB
    assert not bench.objects
    assert echo(bench.destination) < 1.0


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (struct.pack(">BBL", 9, 0, 4), 1),
        (struct.pack(">BBL", 1, 0, 0), 2),
        (pdu(Pdu.P_DATA_TF, struct.pack(">LBB", 100, 1, 3)), 6),
        (pdu(Pdu.P_DATA_TF, struct.pack(">LBB", 2, 7, 3)), 5),
        (pdu(Pdu.P_DATA_TF, struct.pack(">LBB", 3, 1, 0), b"x"), 5),
        (pdu(Pdu.P_DATA_TF, struct.pack(">LBB", 12, 1, 3), bytes(10)), 6),
    ],
    ids=["unknown type", "second request", "PDV past its PDU", "context", "data first", "bad command"],
)
def test_a_broken_protocol_ends_the_association(bench: Bench, data: bytes, reason: int) -> None:
    with bench.associate() as sock:
        sock.sendall(data)
        assert read_pdu(sock) == (Pdu.ABORT, bytes((0, 0, 2, reason)))
    assert bench.ended.wait(2)
    assert bench.ends == [(1, False)]


def test_an_object_above_the_limit_ends_the_association(answering: Callable[..., Bench]) -> None:
    bench = answering(replace(SETTINGS, max_object_bytes=100_000))
    with pytest.raises(PeerUnreachable):
        send(bench.destination, [film(size=200_000)])
    assert not bench.objects


def test_a_lost_connection_is_no_release(bench: Bench) -> None:
    with bench.associate() as sock:
        sock.sendall(store_pdus(data_set("1.2.3", "1.2.3.9"))[:-10])
    assert bench.ended.wait(2)
    assert bench.ends == [(1, False)]
    assert not bench.objects


def test_500_idle_sockets_do_not_delay_anyone(bench: Bench) -> None:
    with ExitStack() as stack:
        for number in range(500):
            sock = stack.enter_context(bench.connect())
            sock.sendall(b"\x01\x00\x00"[: number % 4])  # some begin to speak
        assert echo(bench.destination) < 1.0
        assert bench.listener.associations <= 1
        assert not [thread for thread in threading.enumerate() if "wetread-dimse" in thread.name and thread.is_alive()][
            1:
        ]


def test_a_silent_socket_is_closed(answering: Callable[..., Bench]) -> None:
    bench = answering(replace(SETTINGS, peer_timeout_s=0.2))
    with bench.connect() as sock:
        begin = time.monotonic()
        assert sock.recv(1) == b""
        assert 0.1 < time.monotonic() - begin < 1.5


def test_a_pdu_that_drips_is_given_up(answering: Callable[..., Bench]) -> None:
    bench = answering(replace(SETTINGS, peer_timeout_s=0.3))
    with bench.associate() as sock:
        sock.sendall(struct.pack(">BBL", 4, 0, 1000))
        begin = time.monotonic()
        while not bench.ended.wait(0.05) and time.monotonic() - begin < 3.0:
            try:
                sock.send(b"x")
            except OSError:
                break
        assert time.monotonic() - begin < 1.5
    assert bench.ends == [(1, False)]


def test_an_idle_association_is_closed(answering: Callable[..., Bench]) -> None:
    bench = answering(replace(SETTINGS, idle_timeout_s=0.2))
    with bench.associate() as sock:
        assert read_pdu(sock) == (0, b"")
    assert bench.ends == [(1, False)]


def test_the_limit_of_associations_and_who_gives_way(answering: Callable[..., Bench]) -> None:
    bench = answering(replace(SETTINGS, peer_timeout_s=0.3))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(bench.associate())
        with pytest.raises(PeerRefused, match="local limit"):
            echo(bench.destination)
        time.sleep(0.35)  # now they have been idle for longer than a peer may take
        with pytest.raises(PeerRefused, match="local limit"):
            echo(bench.destination)  # refused, but one of them gives way
        assert bench.ended.wait(2)
        assert echo(bench.destination) < 1.0


def test_a_request_that_cannot_be_served_does_not_end_the_service(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", exhausted)
        with pytest.raises(PeerUnreachable):
            echo(bench.destination)
    assert bench.listener.associations == 0
    assert echo(bench.destination) < 1.0


def test_stopping_lets_an_object_end(answering: Callable[..., Bench]) -> None:
    begun = threading.Event()

    def slow(_received: Received) -> int:
        begun.set()
        time.sleep(0.3)
        return 0

    bench = answering(answer=slow)
    statuses: list[int] = []
    sender = threading.Thread(target=lambda: statuses.extend(send(bench.destination, [film()])))
    sender.start()
    assert begun.wait(2)
    bench.listener.stop(2.0)
    sender.join()
    assert statuses == [0]
    assert bench.ends == [(1, True)]


def test_stopping_does_not_wait_for_an_association_that_brings_nothing(bench: Bench) -> None:
    with bench.associate() as open_for_long:
        open_for_long.sendall(store_pdus(data_set("1.2.3", "1.2.3.9")))
        assert status_of(open_for_long) == 0
        begin = time.monotonic()
        bench.listener.stop(30.0)
        assert time.monotonic() - begin < 15.0
        assert read_pdu(open_for_long)[0] == 0
    assert bench.ends == [(1, False)]
