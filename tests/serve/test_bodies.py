"""Heads and bodies that do not come, answers that nobody reads: each holds a place for a while, and not for good."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.sync.client import connect

from tests.serve.stage import until
from tests.wire.objects import film
from wetread.errors import ModelError
from wetread.jobs.worker import Reader
from wetread.serve import heads, stow
from wetread.serve.dicomweb import MOST, MOST_REQUESTS
from wetread.serve.http import HttpServer
from wetread.serve.node import Node
from wetread.serve.record import Record
from wetread.settings import Destination, Settings
from wetread.wire.dimse import send

PAUSE_S = 0.02
IDLE_S = 0.5
RELATED = 'multipart/related; type="application/dicom"; boundary=cut'
PATHS = ("/dicomweb/workitems?1.2", "/studies/1.2/review")


def nothing_is_read() -> Reader:
    raise ModelError("none")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    state = tmp_path_factory.mktemp("state")
    settings = Settings(state=state, port=0, http_port=0, peer_timeout_s=2.0, idle_timeout_s=IDLE_S)
    made = Node(settings, nothing_is_read)
    made.start()
    yield made
    made.stop(2.0)


def begun(
    port: int, path: str, kind: str = "application/json", sent: bytes = b"[", length: int = 60_000
) -> socket.socket:
    """A request whose body has begun."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
    sock.sendall(head.encode() + b"\r\n" + sent)
    return sock


def rest(sock: socket.socket) -> bytes:
    """What comes until the peer closes."""
    sock.settimeout(10)
    told = b""
    try:
        while chunk := sock.recv(1 << 16):
            told += chunk
    except ConnectionError:  # it had not read all that was sent
        pass
    return told


def crawled(sock: socket.socket) -> bytes:
    """What is answered to a body of which a byte comes now and then."""
    sock.settimeout(PAUSE_S)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            sock.sendall(b" ")
            return sock.recv(1 << 16) + rest(sock)
        except TimeoutError:
            pass
    raise AssertionError("nothing is answered")


@pytest.mark.parametrize("path", PATHS)
def test_bodies_that_fall_silent_leave_their_places_to_others(node: Node, path: str) -> None:
    with ExitStack() as stack, httpx.Client(base_url=f"http://127.0.0.1:{node.http_port}") as other:
        silent = [stack.enter_context(begun(node.http_port, path)) for _ in range(MOST_REQUESTS)]
        for sock in silent:
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 408")
        assert other.get("/dicomweb/studies").status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_crawls_is_ended(node: Node, path: str) -> None:
    with begun(node.http_port, path) as sock:
        answer = crawled(sock)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"within 0.5 s" in answer
    assert b"connection: close" in answer.lower()


def test_objects_that_crawl_are_ended(node: Node) -> None:
    with begun(node.http_port, "/dicomweb/studies", RELATED, b"--cut\r\n") as sock:
        assert crawled(sock).startswith(b"HTTP/1.1 408")


def test_objects_that_come_slowly_but_come_are_taken(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes far longer than `idle_timeout_s`, but is never silent for so long."""
    monkeypatch.setattr(stow, "LEAST_BYTES_S", 100)
    first, piece, last = b"--cut\r\n\r\n", bytes(40), b"\r\n--cut--"
    length = len(first) + 15 * len(piece) + len(last)
    with begun(node.http_port, "/dicomweb/studies", RELATED, first, length) as sock:
        for _ in range(15):
            sock.sendall(piece)
            time.sleep(0.1)
        sock.sendall(last)
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 409")  # it came whole, and is no object


@pytest.mark.parametrize("path", PATHS)
def test_who_leaves_in_the_middle_is_no_error(node: Node, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(begun(node.http_port, path))
        stack.close()
        with begun(node.http_port, path) as last:  # asked after them: they are over when it is
            assert last.recv(1 << 16).startswith(b"HTTP/1.1 408")
    assert not [one for one in caplog.records if one.name.startswith("uvicorn")]


def test_the_record_of_the_demo_waits_for_no_body_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wetread.serve.record.BODY_S", 0.2)
    record = Record()
    record.start()
    try:
        with begun(int(record.url.rpartition(":")[2].partition("/")[0]), "/fhir") as sock:
            assert sock.recv(1 << 16).startswith(b"HTTP/1.1 408")
    finally:
        record.stop()


def ended(sock: socket.socket) -> bool:
    """Whether the peer closes within some seconds."""
    return rest(sock) == b""


def test_a_head_that_does_not_come_ends_its_connection(node: Node) -> None:
    with ExitStack() as stack:
        begin = time.monotonic()
        made = [stack.enter_context(socket.create_connection(("127.0.0.1", node.http_port))) for _ in range(20)]
        for sock in made[10:]:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: ")
        assert all(ended(sock) for sock in made)
        assert time.monotonic() - begin < 5


def test_a_head_that_crawls_ends_its_connection_also_after_a_request(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.http_port)) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200")
        sock.settimeout(PAUSE_S)
        end, left = time.monotonic() + 10, b"GET"
        while left and time.monotonic() < end:
            try:
                sock.sendall(b"G")
                left = sock.recv(1)
            except TimeoutError:
                pass
            except ConnectionError:
                left = b""
        assert not left


def test_a_head_without_end_is_refused(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.http_port), timeout=10) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * (1 << 17))
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 400")


def test_connections_are_counted(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MOST_CONNECTIONS", 3)
    with ExitStack() as stack:
        made = [stack.enter_context(socket.create_connection(("127.0.0.1", node.http_port))) for _ in range(3)]
        made[0].sendall(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n")
        assert made[0].recv(1 << 16).startswith(b"HTTP/1.1 200")
        with socket.create_connection(("127.0.0.1", node.http_port)) as more:
            assert ended(more)


@pytest.mark.parametrize(
    "path",
    [
        "/studies/%00",
        "/alerts/1%002",
        "/dicomweb/studies/%00/metadata",
        "/dicomweb/workitems?ProcedureStepState=%00",
        "/dicomweb/subscribers/%00",
    ],
)
def test_an_address_with_a_nul_is_refused(node: Node, path: str) -> None:
    """PostgreSQL cannot be asked for one: it was told as a failure of the index."""
    asks = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    more = asks + "Connection: Upgrade" if "subscribers" in path else "Connection: close"
    with socket.create_connection(("127.0.0.1", node.http_port), timeout=10) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n\r\n".encode())
        assert rest(sock).startswith(b"HTTP/1.1 400")


def test_a_websocket_stays_open(node: Node) -> None:
    with connect(f"ws://127.0.0.1:{node.http_port}/dicomweb/subscribers/WATCH", proxy=None) as channel:
        with pytest.raises(TimeoutError):
            channel.recv(timeout=3 * IDLE_S)
        channel.ping().wait(5)


def test_a_websocket_that_nobody_reads_is_cut() -> None:
    """Its pings are not answered, and closing it would wait until what was written is read."""
    left = threading.Event()

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        try:
            while True:
                await websocket.send_text("x" * 500)
        except WebSocketDisconnect:
            left.set()

    server = HttpServer(Starlette(routes=[WebSocketRoute("/", talk)]), "127.0.0.1", 0, within_s=IDLE_S)
    server.start()
    try:
        with connect(f"ws://127.0.0.1:{server.port}/", proxy=None, max_queue=1) as channel:
            assert left.wait(20)
            assert channel.recv()
    finally:
        server.stop()


@pytest.mark.parametrize(
    "head",
    [
        f"GET /{'x' * 9000} HTTP/1.1\r\n",
        f"GET / HTTP/1.1\r\nX: {'x' * 9000}\r\n",
        "GET / HTTP/1.1\r\n" + 200 * "X: x\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 2\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_a_websocket_that_cannot_be_is_refused(node: Node, head: str) -> None:
    """Else it holds its connection for good: no timer runs there any more."""
    asks = "Host: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with socket.create_connection(("127.0.0.1", node.http_port), timeout=10) as sock:
        sock.sendall((head + asks + key).encode())
        assert rest(sock).startswith(b"HTTP/1.1 400")


def test_an_answer_that_takes_long_is_no_head_that_does_not_come() -> None:
    async def slow(_request: Request) -> Response:
        await asyncio.sleep(3 * IDLE_S)
        return Response("done")

    server = HttpServer(Starlette(routes=[Route("/", slow)]), "127.0.0.1", 0, within_s=IDLE_S)
    server.start()
    try:
        assert httpx.get(f"http://127.0.0.1:{server.port}/").text == "done"
    finally:
        server.stop()


def server_of(body: bytes) -> HttpServer:
    """Answers with a body."""

    async def answer(_request: Request) -> Response:
        return Response(body)

    return HttpServer(Starlette(routes=[Route("/", answer)]), "127.0.0.1", 0, within_s=IDLE_S)


def asked(port: int, path: str = "/") -> socket.socket:
    """A request whose answer has begun; few of its bytes are taken without being read."""
    sock = socket.socket()
    sock.settimeout(10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nAccept: */*\r\n\r\n".encode())
    assert sock.recv(12) == b"HTTP/1.1 200"
    return sock


@pytest.mark.parametrize("path", ["/studies/1.7", "/studies/1.7/series/1.7.1/instances/1.7.1.1"])
def test_who_does_not_read_leaves_the_place_to_others(node: Node, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 8_000_000
    assert set(send(Destination("WETREAD", "127.0.0.1", node.port), [film("1.7", "1.7.1.1", size)])) == {0}
    monkeypatch.setitem(MOST, "http", 3)
    with ExitStack() as stack, httpx.Client(base_url=f"http://127.0.0.1:{node.http_port}/dicomweb") as other:
        asleep = [stack.enter_context(asked(node.http_port, f"/dicomweb{path}")) for _ in range(3)]
        assert other.get("/studies").status_code == 503  # single objects count too, until their end is on its way
        until(lambda: other.get("/studies").status_code == 200)
        time.sleep(2 * IDLE_S)  # whoever wakes before gets the rest
        assert all(len(rest(sock)) < size for sock in asleep)


def test_who_reads_slowly_gets_everything() -> None:
    """It takes far longer than `within_s`, and than the system's buffers would last."""
    server = server_of(bytes(6_000_000))
    server.start()
    got, begin = 0, time.monotonic()
    try:
        with asked(server.port) as sock:
            while chunk := sock.recv(1 << 16):
                got += len(chunk)
                time.sleep(max(0.0, got / 1_500_000 - (time.monotonic() - begin)))
    finally:
        server.stop()
    assert got > 6_000_000
    assert time.monotonic() - begin > 6 * IDLE_S


def test_an_answer_that_waits_as_a_whole_keeps_no_connection() -> None:
    server = server_of(bytes(1 << 16))
    server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    server.start()
    try:
        with asked(server.port):
            assert server._server.server_state.connections
            until(lambda: not server._server.server_state.connections)
    finally:
        server.stop()


def test_an_answer_is_sent_in_pieces() -> None:
    body = bytes(range(256)) * (3 * heads.PIECE // 256) + b"end"
    server = server_of(body)
    server.start()
    try:
        assert httpx.get(f"http://127.0.0.1:{server.port}/").content == body
        told = httpx.head(f"http://127.0.0.1:{server.port}/")
        assert (told.headers["content-length"], told.content) == (str(len(body)), b"")
    finally:
        server.stop()
