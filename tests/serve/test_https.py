"""TLS at the HTTP port: who shows a certificate, and who gets in."""

from __future__ import annotations

import select
import shutil
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority, Side
from tests.serve.test_dicomweb import none
from wetread.errors import SettingsError
from wetread.serve import heads
from wetread.serve.node import Node
from wetread.settings import Settings, load
from wetread.wire.access import check_exposure

pytestmark = pytest.mark.peer  # certificates are made by the program openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def caller(authority: Authority) -> Side:
    return authority.issue("caller")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Starts nodes that show a certificate; they are stopped after the test."""
    with ExitStack() as stack:

        def make(http_tls: str, side: Side, **given: Any) -> Node:
            named = {**side.settings, **given}
            settings = Settings(state=tmp_path / "state", port=0, http_port=0, http_tls=http_tls, **named)
            node = Node(settings, none)
            node.start()
            stack.callback(node.stop, 2.0)
            return node

        yield make


def ask(node: Node, path: str, trusts: Path, shows: Side | None = None, host: str = "") -> int:
    context = ssl.create_default_context(cafile=trusts)
    if shows is not None:
        context.load_cert_chain(shows.certificate, shows.key)
    headers = {"Host": host} if host else {}
    request = urllib.request.Request(f"https://127.0.0.1:{node.http_port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


#: What it looks like to a client that is not let in.
REFUSED = (OSError, urllib.error.URLError)


def test_the_node_shows_a_certificate(start: Callable[..., Node], authority: Authority) -> None:
    node = start("server", authority.issue("node"))
    assert ask(node, "/health", authority.certificate) == 200
    assert ask(node, "/dicomweb/studies", authority.certificate) == 200
    assert ask(node, "/dicomweb/studies", authority.certificate, host="node.example") == 403
    with pytest.raises(REFUSED):
        urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/health", timeout=10)


def test_callers_show_theirs(start: Callable[..., Node], authority: Authority, caller: Side, tmp_path: Path) -> None:
    node = start("mutual", authority.issue("node"))
    stranger = Authority(tmp_path / "other", "Other").issue("stranger")
    for side in (None, stranger):
        with pytest.raises(REFUSED):
            ask(node, "/health", authority.certificate, side)
    assert ask(node, "/metrics", authority.certificate, caller) == 200
    assert ask(node, "/dicomweb/studies", authority.certificate, caller, host="node.example") == 200


def test_certificates_are_exchanged_without_a_restart(
    start: Callable[..., Node], authority: Authority, caller: Side, tmp_path: Path
) -> None:
    used = authority.issue("exchanged", trusts=tmp_path / "trusted.pem")
    shutil.copy(authority.certificate, used.authority)
    node = start("mutual", used)
    assert ask(node, "/health", authority.certificate, caller) == 200
    other = Authority(tmp_path / "other", "Other")
    new = other.issue("new")
    for source, target in ((new.certificate, used.certificate), (new.key, used.key)):
        shutil.copy(source, target)
    assert ask(node, "/health", other.certificate, caller) == 200
    shutil.copy(other.certificate, used.authority)  # the caller's authority is withdrawn
    with pytest.raises(REFUSED):
        ask(node, "/health", other.certificate, caller)
    assert ask(node, "/health", other.certificate, new) == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_outlives_its_authority(
    start: Callable[..., Node], authority: Authority, caller: Side, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    used = authority.issue("resumed", trusts=tmp_path / "trusted.pem")
    shutil.copy(authority.certificate, used.authority)
    node = start("mutual", used)
    context = ssl.create_default_context(cafile=authority.certificate)
    context.load_cert_chain(caller.certificate, caller.key)
    context.maximum_version = version

    def session(kept: ssl.SSLSession | None = None) -> ssl.SSLSession | None:
        with (
            socket.create_connection(("127.0.0.1", node.http_port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=kept) as sock,
        ):
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
            return sock.session

    kept = session()
    shutil.copy(Authority(tmp_path / "other", "Other").certificate, used.authority)
    with pytest.raises((OSError, AssertionError)):
        session(kept)


def test_who_does_not_shake_hands_is_counted_and_cut(
    start: Callable[..., Node], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "MOST_CONNECTIONS", 3)
    node = start("server", authority.issue("node"), idle_timeout_s=1.0)
    with ExitStack() as stack:
        at = ("127.0.0.1", node.http_port)
        silent = [stack.enter_context(socket.create_connection(at, timeout=10)) for _ in range(4)]
        assert silent[3].recv(1) == b""  # one too many
        assert select.select(silent[:3], [], [], 0.2)[0] == []
        assert [one.recv(1) for one in silent[:3]] == [b""] * 3
    assert ask(node, "/health", authority.certificate) == 200


def test_a_request_may_come_with_the_end_of_the_handshake(start: Callable[..., Node], authority: Authority) -> None:
    node = start("server", authority.issue("node"))
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cafile=authority.certificate).wrap_bio(coming, going, False, "localhost")
    with socket.create_connection(("127.0.0.1", node.http_port), timeout=10) as sock:
        done = False
        while not done:
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
                client.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                done = True
            sock.sendall(going.read())
            coming.write(b"" if done else sock.recv(1 << 16))
        told = b""
        while not told:
            coming.write(sock.recv(1 << 16))
            with suppress(ssl.SSLWantReadError):  # session tickets come first
                told = client.read(12)
        assert told == b"HTTP/1.1 200"


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(SettingsError, match="expected server, mutual or nothing, got 'yes'"):
        load(environ={"WETREAD_HTTP_TLS": "yes"})
    with pytest.raises(SettingsError, match="http_tls: expected tls_certificate"):
        check_exposure(Settings(http_tls="server"))
