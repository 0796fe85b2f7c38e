"""QIDO-RS and WADO-RS as a client: of servers in every bad mood, over loopback."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import peers
from tests.certificates import Authority, Side
from tests.wire.objects import film
from wetread.errors import BadInput, PeerRefused, PeerUnreachable, SettingsError
from wetread.settings import Destination
from wetread.wire.archive import Series, fetch, number_of_instances, opened
from wetread.wire.retrieve import Archive
from wetread.wire.webfetch import WebQuery, retrieve

FILMS = [film("1.2.3", f"1.2.3.1.{n}") for n in range(3)]
JSON = {"Content-Type": "application/dicom+json"}
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def server(
    answer: Callable[[str, dict[str, list[str]]], Answer],
    pause_s: float = 0.0,
    side: Side | None = None,
    tokens: list[str | None] | None = None,
    **given: Any,
) -> Iterator[Archive]:
    """Answers every GET as it is told, by path and parameters; by TLS with client certificates where it has a side."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(pause_s)
            if tokens is not None:
                tokens.append(self.headers["Authorization"])
            parts = urlsplit(self.path)
            status, headers, body = answer(parts.path, parse_qs(parts.query, keep_blank_values=True))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    if side is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(side.authority))
        context.load_cert_chain(side.certificate, side.key)
        context.verify_mode = ssl.CERT_REQUIRED
        made.socket = context.wrap_socket(made.socket, server_side=True)
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    try:
        url = f"http{'s' if side else ''}://127.0.0.1:{made.server_address[1]}/web/"
        yield Archive(Destination("WEB", url=url, **given), timeout_s=2.0, most_bytes=1 << 20)
    finally:
        made.shutdown()
        made.server_close()


def always(status: int, headers: dict[str, str], body: bytes) -> Callable[[str, dict[str, list[str]]], Answer]:
    return lambda path, query: (status, headers, body)


def study(uid: str, number: int | None = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"0020000D": {"vr": "UI", "Value": [uid]}, **more}
    return made if number is None else made | {"00201208": {"vr": "IS", "Value": [number]}}


def related(items: list[bytes], end: bool = True) -> bytes:
    parts = (b"--xyz\r\nContent-Type: application/dicom\r\n\r\n" + item + b"\r\n" for item in items)
    return b"".join(parts) + (b"--xyz--" if end else b"")


RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=xyz'}


# ---- QIDO-RS ----------------------------------------------------------------------------------


def test_what_is_asked_and_what_is_understood() -> None:
    seen: list[tuple[str, dict[str, list[str]]]] = []
    name = {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jörg", "Ideographic": "x"}]}
    modalities = {"vr": "CS", "Value": ["CT", "SR"]}
    body = [study("1.2.3", 7, **{"00100010": name, "00080061": modalities, "00081110": {"vr": "SQ", "Value": [{}]}})]

    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        seen.append((path, query))
        return 200, JSON, json.dumps(body).encode()

    with server(answer) as web, WebQuery(web.peer, 2.0) as query:
        found = query.find("STUDY", {"PatientID": "A 1", "StudyDate": "20250101-", "ModalitiesInStudy": ""}, 10)
        query.find("IMAGE", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": ""}, 10)
        for keys in ({"StudyInstanceUID": "../1"}, {"StudyInstanceUID": ""}, {"Nonsense": ""}):
            with pytest.raises(BadInput):
                query.find("SERIES", keys)
    expected = {"PatientID": ["A 1"], "StudyDate": ["20250101-"], "includefield": ["ModalitiesInStudy"]}
    assert seen[0] == ("/web/studies", expected | {"limit": ["10"], "offset": ["0"]})
    assert seen[1][0] == "/web/studies/1.2/series/1.3/instances"
    row = {"StudyInstanceUID": "1.2.3", "NumberOfStudyRelatedInstances": "7", "ModalitiesInStudy": "CT\\SR"}
    assert found.rows == (row | {"PatientName": "Müller^Jörg=x"},)
    assert found.whole


def test_pages_until_there_is_no_more() -> None:
    """The server gives at most two at a time, and says so."""
    uids = [f"1.2.{n}" for n in range(5)]

    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        start = int(query["offset"][0])
        more = {"Warning": '299 x: "There are additional results that can be requested"'} if start < 4 else {}
        return 200, JSON | more, json.dumps([study(uid) for uid in uids[start : start + 2]]).encode()

    with server(answer) as web, WebQuery(web.peer, 2.0) as query:
        found = query.find("STUDY", {"StudyInstanceUID": ""})
        assert [row["StudyInstanceUID"] for row in found.rows] == uids
        assert found.whole
        some = query.find("STUDY", {"StudyInstanceUID": ""}, 3)
        assert (len(some.rows), some.whole) == (3, False)
        assert not query.find("STUDY", {"StudyInstanceUID": ""}, cancel=lambda: True).whole


def test_a_server_that_knows_no_paging_ends() -> None:
    both = always(200, JSON, json.dumps([study("1.2"), study("1.3")]).encode())
    with server(both) as web, WebQuery(web.peer, 2.0) as query:
        assert len(query.find("STUDY", {"PatientID": "A"}, 2).rows) == 2
        assert query.find("STUDY", {"PatientID": "A"}, 1).whole is False
        assert query.find("STUDY", {"PatientID": "A"}, 9).whole


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>Welcome</html>"),
        (200, b""),
        (200, b'{"a": 1}'),
        (200, b'[{"00100010": {}}]'),
        (200, b'[{"FFFFFFFFFF": {"vr": "LO"}}]'),
        (200, b"[" * 100_000),
        (302, b""),
        (401, b""),
        (404, b""),
        (500, b""),
    ],
)
def test_what_is_no_answer(status: int, body: bytes) -> None:
    with server(always(status, JSON, body)) as web, pytest.raises(PeerRefused, match=f"WEB.* {status}"):
        number_of_instances(web.peer, "1.2.3", timeout_s=2.0)


def test_silence_nobody_no_end_and_other_addresses() -> None:
    with server(always(200, JSON, b"[]"), pause_s=1.0) as web, pytest.raises(PeerUnreachable):
        number_of_instances(web.peer, "1.2.3", timeout_s=0.2)
    with pytest.raises(PeerUnreachable):
        number_of_instances(Destination("WEB", url=f"http://127.0.0.1:{peers.free_port()}"), "1.2.3")
    endless = server(always(200, {"Content-Length": str(1 << 30)}, b" " * (17 << 20)))
    with endless as web, pytest.raises(PeerUnreachable, match="too long"):
        number_of_instances(web.peer, "1.2.3", timeout_s=2.0)
    with pytest.raises(SettingsError, match="expected the URL of a DICOMweb service"):
        opened(Destination("EHR", url="fhir+https://ehr.example/fhir"))


def test_the_number_of_instances() -> None:
    told = [study("1.2.3", 7)]
    with server(lambda path, query: (200, JSON, json.dumps(told).encode())) as web:
        assert number_of_instances(web.peer, "1.2.3") == 7
        assert number_of_instances(web.peer, "1.2.4") is None  # it passes over keys
    with server(always(204, {}, b"")) as web:
        assert number_of_instances(web.peer, "1.2.3") is None


# ---- WADO-RS ----------------------------------------------------------------------------------


def got(web: Archive, keys: dict[str, str] | None = None) -> tuple[dict[str, bytes], list[tuple[int, int]]]:
    kept: dict[str, bytes] = {}
    told: list[tuple[int, int]] = []
    done = retrieve(
        web,
        keys or {"StudyInstanceUID": "1.2.3"},
        kept.__setitem__,
        lambda now: told.append((now.completed, now.failed)),
    )
    assert told[-1] == (done.completed, done.failed)
    return kept, told


def test_a_study_comes_object_by_object() -> None:
    seen: list[str] = []

    def answer(path: str, query: dict[str, list[str]]) -> Answer:
        seen.append(path)
        return 200, RELATED, related(FILMS)

    with server(answer) as web:
        kept, told = got(web)
        assert list(kept.values()) == FILMS
        assert told == [(1, 0), (2, 0), (3, 0)]
        kept.clear()
        fetch(web, "1.2.3", Series("1.2.3.1", 3), (), kept.__setitem__)
        assert len(kept) == 3
    assert seen == ["/web/studies/1.2.3", "/web/studies/1.2.3/series/1.2.3.1"]


def test_what_was_not_asked_for_is_not_taken() -> None:
    with server(always(200, RELATED, related([film("1.2.4", "1.2.4.1"), b"no DICOM", FILMS[0]]))) as web:
        kept, told = got(web)
    assert list(kept) == ["1.2.3.1.0"]
    assert told[-1] == (1, 2)


def test_a_full_disk_counts_as_failed() -> None:
    def keep(uid: str, data: bytes) -> None:
        if uid.endswith("1"):
            raise OSError(28, "No space left on device")

    with server(always(200, RELATED, related(FILMS))) as web:
        done = retrieve(web, {"StudyInstanceUID": "1.2.3"}, keep)
    assert (done.completed, done.failed) == (2, 1)


@pytest.mark.parametrize(
    ("status", "headers", "body", "match"),
    [
        (200, {"Content-Type": "application/dicom"}, FILMS[0], "expected multipart/related"),
        (200, {"Content-Type": "multipart/related"}, related(FILMS), "boundary"),
        (200, RELATED, related(FILMS, end=False), "the last boundary"),
        (200, RELATED, related([b" " * (2 << 20)]), "more than 1048576 bytes"),
        (200, RELATED, related([]), "no object that could be kept"),
        (200, RELATED, related([b"nothing", b"of it"]), "2 failed"),
        (204, {}, b"", "204"),
        (401, {}, b"", "wants a token"),
        (406, {}, b"", "406"),
    ],
)
def test_answers_without_what_was_asked_for(status: int, headers: dict[str, str], body: bytes, match: str) -> None:
    with server(always(status, headers, body)) as web, pytest.raises(PeerRefused, match=match):
        got(web)


def test_an_answer_that_is_cut_off() -> None:
    cut = server(always(200, RELATED | {"Content-Length": "100000"}, related(FILMS, end=False)))
    with cut as web, pytest.raises(PeerUnreachable):
        got(Archive(web.peer, timeout_s=0.3))


@pytest.mark.peer
def test_tls_both_ways_and_a_token(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    stranger = Authority(tmp_path / "stranger", "Stranger").issue("stranger")
    ours, theirs = authority.issue("ours"), authority.issue("theirs")
    token = tmp_path / "token"
    token.write_text("t" * 24 + "\nanother\n")
    seen: list[str | None] = []
    with server(always(200, RELATED, related(FILMS)), 0.0, theirs, seen, token=token, **ours.settings) as web:
        assert len(got(web)[0]) == 3
        place = web.peer
    assert seen == ["Bearer " + "t" * 24]
    wary = server(always(200, RELATED, related(FILMS)), 0.0, theirs, tls_authority=stranger.authority)
    with wary as web, pytest.raises(PeerUnreachable, match="certificate of the peer is refused"):
        got(web)
    token.write_text("\n")
    with pytest.raises(SettingsError, match="expected a line with the token"):
        WebQuery(place)
    with pytest.raises(SettingsError, match="cannot be used"):
        WebQuery(Destination("WEB", url="https://127.0.0.1", tls_authority=tmp_path / "none"))
