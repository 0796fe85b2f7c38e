"""Results that leave by STOW-RS: to another node, and to servers in every bad mood."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests import peers
from tests.jobs import fake
from tests.serve.stage import until
from tests.wire.objects import film
from wetread.errors import PeerRefused, PeerUnreachable, SettingsError
from wetread.serve.node import Node
from wetread.settings import Destination, Settings, load, parse_destination
from wetread.wire import dimse, webstore
from wetread.wire.webclient import WebClient

ITEM, UID = film("1.2", "1.2.1.1"), "1.2.1.1"


@contextmanager
def node(state: Path, **given: Any) -> Iterator[Node]:
    settings = Settings(state=state, port=0, http_port=0, quiet_s=0.2, retry_first_s=0.05, retry_most_s=0.1, **given)
    made = Node(settings, lambda: fake.READER)
    made.start()
    try:
        yield made
    finally:
        made.stop(2.0)


def web(port: int, **given: Any) -> Destination:
    return Destination("WEB", url=f"http://127.0.0.1:{port}/dicomweb", **given)


def test_results_go_to_another_node_that_was_away(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 24 + "\n")
    port = peers.free_port()
    with node(tmp_path / "one", destinations=(web(port, documents=("SR", "SEG"), token=token),)) as one:
        assert dimse.send(Destination("WETREAD", "127.0.0.1", one.port), [ITEM]) == [0]
        until(lambda: one.store.overview.counts()["READ"] == 1)
        settings = Settings(state=tmp_path / "two", port=0, http_port=port, dicomweb_tokens=token)
        two = Node(settings, lambda: fake.READER)
        two.start()
        try:
            until(lambda: one.store.overview.counts()["DELIVERED"] == 1)
            made = {blob.sop_instance_uid: two.store.held.get(blob) for blob in two.store.held.blobs({})}
            expected = set(fake.document_uids(UID))
            assert expected <= set(made)
            for blob in one.store.held.blobs({}):
                if blob.sop_instance_uid in expected:
                    assert made[blob.sop_instance_uid] == one.store.held.get(blob)
        finally:
            two.stop(2.0)


@contextmanager
def server(
    status: int, body: bytes, headers: dict[str, str] | None = None, pause_s: float = 0.0, answers: int = 0
) -> Iterator[int]:
    """Answers every POST so; after each it closes the connection without a word, and after `answers` it gives none."""
    given = [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(pause_s)
            given[0] += 1
            self.close_connection = answers > 0
            if given[0] > answers > 0:
                return
            self.send_response(status)
            for name, value in (headers or {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield made.server_address[1]
    finally:
        made.shutdown()
        made.server_close()


def answer(tag: str, **item: list[Any]) -> bytes:
    named = {"00081155": {"vr": "UI", "Value": [UID]}}
    named |= {f"{name[1:]}": {"vr": "US", "Value": value} for name, value in item.items()}
    return json.dumps({tag: {"vr": "SQ", "Value": [named]}}).encode()


def test_a_connection_that_was_closed_between_two_objects_is_opened_anew() -> None:
    with server(200, answer("00081199"), answers=2) as port, webstore.Sender(web(port), 5.0) as sender:
        assert sender.store(ITEM) == 0
        time.sleep(0.2)
        assert sender.store(ITEM) == 0
        time.sleep(0.2)
        with pytest.raises(PeerUnreachable):  # once more, and no more
            sender.store(ITEM)
    with server(200, b"", answers=1) as port, WebClient(web(port), 5.0) as client:
        for refused in (False, True):
            expected = pytest.raises(PeerUnreachable) if refused else nullcontext()  # not asked twice
            with expected, client.ask("POST", "/workitems", {}, b"{}") as response:
                response.read()
            time.sleep(0.2)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, answer("00081199"), 0x0000),
        (202, answer("00081199", _00081196=[0xB000]), 0xB000),
        (202, answer("00081199", _00081196=[0xB100]), 0xB100),  # AWS HealthImaging: it cannot make HTJ2K of it
        (202, answer("00081199", _00081196=[0x0107]), 0xB000),
        (202, answer("00081198", _00081197=[0xA900]), 0xA900),
        (202, answer("00081198", _00081197=[0xB000]), 0xC000),
        (409, answer("00081198", _00081197=[0xC122]), 0xC122),
        (409, answer("00081198", _00081197=[45070]), 0xB000),  # Azure: it is stored already
        (409, b"conflict", 0xC000),
        (400, b"", 0xC000),
        (415, b"", 0xC000),
        (503, b"", 0xA700),
        (429, b"", 0xA700),
        (507, b"", 0xA700),
    ],
)
def test_answers_about_the_object(status: int, body: bytes, expected: int) -> None:
    seen: list[tuple[int, int]] = []
    with server(status, body) as port:
        assert webstore.send(web(port), [ITEM, ITEM], 2.0, lambda i, got: seen.append((i, got))) == [expected] * 2
    assert seen == [(0, expected), (1, expected)]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>Welcome</html>"),
        (200, b""),
        (200, b"[]"),
        (200, b"[" * 100_000),
        (200, answer("00081199").replace(UID.encode(), b"1.2.9")),
        (302, b""),
        (401, b""),
        (404, b""),
        (500, b""),
    ],
)
def test_what_is_no_answer_about_the_object(status: int, body: bytes) -> None:
    with server(status, body) as port, pytest.raises(PeerRefused, match=f"got {status}"):
        webstore.send(web(port), [ITEM], 2.0)


def test_silence_nobody_and_no_end() -> None:
    with server(200, answer("00081199"), pause_s=1.0) as port, pytest.raises(PeerUnreachable):
        webstore.send(web(port), [ITEM], 0.2)
    with pytest.raises(PeerUnreachable):
        webstore.send(web(peers.free_port()), [ITEM], 0.5)
    endless = {"Content-Length": str(1 << 30)}
    with server(200, b" " * (2 << 20), endless) as port, pytest.raises(PeerUnreachable, match="too long"):
        webstore.send(web(port), [ITEM], 2.0)


@pytest.mark.parametrize(
    "given",
    [
        {"url": "ftp://pacs.example"},
        {"url": "https://user:secret@pacs.example"},
        {"url": "https://pacs.example/?token=secret"},
        {"url": "https://pacs.example", "host": "1.2.3.4"},
        {"url": "https://pacs.example", "commitment": True},
        {"url": "http://pacs.example", "token": "/token"},
        {"host": "1.2.3.4", "port": 104, "token": "/token"},
        {"host": "1.2.3.4", "port": 104, "tls_authority": "ca.pem"},
        {"url": "mllp://ehr.example:2575", "tls_certificate": "node.pem", "tls_key": "node.key"},
        {},
    ],
)
def test_addresses_that_are_none(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="destination WEB") as caught:
        load(environ={}, destinations=[{"ae_title": "WEB", **given}])
    assert "secret" not in str(caught.value)


def test_an_address_as_text() -> None:
    made = parse_destination("WEB@https://pacs.example:8443/dicom-web")
    assert (made.ae_title, made.url) == ("WEB", "https://pacs.example:8443/dicom-web")
    assert parse_destination(made.names[0]) == made


@pytest.mark.peer
def test_orthanc_takes_and_gives_by_dicomweb(tmp_path: Path) -> None:
    """Its plug-in as the server of our client, and as a client of our server."""
    plugin = peers.dicomweb_plugin()
    with node(tmp_path / "state") as here:
        servers = {"wetread": [f"http://127.0.0.1:{here.http_port}/dicomweb/"]}
        config = {"Plugins": [plugin], "DicomWeb": {"Enable": True, "Servers": servers}}
        with peers.orthanc(tmp_path / "orthanc", **config) as orthanc:
            place = Destination("ORTHANC", url=f"http://127.0.0.1:{orthanc.http_port}/dicom-web")
            assert webstore.send(place, [ITEM, ITEM]) == [0, 0]
            (kept,) = orthanc.call("/instances")
            assert pydicom.dcmread(io.BytesIO(orthanc.file(kept))).SOPInstanceUID == UID
            asked = json.dumps({"Resources": [kept], "Synchronous": True}).encode()
            orthanc.call("/dicom-web/servers/wetread/stow", asked)
            assert UID in {blob.sop_instance_uid for blob in here.store.held.blobs({})}
            until(lambda: here.store.overview.counts()["DELIVERED"] == 1)
            orthanc.call(f"/instances/{kept}", method="DELETE")
            wanted = json.dumps({"Resources": [{"Study": "1.2"}], "Synchronous": True}).encode()
            orthanc.call("/dicom-web/servers/wetread/retrieve", wanted)
            assert len(orthanc.call("/instances")) == 3
