"""Who may call, and who is refused with which reason of PS3.8 Table 9-21."""

from __future__ import annotations

import io
import json
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.wire.objects import CR, film
from tests.wire.test_listener import Bench, read_pdu, status_of, store_pdus
from wetread.errors import PeerRefused, SettingsError
from wetread.routes import Route
from wetread.serve import doctor
from wetread.serve.logs import JsonFormatter
from wetread.serve.metrics import Metrics
from wetread.settings import Peer, Settings, load, parse_peer
from wetread.wire import associate
from wetread.wire.access import Access, Refusal, callback, check_exposure, who_may_call
from wetread.wire.associate import VERIFICATION, Associate, Context
from wetread.wire.dimse import echo, send
from wetread.wire.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from wetread.wire.transport import Pdu

HERE = ("127.0.0.1/32",)
SETTINGS = Settings(port=0, peer_timeout_s=2.0, max_associations=2)
LISTED = (Peer("CT1", ("10.1.2.0/24", "fd00::/8")), Peer("*", ("10.9.0.1",), ("echo",)), Peer("CT1", ("10.9.0.1",)))


@contextmanager
def bench(*peers: Peer, **given: object) -> Iterator[Bench]:
    made = Bench(replace(SETTINGS, peers=peers, **given))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.listener.stop(0.5)


def ask(made: Bench, calling: str, source: str = "127.0.0.1", abstract: str = CR) -> tuple[socket.socket, int, bytes]:
    """Ask for an association from an address of this machine; return the socket, kind and body of the answer."""
    sock = socket.create_connection(("127.0.0.1", made.listener.port), 5.0, (source, 0))
    wish = Associate("WETREAD", calling, (Context(1, abstract, (EXPLICIT_LITTLE,)),), 16384)
    sock.sendall(associate.encode(Pdu.ASSOCIATE_RQ, wish))
    return sock, *read_pdu(sock)


@pytest.mark.parametrize(
    ("peers", "called", "calling", "address", "expected"),
    [
        ((), "WETREAD", "ANY", "127.0.0.1", "*"),
        ((), "WETREAD", "ANY", "::1", "*"),
        ((), "WETREAD", "ANY", "127.8.8.8", "*"),
        ((), "WETREAD", "ANY", "10.1.2.3", Refusal.ADDRESS),
        ((), "OTHER", "ANY", "127.0.0.1", Refusal.CALLED_AE),
        (LISTED, "WETREAD", "CT1", "10.1.2.3", "CT1"),
        (LISTED, "WETREAD", "CT1", "::ffff:10.1.2.3", "CT1"),
        (LISTED, "WETREAD", "CT1", "fd00::7%eth0", "CT1"),
        (LISTED, "WETREAD", "CT1", "10.9.0.1", "CT1"),
        (LISTED, "WETREAD", "CT2", "10.9.0.1", "*"),
        (LISTED, "WETREAD", "CT1", "10.1.3.3", Refusal.ADDRESS),
        (LISTED[:1], "WETREAD", "CT2", "10.1.2.3", Refusal.CALLING_AE),
        (LISTED[:1], "WETREAD", "ct1", "10.1.2.3", Refusal.CALLING_AE),
        (LISTED, "WETREAD", "CT1", "127.0.0.1", Refusal.ADDRESS),
        (LISTED, "wetread", "CT1", "10.1.2.3", Refusal.CALLED_AE),
    ],
)
def test_the_list(peers: tuple[Peer, ...], called: str, calling: str, address: str, expected: str | Refusal) -> None:
    found = Access(Settings(peers=peers)).admit(called, calling, address)
    assert (found.ae_title if isinstance(found, Peer) else found) == expected


def test_the_titles_that_rules_name_are_ours_too() -> None:
    routes = (Route(called_ae=("WETREAD_T*", "wr"), lane="STAT"), Route(called_ae=("*",), lane="STAT"))
    access = Access(replace(SETTINGS, routes=routes))
    for called, known in (("WETREAD", 1), ("WETREAD_TEST", 1), ("WR", 1), ("OTHER", 0), ("WETREAD2", 0)):
        assert (access.admit(called, "ANY", "127.0.0.1") is not Refusal.CALLED_AE) == bool(known)


def test_an_open_door_lets_in_whom_the_list_does_not_name() -> None:
    access = Access(Settings(peers=(Peer("CT1", ("10.1.2.3",), ("echo",)),), open_doors="dicom"))
    named, other = access.admit("WETREAD", "CT1", "10.1.2.3"), access.admit("WETREAD", "X", "203.0.113.9")
    assert isinstance(named, Peer)
    assert named.may == ("echo",)
    assert isinstance(other, Peer)
    assert other.may == ("echo", "store")


@pytest.mark.parametrize(
    ("peer", "calling", "source", "reason"),
    [
        (Peer("CT1", HERE), "CT2", "127.0.0.1", bytes((0, 1, 1, 3))),  # permanent, user, calling AE title
        (Peer("CT1", HERE), "CT1", "127.0.0.2", bytes((0, 1, 1, 3))),
    ],
    ids=["title", "address"],
)
def test_a_stranger_gets_the_reason_of_the_standard(peer: Peer, calling: str, source: str, reason: bytes) -> None:
    with bench(peer) as made:
        sock, kind, body = ask(made, calling, source)
        sock.close()
        assert (kind, body) == (Pdu.ASSOCIATE_RJ, reason)
        assert not made.ends


def test_who_was_refused_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    nasty = "%s{0}\r\nX"
    with bench(Peer("CT1", HERE)) as made:
        made.listener._on_refusal = metrics.turned_away
        ask(made, nasty)[0].close()
        ask(made, "CT1", "127.0.0.2")[0].close()
    lines = [json.loads(JsonFormatter().format(one)) for one in caplog.records if one.name == "wetread.wire"]
    assert [(line["reason"], line["address"], line["calling_ae"]) for line in lines] == [
        ("calling AE title", "127.0.0.1", "%s{0}??X"),
        ("address", "127.0.0.2", "CT1"),
    ]
    text = metrics.text().decode()
    assert 'wetread_associations_refused_total{reason="calling AE title"} 1.0' in text
    assert 'wetread_associations_refused_total{reason="address"} 1.0' in text
    assert 'wetread_associations_refused_total{reason="silent"} 0.0' in text


@pytest.mark.parametrize(
    ("may", "abstract", "result"),
    [(("store",), VERIFICATION, 1), (("echo",), CR, 1), (("echo",), VERIFICATION, 0), ((), CR, 1)],
)
def test_a_right_that_a_peer_lacks_is_a_rejected_context(may: tuple[str, ...], abstract: str, result: int) -> None:
    with bench(Peer("*", HERE, may)) as made:
        sock, kind, body = ask(made, "CT1", abstract=abstract)
        sock.close()
        assert kind == Pdu.ASSOCIATE_AC
        assert associate.decode(body).contexts[0].result == result


@pytest.mark.parametrize("sop_class", [VERIFICATION, CR])
def test_nothing_is_stored_over_a_verification_context(sop_class: str) -> None:
    with bench(Peer("*", HERE, ("echo",))) as made:
        sock, _, _ = ask(made, "CT1", abstract=VERIFICATION)
        with sock:
            sock.sendall(store_pdus(film()[-300:], sop_class=sop_class))
            assert status_of(sock) != 0
        assert not made.objects


def test_nobody_can_hold_what_another_needs() -> None:
    with ExitStack() as stack:
        made = stack.enter_context(bench(Peer("GREEDY", HERE), Peer("CT1", HERE)))
        for _ in range(2):
            stack.enter_context(ask(made, "GREEDY")[0])
        with pytest.raises(PeerRefused, match="local limit"):
            echo(made.destination, "GREEDY")
        assert echo(made.destination, "CT1") < 1.0
        assert send(made.destination, [film()], "CT1") == [0]


def test_a_flood_from_strangers_drops_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wetread.wire.guard.MAX_WAITING", 20)
    with ExitStack() as stack:
        made = stack.enter_context(bench(Peer("CT1", HERE)))
        friend = stack.enter_context(made.connect())  # it has not yet spoken when the flood comes
        for _ in range(60):
            stranger = socket.create_connection(("127.0.0.1", made.listener.port), 5.0, ("127.0.0.2", 0))
            stack.enter_context(stranger)
        context = Context(1, VERIFICATION, (IMPLICIT_LITTLE,))
        friend.sendall(associate.encode(Pdu.ASSOCIATE_RQ, Associate("WETREAD", "CT1", (context,), 0)))
        assert read_pdu(friend)[0] == Pdu.ASSOCIATE_AC


FILES = {name: Path("file.pem") for name in ("tls_certificate", "tls_key", "tls_authority")}
CT1 = Peer("CT1", ("10.1.2.3",))
ALL = Peer("*", ("0.0.0.0/0",))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, None),
        ({"host": "localhost"}, None),
        ({"host": "::1"}, None),
        ({"host": "0.0.0.0"}, "no peer is listed"),
        ({"host": ""}, "no peer is listed"),
        ({"host": "10.0.0.5"}, "no peer is listed"),
        ({"host": "node.example"}, "no peer is listed"),
        ({"host": "::", "peers": (CT1,)}, None),
        ({"host": "0.0.0.0", "peers": (CT1, ALL)}, "lets everyone in"),
        ({"host": "0.0.0.0", "peers": (ALL,), "open_doors": "dicom"}, None),
        ({"host": "0.0.0.0", "open_doors": "dicom"}, None),
        ({"host": "0.0.0.0", "open_doors": "http"}, "no peer is listed"),
        ({"http_host": "0.0.0.0"}, "http_host"),
        ({"http_host": "0.0.0.0", "open_doors": "dicom"}, "http_host"),
        ({"http_host": "0.0.0.0", "open_doors": "dicom+http"}, None),
        ({"http_host": "0.0.0.0", "http_tls": "server", **FILES}, "http_host"),
        ({"http_host": "0.0.0.0", "http_tls": "mutual", **FILES}, None),
    ],
)
def test_what_is_exposed_without_a_list_does_not_start(given: dict[str, object], said: str | None) -> None:
    settings = Settings(**given)  # type: ignore[arg-type]
    (row,) = [row for row in doctor._doors(settings) if row.what == "doors"]
    assert row.ok is (said is None)
    if said is None:
        check_exposure(settings)
    else:
        with pytest.raises(SettingsError, match=said) as caught:
            check_exposure(settings)
        assert "open_doors" in str(caught.value)  # and what to do
        assert row.remedy == str(caught.value)


def test_doctor_names_every_door() -> None:
    def doors(settings: Settings) -> str:
        (row,) = [row for row in doctor._doors(settings) if row.what == "doors"]
        return row.found

    assert doors(Settings()) == "DICOM 127.0.0.1:11112, HTTP 127.0.0.1:8042"
    assert doors(Settings(hl7_port=2575)) == "DICOM 127.0.0.1:11112, HL7 127.0.0.1:2575, HTTP 127.0.0.1:8042"


def test_a_peer_that_is_reported_to_by_tls_needs_files() -> None:
    """Else no report of storage commitment would ever reach it."""
    peer = Peer("MR1", ("10.1.2.4",), ("store", "commit"), port=104, tls=True)
    check_exposure(Settings(peers=(peer,), **FILES))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="peer MR1: tls: expected tls_certificate"):
        check_exposure(Settings(peers=(peer,)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(), "--peer AE@address"),
        (Settings(peers=(CT1,)), "CT1@10.1.2.3 (echo, store)"),
        (Settings(open_doors="dicom"), "Anyone"),
    ],
)
def test_the_line_for_people(settings: Settings, said: str) -> None:
    assert said in who_may_call(settings)


def test_nobody_is_called_back_under_a_title_that_dicom_does_not_allow() -> None:
    settings = Settings(peers=(Peer("*", HERE, ("commit",), port=104),))
    found = [callback(settings, calling, "127.0.0.1") for calling in ("CT1", "A\\B", "")]
    assert [one is None for one in found] == [False, True, True]


def test_peers_from_text_and_file(tmp_path: Path) -> None:
    assert load(environ={"WETREAD_PEERS": "CT1@10.1.2.0/24, *@fd00::1"}).peers == (
        Peer("CT1", ("10.1.2.0/24",)),
        Peer("*", ("fd00::1",)),
    )
    path = tmp_path / "wetread.toml"
    path.write_text('[[peers]]\nae_title = "CT1"\naddresses = ["10.1.2.3", "10.1.3.0/24"]\nmay = ["store"]\n')
    assert load(path, {}).peers == (Peer("CT1", ("10.1.2.3", "10.1.3.0/24"), ("store",)),)


@pytest.mark.parametrize("text", ["CT1", "@10.1.2.3", "CT1@", "CT1@ct1.example", "CT1@10.1.2.3/24", "CT1@10.1.2.300"])
def test_a_wrong_peer_says_the_form(text: str) -> None:
    with pytest.raises(SettingsError, match=r"expected (AE@address|an IP address or network)"):
        parse_peer(text)


def test_a_wrong_right_or_door_is_said() -> None:
    with pytest.raises(
        SettingsError, match="expected rights of echo, store, notify, commit, order, query, got 'delete'"
    ):
        Peer("CT1", HERE, ("delete",))
    with pytest.raises(SettingsError, match="expected some of dicom, hl7, http and dicomweb"):
        load(environ={"WETREAD_OPEN_DOORS": "yes"})


def test_an_exposed_node_opens_no_port(tmp_path: Path) -> None:
    from wetread.serve.node import Node

    settings = replace(SETTINGS, host="0.0.0.0", state=tmp_path / "state")
    with pytest.raises(SettingsError, match="no peer is listed"):
        Node(settings, lambda: pytest.fail("models must not load")).start()
    assert not (tmp_path / "state").exists()


def test_no_patient_reaches_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    handler = logging.StreamHandler(stream := io.StringIO())
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("wetread.wire")
    logger.addHandler(handler)
    try:
        with bench(Peer("CT1", HERE, ("echo",))) as made:
            send(made.destination, [film()], "CT1")
            with pytest.raises(PeerRefused):
                send(made.destination, [film()], "CT2")
    finally:
        logger.removeHandler(handler)
    assert "association refused" in stream.getvalue()
    assert "1.2.3" not in stream.getvalue()
