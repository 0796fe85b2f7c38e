"""HL7 version 2 messages, against two independent parsers."""

from __future__ import annotations

import time

import hl7 as other
import pytest
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread.wire.hl7 import USUAL, BadMessage, Condition, Syntax, encode, escape, parse, unescape

ORDER = (
    b"MSH|^~\\&|RIS|HOSP|WETREAD|AI|20261128120000||ORM^O01^ORM_O01|1|P|2.5.1|||||||UNICODE UTF-8\r"
    b"PID|1||123^^^HOSP&1.2.3&ISO^MR~456^^^REG^PI||M\xc3\xbcller^J\\S\\o\r"
    b"ORC|NW|P1^RIS|F1^PACS\r"
    b'OBR|1|P1|F1|71020^Chest^L||||||||||""|||||||||||||||||||\r'
)
MSH = ("MSH", "WETREAD", "AI", "EHR", "HOSP", "20261128120000", "", ("ORU", "R01", "ORU_R01"), "7", "P", "2.5.1")


def test_a_message_is_read_by_field_component_and_subcomponent() -> None:
    message = parse(ORDER)
    pid = message.first("PID")
    assert pid is not None
    assert [segment.name for segment in message.segments] == ["MSH", "PID", "ORC", "OBR"]
    assert (message.header.raw(1), message.header.raw(2), message.header.text(9, 2)) == ("|", "^~\\&", "O01")
    assert (pid.text(3), pid.text(3, 4), pid.text(3, 4, 2), pid.text(3, 5)) == ("123", "HOSP", "1.2.3", "MR")
    assert [(one[0][0], one[3][0]) for one in pid.repetitions(3)] == [("123", "HOSP"), ("456", "REG")]
    assert (pid.text(5), pid.text(5, 2), pid.text(99), pid.text(3, 99)) == ("Müller", "J^o", "", "")
    assert message.first("OBX") is None


def test_what_the_sender_deletes_is_empty_and_can_be_told() -> None:
    (obr,) = parse(ORDER).all("OBR")
    assert obr.text(14) == ""
    assert obr.raw(14) == '""'
    assert obr.repetitions(14) == []


def test_the_delimiters_are_those_of_the_message() -> None:
    message = parse(b"MSH$*@!%$RIS$HOSP\rPID$1$$1*!S!*2%3@4$a!F!b|c\r")
    (pid,) = message.all("PID")
    assert pid.repetitions(3) == [(("1",), ("*",), ("2", "3")), (("4",),)]
    assert pid.text(4) == "a$b|c"


@pytest.mark.parametrize(
    ("declared", "codec", "text"),
    [
        ("8859/1", "latin-1", "Müller"),
        ("8859/5", "iso8859-5", "Иванов"),
        ("UNICODE UTF-8", "utf-8", "山田"),
        ("ASCII~ISO IR87", "iso2022_jp", "山田"),
        ("GB 18030-2000", "gb18030", "张"),
        ("KS X 1001", "euc_kr", "김"),
        ("BIG-5", "big5", "功"),
        ("", "utf-8", "Müller"),
        ("", "latin-1", "Müller"),
    ],
)
def test_text_is_read_in_the_character_set_that_is_declared(declared: str, codec: str, text: str) -> None:
    message = parse(f"MSH|^~\\&|A{'|' * 15}{declared}\rNTE|1||{text}\r".encode(codec))
    (nte,) = message.all("NTE")
    assert nte.text(3) == text


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_segments_may_end_with_line_feeds(end: bytes) -> None:
    assert len(parse(ORDER.replace(b"\r", end)).segments) == 4


@pytest.mark.parametrize("last", [b"\r", b"\r\n", b"\n\r", b""])
def test_lines_may_end_otherwise_than_the_message(last: bytes) -> None:
    assert len(parse(ORDER.rstrip(b"\r").replace(b"\r", b"\n") + last).segments) == 4


def test_a_line_feed_in_a_value_begins_no_segment() -> None:
    message = parse(b"MSH|^~\\&|A\rNTE|1||one\nPID|1||999\r")
    assert message.first("PID") is None
    assert message.all("NTE")[0].text(3) == "one\nPID"


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"", Condition.SEGMENT_SEQUENCE),
        (b"GET / HTTP/1.1\r\n", Condition.SEGMENT_SEQUENCE),
        (b"MSH", Condition.DATA_TYPE),
        (b"MSH|^~\\", Condition.DATA_TYPE),
        (b"MSH|^^\\&|A\r", Condition.DATA_TYPE),
        (b"MSH|^~A&|A\r", Condition.DATA_TYPE),
        (b"MSH|^~\\&|A\rnoise\r", Condition.SEGMENT_SEQUENCE),
        (b"MSH|^~\\&|A\rMSH|^~\\&|A\r", Condition.SEGMENT_SEQUENCE),
        (b"MSH|^~\\&|A" + b"|" * 15 + b"KLINGON\r", Condition.TABLE_VALUE_NOT_FOUND),
        (b"MSH|^~\\&|A" + b"|" * 15 + b"ASCII\rNTE|1||\xfc\r", Condition.DATA_TYPE),
        (b"MSH|^~\\&|A\r" + b"NTE|1\r" * 10_001, Condition.SEGMENT_SEQUENCE),
        (b"MSH|^~\\&|A\rNTE" + b"|" * 2000 + b"\r", Condition.SEGMENT_SEQUENCE),
    ],
)
def test_what_is_no_message_is_refused_without_its_content(data: bytes, condition: Condition) -> None:
    with pytest.raises(BadMessage) as caught:
        parse(data)
    assert caught.value.condition is condition
    assert "KLINGON" not in str(caught.value)
    assert "noise" not in str(caught.value)


def test_a_field_of_a_million_parts_costs_little() -> None:
    (nte,) = parse(b"MSH|^~\\&|A\rNTE|1||" + b"^&~" * 300_000 + b"\r").all("NTE")
    begin = time.process_time()
    assert nte.text(3, 900) == ""
    with pytest.raises(BadMessage, match="NTE-3"):
        nte.repetitions(3)
    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e" + "\\f"),
        (r"one\.br\two\.sp2\three", "one\ntwo\nthree"),
        (r"\H\bold\N\ \.in+4\x", "bold x"),
        (r"\X0D0A\x", "\r\nx"),
        (r"\XC3BC\ber", "über"),
        ("C:\\dir", "C:\\dir"),
        ("a\\", "a\\"),
        (r"\Q\x", r"\Q\x"),
        (r"\\F\x", r"\|x"),
    ],
)
def test_escape_sequences(raw: str, text: str) -> None:
    assert unescape(raw) == text


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(TEXT)
@settings(max_examples=100, deadline=None)
def test_no_text_changes_the_structure(text: str) -> None:
    """Two parsers and ours find the same fields, whatever a free text holds."""
    data = encode([MSH, ("PID", "1", "", [("123", "", "", ("HOSP", "1.2", "ISO")), "4"]), ("NTE", "1", "", text, "x")])
    assert not {0x0B, 0x1C} & set(data)
    message = parse(data)
    assert [one.name for one in message.segments] == ["MSH", "PID", "NTE"]
    line_ends = text.replace("\r\n", "\n").replace("\r", "\n")
    assert (message.segments[2].text(3), message.segments[2].text(4)) == (line_ends.strip(), "x")
    theirs = other.parse(data.decode())
    assert [str(one[0]) for one in theirs] == ["MSH", "PID", "NTE"]
    assert str(theirs.segment("NTE")[4]) == "x"


@given(TEXT, st.sampled_from([USUAL, Syntax("$", "*", "@", "!", "%")]))
@settings(max_examples=100, deadline=None)
def test_what_is_escaped_is_unescaped_to_the_same(text: str, syntax: Syntax) -> None:
    assert unescape(escape(text, syntax), syntax) == text.replace("\r\n", "\n").replace("\r", "\n")


def test_another_parser_reads_what_we_write() -> None:
    data = encode([MSH, ("PID", "1", "", ("123", "", "", ("HOSP", "1.2.3", "ISO")), "", ("Müller", "J^o|r"))])
    theirs = parse_message(data.decode(), find_groups=False)
    assert theirs.pid.pid_3.cx_4.hd_2.to_er7() == "1.2.3"
    assert theirs.pid.pid_5.pid_5_2.to_er7() == r"J\S\o\F\r"
    assert theirs.msh.msh_18.to_er7() == "UNICODE UTF-8"


def test_a_text_outside_the_character_set_is_refused() -> None:
    with pytest.raises(BadMessage, match="8859/1"):
        encode([MSH, ("NTE", "1", "", "山")], "8859/1")
    with pytest.raises(BadMessage, match="ASCII"):
        encode([MSH], "EBCDIC")
    with pytest.raises(BadMessage, match="MSH first"):
        encode([("PID", "1")])
