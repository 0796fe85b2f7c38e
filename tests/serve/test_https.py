"""TLS at the HTTP port: who shows a certificate, and who gets in."""

from __future__ import annotations

import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.certificates import Authority, Side
from tests.serve.test_dicomweb import none
from wetread.errors import SettingsError
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
def start(tmp_path: Path) -> Iterator[Callable[[str, Side], Node]]:
    """Starts nodes that show a certificate; they are stopped after the test."""
    with ExitStack() as stack:

        def make(http_tls: str, side: Side) -> Node:
            settings = Settings(state=tmp_path / "state", port=0, http_port=0, http_tls=http_tls, **side.settings)
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


def test_the_node_shows_a_certificate(start: Callable[[str, Side], Node], authority: Authority) -> None:
    node = start("server", authority.issue("node"))
    assert ask(node, "/health", authority.certificate) == 200
    assert ask(node, "/dicomweb/studies", authority.certificate) == 200
    assert ask(node, "/dicomweb/studies", authority.certificate, host="node.example") == 403
    with pytest.raises(REFUSED):
        urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/health", timeout=10)


def test_callers_show_theirs(
    start: Callable[[str, Side], Node], authority: Authority, caller: Side, tmp_path: Path
) -> None:
    node = start("mutual", authority.issue("node"))
    stranger = Authority(tmp_path / "other", "Other").issue("stranger")
    for side in (None, stranger):
        with pytest.raises(REFUSED):
            ask(node, "/health", authority.certificate, side)
    assert ask(node, "/metrics", authority.certificate, caller) == 200
    assert ask(node, "/dicomweb/studies", authority.certificate, caller, host="node.example") == 200


def test_certificates_are_exchanged_without_a_restart(
    start: Callable[[str, Side], Node], authority: Authority, caller: Side, tmp_path: Path
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


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(SettingsError, match="expected server, mutual or nothing, got 'yes'"):
        load(environ={"WETREAD_HTTP_TLS": "yes"})
    with pytest.raises(SettingsError, match="http_tls: expected tls_certificate"):
        check_exposure(Settings(http_tls="server"))
