"""Acknowledgements, against two independent parsers."""

from __future__ import annotations

import pytest
from hl7apy.parser import parse_message

from wetread.wire.acknowledge import Ack, acknowledgement, answers, code_for, header_of
from wetread.wire.hl7 import BadMessage, Condition, parse

ORDER = (
    "MSH|^~\\&|RIS|HOSP^1.2^ISO|WETREAD|AI|20261128120000||ORM^O01^ORM_O01|MSG7|P|{version}|||{accept}|{application}\r"
)
WRONG = BadMessage(Condition.REQUIRED_FIELD_MISSING, "expected an identifier, got none", "PID", 1, 3)


def order(version: str = "2.5.1", accept: str = "", application: str = "") -> bytes:
    return ORDER.format(version=version, accept=accept, application=application).encode()


def test_an_acknowledgement_names_the_message_and_its_sender() -> None:
    (data,) = answers(parse(order()), Ack.AA)
    theirs = parse_message(data.decode(), find_groups=False)
    theirs.validate()
    assert theirs.msh.msh_5.to_er7() == "RIS"
    assert theirs.msh.msh_6.to_er7() == "HOSP^1.2^ISO"
    assert theirs.msh.msh_9.to_er7() == "ACK^O01^ACK"
    assert theirs.msa.msa_1.to_er7() == "AA"
    assert theirs.msa.msa_2.to_er7() == "MSG7"
    assert acknowledgement(data) == ("AA", "MSG7", {})


def test_an_error_says_where_and_what_by_the_version_of_the_sender() -> None:
    (data,) = answers(parse(order()), Ack.AE, WRONG)
    theirs = parse_message(data.decode(), find_groups=False)
    theirs.validate()
    assert theirs.err.err_2.to_er7() == "PID^1^3"
    assert theirs.err.err_3.to_er7() == "101^Required field missing^HL70357"
    assert acknowledgement(data)[2]["code"] == "101"
    (data,) = answers(parse(order("2.3.1")), Ack.AE, WRONG)
    assert parse(data).all("ERR")[0].raw(1) == "PID^1^3^101&Required field missing&HL70357"


@pytest.mark.parametrize(
    ("accept", "application", "code", "expected"),
    [
        ("", "", Ack.AA, ["AA"]),
        ("AL", "NE", Ack.AA, ["CA"]),
        ("AL", "NE", Ack.AE, ["CE"]),
        ("AL", "NE", Ack.AR, ["CR"]),
        ("AL", "AL", Ack.AA, ["CA", "AA"]),
        ("NE", "AL", Ack.AA, ["AA"]),
        ("NE", "NE", Ack.AA, []),
        ("ER", "ER", Ack.AA, []),
        ("ER", "SU", Ack.AE, ["CE"]),
        ("", "whatever", Ack.AA, ["AA"]),
    ],
)
def test_modes(accept: str, application: str, code: Ack, expected: list[str]) -> None:
    found = answers(parse(order(accept=accept, application=application)), code)
    assert [acknowledgement(one)[0] for one in found] == expected


def test_what_is_not_taken_is_rejected_and_what_is_wrong_is_an_error() -> None:
    assert code_for(WRONG) is Ack.AE
    assert code_for(BadMessage(Condition.UNSUPPORTED_MESSAGE_TYPE, "")) is Ack.AR
    assert code_for(BadMessage(Condition.APPLICATION_INTERNAL_ERROR, "")) is Ack.AR


def test_a_message_that_is_broken_behind_its_header_is_answered_by_its_number() -> None:
    message = header_of(order() + b"noise\xff\r")
    (data,) = answers(message, Ack.AE, BadMessage(Condition.SEGMENT_SEQUENCE, "expected a name"))
    assert acknowledgement(data)[:2] == ("AE", "MSG7")
    assert header_of(b"GET /") is None
    (data,) = answers(None, Ack.AR, BadMessage(Condition.SEGMENT_SEQUENCE, "expected MSH"))
    assert acknowledgement(data)[:2] == ("AR", "")


@pytest.mark.parametrize("declared", [b"CNS 11643-1992", b"ISO_IR 192", b"8859/1~none", b"ASCII"])
def test_a_message_in_a_set_that_is_not_known_is_answered_by_its_number(declared: bytes) -> None:
    head = order().rstrip().rstrip(b"|").replace(b"HOSP", b"HOSP\xe4") + b"||||||" + declared + b"|more"
    with pytest.raises(BadMessage, match="MSH-18") as caught:
        parse(head)
    (data,) = answers(header_of(head + b"\rPID|1\r"), Ack.AE, caught.value)
    assert acknowledgement(data)[:2] == ("AE", "MSG7")


def test_an_acknowledgement_is_not_acknowledged() -> None:
    assert answers(parse(order().replace(b"ORM^O01^ORM_O01", b"ACK^O01^ACK")), Ack.AR) == []


def test_a_hostile_header_is_answered_too() -> None:
    for field in (b"^" * 5000, b"\\F\\|x|\\X0D0A\\", "Ä山".encode()):
        head = b"MSH|^~\\&|" + field + b"|HOSP|WETREAD|AI|||ORM^O01|1|P|2.5.1\r"
        for one in answers(parse(head), Ack.AA):
            assert [segment.name for segment in parse(one).segments] == ["MSH", "MSA"]


def test_what_is_no_acknowledgement_is_said_to_be_none() -> None:
    with pytest.raises(BadMessage, match="MSA"):
        acknowledgement(order())
