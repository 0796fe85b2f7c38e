"""PDUs on a socket, in whatever pieces they arrive."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from wetread.errors import PeerUnreachable
from wetread.wire.transport import BUFFER_BYTES, QUICKACK, BadPdu, Pdu, Transport, pdu

LIMIT = 4 * BUFFER_BYTES


@pytest.fixture
def ends() -> Iterator[tuple[Transport, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname(), timeout=5)
        near, _ = server.accept()
    transport = Transport(near, LIMIT)
    yield transport, far
    transport.close()
    far.close()


def body(number: int, size: int) -> bytes:
    return bytes((number + index) % 251 for index in range(size))


SIZES = (0, 1, 700, BUFFER_BYTES - 6, BUFFER_BYTES, 3, LIMIT, 9, BUFFER_BYTES - 5, 12)


@pytest.mark.parametrize("piece", [5, 7, 4096, 1 << 30])
def test_pdus_come_out_as_they_went_in(ends: tuple[Transport, socket.socket], piece: int) -> None:
    near, far = ends
    sizes = SIZES if piece > 100 else (0, 1, 700, 3)
    stream = b"".join(pdu(Pdu.P_DATA_TF, body(number, size)) for number, size in enumerate(sizes))

    def send() -> None:
        for at in range(0, len(stream), piece):
            far.sendall(stream[at : at + piece])

    sender = threading.Thread(target=send)
    sender.start()
    for number, size in enumerate(sizes):
        kind, got = near.read(5.0, 5.0)
        assert (kind, bytes(got)) == (Pdu.P_DATA_TF, body(number, size))
    sender.join()


def test_a_length_above_the_limit_is_refused_before_it_is_read(ends: tuple[Transport, socket.socket]) -> None:
    near, far = ends
    far.sendall(pdu(Pdu.P_DATA_TF, b"before") + b"\4\0\xff\xff\xff\xff")
    assert bytes(near.read(5.0, 5.0)[1]) == b"before"
    with pytest.raises(BadPdu, match="at most"):
        near.read(5.0, 5.0)


@pytest.mark.parametrize(("sent", "wait_s", "body_s"), [(b"", 0.05, 5.0), (b"\4\0\0\0\0\x09abc", 5.0, 0.05)])
def test_a_peer_that_falls_silent(
    ends: tuple[Transport, socket.socket], sent: bytes, wait_s: float, body_s: float
) -> None:
    near, far = ends
    far.sendall(sent)
    with pytest.raises(PeerUnreachable, match="nothing complete"):
        near.read(wait_s, body_s)


def test_a_peer_that_does_not_read(ends: tuple[Transport, socket.socket]) -> None:
    with pytest.raises(PeerUnreachable, match="did not take our data"):
        ends[0].write(bytes(1 << 26), 0.1)


def test_a_peer_that_is_gone(ends: tuple[Transport, socket.socket]) -> None:
    near, far = ends
    far.sendall(b"\4\0\0\0\0\x09abc")
    far.close()
    with pytest.raises(PeerUnreachable, match="closed"):
        near.read(5.0, 5.0)


class Recorded:
    """A socket that remembers which options were set."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.options: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.append(option)
        self._sock.setsockopt(level, option, value)


@pytest.mark.skipif(QUICKACK is None, reason="an option of Linux")
def test_who_waits_acknowledges_at_once(ends: tuple[Transport, socket.socket]) -> None:
    """Else a peer that sends small pieces under Nagle's algorithm loses 40 ms with each answer."""
    near, far = ends
    recorded = Recorded(near._socket)
    near._socket = cast(socket.socket, recorded)
    whole = pdu(Pdu.P_DATA_TF, body(0, 100))
    far.sendall(whole[:20])
    rest = threading.Timer(0.1, far.sendall, (whole[20:],))
    rest.start()
    assert near.read(5.0, 5.0)[0] is Pdu.P_DATA_TF
    rest.join()
    assert QUICKACK in recorded.options


def test_half_a_pdu_is_no_silence(ends: tuple[Transport, socket.socket]) -> None:
    near, far = ends
    near.last = 0.0
    far.sendall(pdu(Pdu.P_DATA_TF, body(1, 100))[:50])
    with pytest.raises(PeerUnreachable):
        near.read(5.0, 0.1)
    assert near.last > 0
