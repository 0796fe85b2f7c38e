"""The HL7 port: an independent client, slow and hostile peers, TLS, and who may send."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hl7.client import MLLPClient

from tests.certificates import Authority
from wetread.errors import SettingsError
from wetread.settings import Peer, Settings
from wetread.wire import mllp_listen
from wetread.wire.access import Refusal, check_exposure
from wetread.wire.acknowledge import Ack, answers
from wetread.wire.hl7 import parse
from wetread.wire.mllp import Unframe, frame
from wetread.wire.mllp_listen import Listener

ORDER = b"MSH|^~\\&|RIS|HOSP|WETREAD|AI|20261128120000||ORM^O01|%d|P|2.5.1\rPID|1||123\r"
SETTINGS = Settings(peer_timeout_s=2.0, idle_timeout_s=0.3)


class Bench:
    """A listener that keeps messages in a list."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.messages: list[bytes] = []
        self.refusals: list[Refusal] = []
        self.gate = threading.Event()
        self.gate.set()
        self.listener = Listener(settings, self._keep, self.refusals.append)
        self.listener.start()

    def _keep(self, message: bytes, address: str) -> list[bytes]:
        self.gate.wait(10)
        assert address == "127.0.0.1"
        self.messages.append(message)
        return answers(parse(message), Ack.AA)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.listener.port), timeout=5)

    def wait_for(self, refusal: Refusal) -> bool:
        end = time.monotonic() + 5
        while refusal not in self.refusals and time.monotonic() < end:
            time.sleep(0.01)
        return refusal in self.refusals


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.gate.set()
    made.listener.stop()


def read(sock: socket.socket, number: int) -> list[bytes]:
    """Return so many messages, or fewer at the end of the connection."""
    unframe = Unframe()
    found: list[bytes] = []
    while len(found) < number and (data := sock.recv(65536)):
        found += unframe.feed(data)
    return found


def test_another_client_is_answered(bench: Bench) -> None:
    with MLLPClient("127.0.0.1", bench.listener.port) as client:
        for number in range(3):
            answer = client.send_message(ORDER % number)
            assert parse(answer.strip(b"\x0b\x1c\r")).all("MSA")[0].raw(2) == str(number)
    assert len(bench.messages) == 3


def test_messages_in_one_segment_and_in_pieces_are_answered_in_their_order(bench: Bench) -> None:
    stream = b"".join(frame(ORDER % number) for number in range(20))
    with bench.connect() as sock:
        sock.sendall(stream[: len(stream) // 2])
        for byte in range(len(stream) // 2, len(stream) // 2 + 40):
            sock.sendall(stream[byte : byte + 1])
        sock.sendall(stream[len(stream) // 2 + 40 :])
        found = read(sock, 20)
    assert [parse(one).all("MSA")[0].text(2) for one in found] == [str(number) for number in range(20)]


@pytest.mark.parametrize(
    ("stream", "refusal"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Refusal.MALFORMED),
        (b"\x16\x03\x01\x02\x00", Refusal.TLS_AT_PLAIN_PORT),
        (b"\x0b" + b"x" * (1 << 21), Refusal.MALFORMED),
        (b"\x0bMSH|^~\\&|\x0bMSH", Refusal.MALFORMED),
        (b"\x0bMSH|^~\\&|half", Refusal.SILENT),
    ],
)
def test_who_does_not_keep_to_the_protocol_is_cut_off(bench: Bench, stream: bytes, refusal: Refusal) -> None:
    with bench.connect() as sock:
        sock.sendall(frame(ORDER % 1))
        assert len(read(sock, 1)) == 1
        try:
            sock.sendall(stream)
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
        assert bench.wait_for(refusal)
    assert bench.messages == [ORDER % 1]


def test_silent_and_slow_peers_keep_nobody_waiting(bench: Bench) -> None:
    idle = [bench.connect() for _ in range(mllp_listen.MOST_CONNECTIONS + 10)]
    for sock in idle[-5:]:
        sock.sendall(b"\x0bMSH|")
    with bench.connect() as sock:
        sock.sendall(frame(ORDER % 7))
        assert len(read(sock, 1)) == 1
    assert bench.wait_for(Refusal.LOCAL_LIMIT)
    for sock in idle:
        sock.close()


def test_where_all_are_busy_the_newest_is_turned_away(bench: Bench) -> None:
    bench.gate.clear()
    with ExitStack() as busy:
        socks = [busy.enter_context(bench.connect()) for _ in range(mllp_listen.MOST_CONNECTIONS)]
        for number, sock in enumerate(socks):
            sock.sendall(frame(ORDER % number))
        time.sleep(0.2)
        for _ in range(3):
            with bench.connect() as more:
                assert more.recv(1) == b""
        bench.gate.set()
        assert all(len(read(sock, 1)) == 1 for sock in socks)
        assert bench.refusals == [Refusal.LOCAL_LIMIT] * 3  # and whoever was turned away takes no place


def test_a_peer_that_takes_no_answer_keeps_nobody_waiting(bench: Bench) -> None:
    with bench.connect() as deaf, bench.connect() as sock:
        deaf.setblocking(False)
        try:
            for number in range(50_000):
                deaf.sendall(frame(ORDER % number))
        except BlockingIOError:
            pass
        begin = time.monotonic()
        sock.sendall(frame(ORDER % 1))
        assert len(read(sock, 1)) == 1
        assert time.monotonic() - begin < 4


def test_what_is_being_kept_is_answered_at_a_stop(bench: Bench) -> None:
    bench.gate.clear()
    with bench.connect() as sock:
        sock.sendall(frame(ORDER % 1))
        time.sleep(0.1)
        stopping = threading.Thread(target=bench.listener.stop)
        stopping.start()
        time.sleep(0.05)
        bench.gate.set()
        assert len(read(sock, 1)) == 1
        stopping.join()


def test_a_handler_that_fails_ends_its_connection_alone(bench: Bench) -> None:
    with bench.connect() as sock:
        sock.sendall(frame(b"not HL7"))
        assert read(sock, 1) == []
    with bench.connect() as sock:
        sock.sendall(frame(ORDER % 1))
        assert len(read(sock, 1)) == 1


def test_whoever_has_no_right_to_send_orders_is_cut_off() -> None:
    made = Bench(replace(SETTINGS, peers=(Peer("CT1", ("127.0.0.1",)), Peer("RIS", ("10.0.0.1",), ("order",)))))
    with made.connect() as sock:
        assert sock.recv(1) == b""
    assert made.refusals == [Refusal.ADDRESS]
    made.listener.stop()


@pytest.mark.peer
def test_tls_by_the_files_of_the_dicom_port(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    made = Bench(replace(SETTINGS, **authority.issue("node").settings))
    client = authority.issue("ris")
    context = ssl.create_default_context(cafile=str(client.authority))
    context.load_cert_chain(client.certificate, client.key)
    with context.wrap_socket(made.connect(), server_hostname="127.0.0.1") as sock:
        sock.sendall(frame(ORDER % 1))
        assert len(read(sock, 1)) == 1
    with made.connect() as sock:
        sock.sendall(frame(ORDER % 2))
        assert read(sock, 1) == []
    stranger = ssl.create_default_context(cafile=str(client.authority))
    with contextlib.suppress(OSError), stranger.wrap_socket(made.connect(), server_hostname="127.0.0.1") as sock:
        sock.sendall(frame(ORDER % 2))
        assert sock.recv(1) == b""
    assert made.wait_for(Refusal.TLS_HANDSHAKE)
    assert made.messages == [ORDER % 1]
    made.listener.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"peers": (Peer("CT1", ("10.0.0.1",)),)},
        {"host": "0.0.0.0", "peers": (Peer("CT1", ("10.0.0.1",)), Peer("RIS", ("0.0.0.0/0",), ("order",)))},
        {"host": "0.0.0.0", "open_doors": "dicom"},
    ],
)
def test_an_hl7_port_for_nobody_or_everybody_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="hl7_port"):
        check_exposure(replace(Settings(hl7_port=2575), **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"peers": (Peer("RIS", ("10.0.0.1",), ("order",)),), "host": "0.0.0.0"},
        {"open_doors": "dicom+hl7", "host": "0.0.0.0"},
    ],
)
def test_an_hl7_port_for_somebody_is_opened(right: dict[str, object]) -> None:
    check_exposure(replace(Settings(hl7_port=2575), **right))  # type: ignore[arg-type]
