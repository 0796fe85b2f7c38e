"""Results by MLLP: what counts as taken, what comes again, what is a person's; with three independent peers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.wire.ehr import ack, ehr, node_hl7, python_hl7
from wetread.errors import BadInput, PeerRefused, PeerUnreachable, SettingsError, WireError
from wetread.settings import Destination
from wetread.wire.deliver import deliver
from wetread.wire.hl7 import encode, parse
from wetread.wire.mllp import frame
from wetread.wire.mllpstore import echo, send
from wetread.wire.tls import Files


def oru(control: str, patient: str = "4711", text: str = "sehr schön") -> bytes:
    return encode(
        [
            ("MSH", "WETREAD", "", "", "", "20261128", "", ("ORU", "R01", "ORU_R01"), control, "P", "2.5.1"),
            ("PID", "1", "", (patient,), "", ("Müller", "Jürgen")),
            ("OBR", "1", "", "F1", ("1", "Chest", "L")),
            ("OBX", "1", "TX", ("59776-5", "Findings", "LN"), "", text, "", "", "", "", "", "P"),
        ]
    )


MESSAGES = [oru(f"C{n}") for n in range(3)]


def control_of(message: bytes) -> str:
    return parse(message).header.text(10)


def test_each_goes_after_the_answer_to_the_one_before() -> None:
    order: list[str] = []

    def answer(message: bytes) -> bytes:
        order.append(control_of(message))
        return ack(message)

    with ehr(answer) as peer:
        statuses = deliver(peer.destination, MESSAGES, on_status=lambda i, status: order.append(f"{i} {status}"))
        assert statuses == [0, 0, 0]
        assert order == ["C0", "0 0", "C1", "1 0", "C2", "2 0"]
        assert peer.got == MESSAGES  # byte for byte
        assert peer.connections == 1


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [
        *(("AA", "", 0x0000), ("CA", "", 0x0000)),
        *(("AE", "", 0xC000), ("CE", "", 0xC000), ("AE", "101", 0xC000), ("AE", "204", 0xC000)),
        *(("AE", "206", 0xA700), ("AE", "207", 0xA700), ("CE", "207", 0xA700)),
        *(("AR", "", 0xA700), ("CR", "", 0xA700), ("AR", "207", 0xA700)),
        *(("AR", str(one), 0x0122) for one in (200, 201, 202, 203)),
        ("CR", "203", 0x0122),
    ],
)
def test_each_answer_is_meant_in_its_way(code: str, error: str, status: int) -> None:
    with ehr(lambda message: ack(message, code, error=error)) as peer:
        assert send(peer.destination, MESSAGES[:1], 5.0) == [status]


def test_older_answers_name_the_error_elsewhere() -> None:
    old = b"MSH|^~\\&|E|||||||ACK|1|P|2.3\rMSA|AR|C0|no|||203^x^HL70357\rERR|PID^1^3^207\r"
    with ehr(lambda message: frame(old)) as peer:
        assert send(peer.destination, MESSAGES[:1], 5.0) == [0x0122]


def half(message: bytes) -> bytes:
    return ack(message)[:30]


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (lambda message: None, PeerUnreachable, "timed out"),
        (half, PeerUnreachable, "timed out"),
        (lambda message: b"", PeerUnreachable, "hung up without an answer"),
        (lambda message: ack(message, control="C9"), PeerRefused, "got one of another message"),
        (lambda message: ack(message, "OK"), PeerRefused, "got another answer"),
        (lambda message: frame(message), PeerRefused, "got another answer"),
        (lambda message: frame(b"<html>"), PeerRefused, "got no HL7 message"),
        (lambda message: b"HTTP/1.1 200 OK\r\n\r\n", PeerRefused, "expected VT"),
        (lambda message: ack(message) + ack(message), PeerRefused, "got several"),
    ],
)
def test_what_is_no_acknowledgement_stores_nothing(
    answer: Callable[[bytes], bytes | None], error: type[WireError], said: str
) -> None:
    with ehr(answer) as peer, pytest.raises(error, match=said) as raised:
        send(peer.destination, MESSAGES[:1], 0.3)
    assert "4711" not in str(raised.value)


def test_a_peer_that_hangs_up_after_each_answer_is_called_again() -> None:
    turns = cycle((True, False))

    def answer(message: bytes) -> bytes:
        return ack(message) if next(turns) else b""

    with ehr(answer) as peer:
        assert send(peer.destination, MESSAGES, 5.0) == [0, 0, 0]
        assert [control_of(one) for one in peer.got] == ["C0", "C1", "C1", "C2", "C2"]
        assert peer.connections == 3


def test_what_was_acknowledged_before_the_peer_went_counts() -> None:
    told: list[tuple[int, int]] = []

    def answer(message: bytes) -> bytes | None:
        return ack(message) if control_of(message) == "C0" else None

    with ehr(answer) as peer, pytest.raises(PeerUnreachable):
        send(peer.destination, MESSAGES, 0.3, lambda index, status: told.append((index, status)))
    assert told == [(0, 0)]


def test_a_peer_that_is_not_there() -> None:
    with ehr() as peer:
        nobody = peer.destination
        echo(nobody, 5.0)
    with pytest.raises(PeerUnreachable, match="EHR: no answer by MLLP"):
        send(nobody, MESSAGES, 1.0)
    with pytest.raises(PeerUnreachable):
        echo(nobody, 1.0)


def test_an_echo_sends_nothing() -> None:
    with ehr() as peer:
        echo(peer.destination, 5.0)
        assert send(peer.destination, MESSAGES[:1], 5.0) == [0]
        assert (peer.connections, len(peer.got)) == (2, 1)


def test_only_hl7_leaves() -> None:
    with ehr() as peer:
        with pytest.raises(BadInput, match="expected MSH"):
            send(peer.destination, [MESSAGES[0], b"DICM"], 5.0)
        assert peer.got == []


def test_by_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, ours = authority.issue("ehr"), authority.issue("wetread")
    files = Files(server.certificate, server.key, server.authority)
    with ehr(context=files.context(server=True)) as peer:
        url = peer.destination.url
        known = Destination("EHR", url=url, **ours.settings)
        assert send(known, MESSAGES, 5.0) == [0, 0, 0]
        with pytest.raises(PeerUnreachable, match="certificate of the peer is refused"):
            send(Destination("EHR", url=url), MESSAGES, 5.0)
        with pytest.raises(SettingsError, match="a file cannot be used"):
            send(Destination("EHR", url=url, tls_authority=tmp_path / "none"), MESSAGES, 5.0)


def test_to_the_package_hl7() -> None:
    with python_hl7() as (port, got):
        assert send(Destination("EHR", url=f"mllp://127.0.0.1:{port}"), MESSAGES, 10.0) == [0, 0, 0]
        assert got == ["C0", "C1", "C2"]


@pytest.mark.peer
def test_to_node_hl7_server() -> None:
    with node_hl7() as (port, line):
        peer = Destination("EHR", url=f"mllp://127.0.0.1:{port}")
        assert send(peer, [*MESSAGES[:2], oru("C2", "REFUSED")], 20.0) == [0, 0, 0xC000]
        lines = [line().split() for _ in range(3)]
    assert {tuple(one) for one in lines} >= {("C0", "4711")}
