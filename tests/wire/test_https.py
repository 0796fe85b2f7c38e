"""HTTP servers that never come to an end: whoever asks them ends all the same."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.wire.objects import film
from wetread.errors import PeerUnreachable
from wetread.settings import Destination
from wetread.wire import fhir, https, smart, webclient, webfetch, webhook, webstore
from wetread.wire.retrieve import Archive
from wetread.wire.webfetch import WebQuery, retrieve

TIMEOUT_S = 0.3
MOST_S = 5.0  # many times what is allowed, as test machines are busy
PAUSE_S = 0.02
BOUNDARY = b"Content-Type: multipart/related; boundary=cut\r\n"

Talk = Callable[[socket.socket], None]


def said_again(head: bytes, again: bytes) -> Talk:
    """Say something, then something else for ever."""

    def talk(sock: socket.socket) -> None:
        sock.recv(1 << 16)
        sock.sendall(head)
        while True:
            sock.sendall(again)
            time.sleep(PAUSE_S)

    return talk


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
CONTINUES = said_again(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
DRIPS = said_again(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x")
HEADS = {"100 Continue without end": CONTINUES, "a header that drips": DRIPS}
BODIES = {
    "a length of a chunk that drips": said_again(CHUNKED + BOUNDARY + b"\r\n", b"0"),
    "trailers without end": said_again(CHUNKED + BOUNDARY + b"\r\n0\r\n", b"X: y\r\n"),
    "a body that drips": said_again(b"HTTP/1.1 200 OK\r\n" + BOUNDARY + b"\r\n", b" "),
}


@contextmanager
def server(talk: Talk, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Talks to who connects, one after the other; yields host and port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            with suppress(OSError), sock if context is None else context.wrap_socket(sock, server_side=True) as line:
                talk(line)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)
        assert not thread.is_alive()


def stores(at: str) -> None:
    webstore.send(Destination("WEB", url=f"http://{at}/dicomweb"), [film("1.2", "1.2.1")], TIMEOUT_S)


def sends(at: str) -> None:
    fhir.send(Destination("EHR", url=f"fhir+http://{at}/fhir"), [json.dumps({"entry": []}).encode()], TIMEOUT_S)


def echoes(at: str) -> None:
    fhir.echo(Destination("EHR", url=f"fhir+http://{at}/fhir"), TIMEOUT_S)


def discovers(at: str) -> None:
    smart.bearer(Destination("EHR", url=f"fhir+http://{at}/fhir", client_id="x", client_key=Path("key")), TIMEOUT_S)


def searches(at: str) -> None:
    with WebQuery(Destination("WEB", url=f"http://{at}/dicomweb"), TIMEOUT_S) as query:
        query.find("STUDY", {"StudyInstanceUID": "1.2"})


def retrieves(at: str) -> None:
    archive = Archive(Destination("WEB", url=f"http://{at}/dicomweb"), "WETREAD", TIMEOUT_S, 1 << 20)
    retrieve(archive, {"StudyInstanceUID": "1.2"}, lambda _uid, _data: None)


def posts(at: str) -> None:
    webhook.post(f"http://{at}/hook", "alert_1", b"{}", b"k" * 24, 0, TIMEOUT_S)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (https, fhir, smart, webclient, webfetch):
        monkeypatch.setattr(module, "PATIENCE", 1)


def gives_up(asks: Callable[[str], None], talk: Talk) -> None:
    """Expect a client to say in time that a server is too slow."""
    begun = time.monotonic()
    with server(talk) as at, pytest.raises(PeerUnreachable, match="the answer comes too slowly"):
        asks(at)
    assert time.monotonic() - begun < MOST_S


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("asks", [stores, sends, echoes, discovers, searches, retrieves, posts])
@pytest.mark.parametrize("talk", HEADS.values(), ids=HEADS)
def test_a_head_without_end_is_no_answer(asks: Callable[[str], None], talk: Talk) -> None:
    gives_up(asks, talk)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("asks", [stores, sends, discovers, retrieves])
@pytest.mark.parametrize("talk", BODIES.values(), ids=BODIES)
def test_a_body_without_end_is_no_answer(asks: Callable[[str], None], talk: Talk) -> None:
    gives_up(asks, talk)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("talk", HEADS.values(), ids=HEADS)
def test_a_head_without_end_by_tls(talk: Talk, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    side = authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(side.certificate, side.key)
    place = Destination("WEB", url="https://127.0.0.1", tls_authority=side.authority)
    with server(talk, context) as at, pytest.raises(PeerUnreachable, match="the answer comes too slowly"):
        webstore.send(replace(place, url=f"https://{at}/dicomweb"), [film("1.2", "1.2.1")], TIMEOUT_S)


@pytest.mark.usefixtures("impatient")
def test_a_request_that_is_hardly_taken_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "LEAST_BYTES_S", 1 << 30)

    def take(sock: socket.socket) -> None:
        while sock.recv(1 << 16):
            time.sleep(PAUSE_S)

    destination = Destination("EHR", url="fhir+http://127.0.0.1")
    with server(take) as at, pytest.raises(PeerUnreachable, match="the request is taken too slowly"):
        fhir.send(replace(destination, url=f"fhir+http://{at}/fhir"), [bytes(64 << 20)], TIMEOUT_S)


def test_an_answer_may_follow_others_and_take_its_time() -> None:
    """What is told before, and a head that is slow but comes, do no harm; nor does a long body on the way there."""
    body, got = bytes(range(256)) * 1024, bytearray()

    def talk(sock: socket.socket) -> None:
        while b"\r\n\r\n" not in got:
            got.extend(sock.recv(1 << 16))
        while len(got) < got.index(b"\r\n\r\n") + 4 + len(body):
            got.extend(sock.recv(1 << 16))
        for piece in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20", b"0 OK\r\n"):
            sock.sendall(piece)
            time.sleep(PAUSE_S)
        sock.sendall(b"Content-Length: 2\r\n\r\nok")

    with server(talk) as at:
        connection = https.connection_to(f"http://{at}", 2.0)
        with https.asked(connection, "POST", "/", body, {}) as response:
            assert (response.status, https.read(response, 5.0)) == (200, b"ok")
        connection.close()
    head, _, sent = bytes(got).partition(b"\r\n\r\n")
    assert sent == body
    assert head.count(b"Content-Length: ") == 1
    assert b"Transfer-Encoding" not in head
