"""The web viewer's files, without a browser; `test_ohif` drives the real one."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

import pytest
from starlette.applications import Starlette

from tests.serve.test_dicomweb import none
from wetread.errors import SettingsError
from wetread.serve import viewer
from wetread.serve.http import HttpServer
from wetread.serve.node import Node
from wetread.settings import Settings

Ask = Callable[..., tuple[int, Message, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a viewer is, in small."""
    made = tmp_path / "dist"
    made.mkdir()
    for name in ("index.html", "app.js", "app-config.js"):
        (made / name).write_text(f"the viewer's {name}")
    (tmp_path / "secret").write_text("secret")
    return made


@pytest.fixture
def ask(folder: Path) -> Iterator[Ask]:
    server = HttpServer(Starlette(routes=viewer.routes(folder)), "127.0.0.1", 0)
    server.start()
    yield lambda address, body=None: answer(server.port, address, body)
    server.stop()


def answer(port: int, address: str, body: bytes | None = None) -> tuple[int, Message, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{address}", body, timeout=20) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


@pytest.mark.parametrize("address", ["/", "/index.html", "/viewer?StudyInstanceUIDs=1.2", "/segmentation/dicomweb"])
def test_every_address_that_the_page_makes_up_is_the_page(ask: Ask, address: str) -> None:
    status, headers, text = ask(address)
    assert (status, text) == (200, "the viewer's index.html")
    assert "default-src 'self'" in headers["content-security-policy"]


def test_the_configuration_is_ours(ask: Ask) -> None:
    _, headers, text = ask("/app-config.js")
    assert headers["content-type"].startswith("text/javascript")
    assert "new URL('dicomweb', document.currentScript.src)" in text
    assert "://" not in text


def test_what_there_is_not(ask: Ask) -> None:
    assert ask("/app.js")[2] == "the viewer's app.js"
    assert ask("/other.js")[0] == 404
    assert ask("/..%2fsecret")[2] != "secret"
    assert ask("/", b"body")[0] == 405


def test_the_node_answers_first(folder: Path, tmp_path: Path) -> None:
    node = Node(Settings(state=tmp_path / "state", port=0, http_port=0, viewer=folder), none)
    node.start()
    try:
        assert answer(node.http_port, "/health")[2] == '{"status":"alive"}'
        assert answer(node.http_port, "/dicomweb/studies")[2] == "[]"
        assert answer(node.http_port, "/")[2] == "the viewer's index.html"
    finally:
        node.stop(2.0)


def test_a_folder_without_a_viewer_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"viewer: .*expected the folder dist"):
        viewer.routes(tmp_path)
