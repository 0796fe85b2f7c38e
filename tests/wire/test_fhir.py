"""Bundles that leave by FHIR: what each answer means, tokens of SMART Backend Services, mutual TLS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests import peers
from tests.certificates import Authority
from wetread.errors import PeerBusy, PeerRefused, PeerUnreachable, SettingsError
from wetread.settings import Destination, load
from wetread.wire import fhir, smart
from wetread.wire.deliver import deliver, echo

ITEM = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": [{}, {}]}).encode()
REFUSED = 0xC000

Answer = tuple[int, Any, dict[str, str]]


def told(*statuses: str) -> dict[str, Any]:
    entries = [{"response": {"status": one}} for one in statuses]
    return {"resourceType": "Bundle", "type": "transaction-response", "entry": entries}


def outcome(code: str) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"code": code, "diagnostics": "Patient Doe^John 4711"}]}


@contextmanager
def server(answer: Callable[[str, bytes, dict[str, str]], Answer]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Answers as it is told; yields its base URL and the headers of what came."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(dict(self.headers))
            status, made, headers = answer(self.path, body, seen[-1])
            data = made if isinstance(made, bytes) else json.dumps(made).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"fhir+http://127.0.0.1:{made.server_port}/fhir", seen
    finally:
        made.shutdown()
        made.server_close()


def one(answer: Answer) -> list[int]:
    with server(lambda *_: answer) as (url, _seen):
        return fhir.send(Destination("EHR", url=url), [ITEM])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, told("201 Created", "200"), {}), 0),
        ((200, told("201", "304"), {}), 0),
        ((200, told("201"), {}), REFUSED),
        ((200, told("201", "412 Precondition Failed"), {}), REFUSED),
        ((200, told("201", ""), {}), REFUSED),
        ((400, outcome("structure"), {}), REFUSED),
        ((404, outcome("processing"), {}), REFUSED),  # HAPI, where nobody has the identifier of the patient
        ((413, outcome("too-long"), {}), REFUSED),
        ((413, b"<html>413 Request Entity Too Large</html>", {}), REFUSED),  # a proxy in front of the server
        ((412, outcome("multiple-matches"), {}), REFUSED),
        ((422, outcome("processing"), {}), REFUSED),
    ],
)
def test_what_an_answer_means(answer: Answer, expected: int) -> None:
    assert one(answer) == [expected]


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>Log in</html>", {}),
        (200, {"resourceType": "Bundle", "type": "searchset", "entry": []}, {}),
        (400, b"<html>Bad gateway</html>", {}),
        (401, outcome("login"), {}),
        (403, outcome("forbidden"), {}),
        (404, b"<html>Not found</html>", {}),  # nothing is there: its base URL is wrong
        (404, {"error": "no such path"}, {}),
        (500, outcome("exception"), {}),
    ],
)
def test_an_answer_that_is_not_about_the_bundle_is_the_servers_fault(answer: Answer) -> None:
    with pytest.raises(PeerRefused, match="EHR: FHIR: expected 200"):
        one(answer)


@pytest.mark.parametrize(
    ("value", "least_s", "most_s"),
    [
        ("7", 7, 7),
        ("", 0, 0),
        ("soon", 0, 0),
        ("²", 0, 0),  # a digit to Python, no number to anyone
        ("\x1e7", 7, 7),
        ("999999999", 3600, 3600),
        (formatdate(time.time() + 3000, usegmt=True), 1, 3000),
    ],
    ids=[
        "seconds",
        "nothing",
        "no number",
        "no digit",
        "behind a control character",
        "too long",
        "a date",
    ],  # not by value: workers would disagree on the date
)
def test_a_server_without_room_says_for_how_long(value: str, least_s: float, most_s: float) -> None:
    with pytest.raises(PeerBusy) as caught:
        one((503, b"", {"Retry-After": value}))
    assert least_s <= caught.value.retry_after_s <= most_s


def test_nothing_of_an_answer_is_repeated(caplog: pytest.LogCaptureFixture) -> None:
    assert one((422, outcome("processing"), {})) == [REFUSED]
    (record,) = [one for one in caplog.records if one.name == "wetread.wire"]
    assert record.__dict__["reason"] == "422 processing"
    assert "Doe" not in str([record.__dict__ for record in caplog.records])


def test_a_server_that_is_away() -> None:
    gone = Destination("EHR", url=f"fhir+http://127.0.0.1:{peers.free_port()}/fhir")
    with pytest.raises(PeerUnreachable, match="EHR: no answer by FHIR"):
        deliver(gone, [ITEM], timeout_s=0.5)


@pytest.mark.parametrize(
    ("interaction", "said"),
    [
        ([{"code": "transaction"}], "takes transactions"),
        ([], "does not say that it takes transactions"),
        (7, "does not say that it takes transactions"),
    ],
)
def test_a_server_says_what_it_can_do(interaction: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    rest = [{"mode": "server", "interaction": interaction}]
    told_ = {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "rest": rest}
    with server(lambda path, *_: (200 if path == "/fhir/metadata" else 404, told_, {})) as (url, seen):
        assert echo(Destination("EHR", url=url, token=tmp_path / "token")) == f"speaks FHIR 4.0.1 and {said}"
    assert seen[0]["Authorization"] == "Bearer secret"


def test_what_is_no_server_is_said_to_be_none() -> None:
    answers: list[Answer] = [(200, b"<html>", {}), (200, told(), {}), (404, outcome("not-found"), {})]
    for answer in answers:
        with server(lambda *_, said=answer: said) as (url, _seen), pytest.raises(PeerRefused, match="Capability"):
            echo(Destination("EHR", url=url))
    with pytest.raises(PeerUnreachable):
        echo(Destination("EHR", url=f"fhir+http://127.0.0.1:{peers.free_port()}"), timeout_s=0.5)


def test_a_token_of_a_file_is_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    with server(lambda *_: (200, told("201", "201"), {})) as (url, seen):
        assert fhir.send(Destination("EHR", url=url, token=tmp_path / "token"), [ITEM, ITEM]) == [0, 0]
    assert {one["Authorization"] for one in seen} == {"Bearer secret"}
    assert seen[0]["Prefer"] == "return=minimal"


def private_key(path: Path, kind: str) -> Path:
    key = ec.generate_private_key(ec.SECP384R1()) if kind == "EC" else rsa.generate_private_key(65537, 2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    return path


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS384"), ("EC", "ES384")])
def test_smart_backend_services(kind: str, algorithm: str, tmp_path: Path) -> None:
    """A server that knows our public key gives tokens; one is used until it ends or is refused."""
    key = private_key(tmp_path / "key.pem", kind)
    (public,) = smart.jwks(key)["keys"]
    assert "d" not in public
    given: list[str] = []

    def answer(path: str, body: bytes, headers: dict[str, str]) -> Answer:
        base = f"http://{headers['Host']}"
        if path == "/fhir/.well-known/smart-configuration":
            return 200, {"token_endpoint": f"{base}/token?p=signin"}, {}
        if path == "/token?p=signin":
            form = {name: value[0] for name, value in parse_qs(body.decode()).items()}
            head = jwt.get_unverified_header(form["client_assertion"])
            assert (head["alg"], head["kid"]) == (algorithm, public["kid"])
            claims = jwt.decode(
                form["client_assertion"],
                jwt.PyJWK(public).key,
                [algorithm],
                audience=f"{base}/token?p=signin",
                issuer="wetread",
            )
            assert claims["sub"] == "wetread"
            assert claims["exp"] - time.time() <= 300
            assert (form["grant_type"], form["scope"]) == ("client_credentials", "system/*.cruds")
            given.append(f"token{len(given)}")
            return 200, {"access_token": given[-1], "token_type": "bearer", "expires_in": 10**400}, {}
        fresh = headers.get("Authorization") == f"Bearer token{1 if len(given) > 1 else 0}"
        return (200, told("201", "201"), {}) if fresh and not expired else (401, outcome("expired"), {})

    expired: list[bool] = []
    with server(answer) as (url, _seen):
        ehr = Destination("EHR", url=url, client_id="wetread", client_key=key)
        assert fhir.send(ehr, [ITEM, ITEM]) == [0, 0]
        assert fhir.send(ehr, [ITEM]) == [0]
        assert given == ["token0"]
        given.append("taken back")
        smart.forget(ehr)
        given.pop()
        expired.append(True)
        with pytest.raises(PeerRefused):
            fhir.send(ehr, [ITEM])
        assert given == ["token0", "token1", "token2"]  # one anew for the one refused, and no more


def test_a_token_endpoint_that_refuses_or_is_busy(tmp_path: Path) -> None:
    key = private_key(tmp_path / "key.pem", "EC")
    for answer, error in (
        ((401, {"error": "invalid_client"}, {}), PeerRefused),
        ((503, b"", {}), PeerBusy),
        ((200, {"token_type": "bearer"}, {}), PeerRefused),
        ((200, {"access_token": 7, "expires_in": 300}, {}), PeerRefused),
    ):
        with server(lambda *_, said=answer: said) as (url, _seen):
            token_url = url.removeprefix("fhir+") + "/token"
            ehr = Destination("EHR", url=url, client_id="wetread", client_key=key, token_url=token_url)
            with pytest.raises(error, match="SMART"):
                fhir.send(ehr, [ITEM])


def test_a_token_endpoint_that_says_when_to_come_again(tmp_path: Path) -> None:
    key = private_key(tmp_path / "key.pem", "EC")
    with server(lambda *_: (429, b"", {"Retry-After": "90"})) as (url, _seen):
        token_url = url.removeprefix("fhir+") + "/token"
        ehr = Destination("EHR", url=url, client_id="wetread", client_key=key, token_url=token_url)
        with pytest.raises(PeerBusy) as caught:
            fhir.send(ehr, [ITEM])
    assert caught.value.retry_after_s == 90


@pytest.mark.parametrize("kind", ["none", "text", "P-256"])
def test_a_key_that_is_none(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    if kind == "text":
        path.write_text("no key")
    elif kind == "P-256":
        key = ec.generate_private_key(ec.SECP256R1())
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    with pytest.raises(SettingsError, match="expected an RSA or P-384"):
        smart.jwks(path)


@pytest.mark.parametrize(
    "given",
    [
        {"client_id": "a"},
        {"client_key": Path("key.pem")},
        {"client_id": "a", "client_key": Path("key.pem"), "token": Path("token")},
        {"client_id": "a", "client_key": Path("key.pem"), "url": "https://host/dicomweb"},
        {"client_id": "a", "client_key": Path("key.pem"), "url": "fhir+http://host/fhir"},
        {"client_id": "a", "client_key": Path("key.pem"), "token_url": "http://host/token"},
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Destination("EHR", **{"url": "fhir+https://host/fhir", **given})


def test_the_settings_of_a_site() -> None:
    made = load(
        environ={"WETREAD_FHIR_SYSTEMS": "PATIENT=urn:oid:1.2, HOSP=https://h.example/mrn", "WETREAD_FHIR": "r5"}
    )
    assert made.fhir_systems == (("PATIENT", "urn:oid:1.2"), ("HOSP", "https://h.example/mrn"))
    assert made.fhir == "R5"
    assert "FHIR" in made.kinds
    for name, value in (("FHIR", "R3"), ("FHIR_SYSTEMS", "HOSP"), ("PUBLIC_URL", "node:8042")):
        with pytest.raises(SettingsError):
            load(environ={f"WETREAD_{name}": value})


@pytest.mark.peer
def test_mutual_tls_with_a_server_of_others(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    theirs, ours = authority.issue("ehr"), authority.issue("node")
    bundle = {"resourceType": "Bundle", "type": "transaction"}
    entry = {
        "request": {"method": "POST", "url": "Basic"},
        "resource": {"resourceType": "Basic", "code": {"text": "x"}},
    }
    item = json.dumps({**bundle, "entry": [entry]}).encode()
    with peers.fhir_server(theirs.certificate, theirs.key, authority.certificate) as port:
        url = f"fhir+https://127.0.0.1:{port}"
        assert fhir.send(Destination("EHR", url=url, **ours.settings), [item]) == [0]
        with pytest.raises(PeerUnreachable):
            fhir.send(Destination("EHR", url=url, tls_authority=authority.certificate), [item])
        with pytest.raises(PeerUnreachable, match="certificate of the peer is refused"):
            fhir.send(Destination("EHR", url=url), [item])
