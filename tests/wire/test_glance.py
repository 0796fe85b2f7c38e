"""What is seen of an object on its way in."""

from __future__ import annotations

import struct
import zlib

import pytest

from tests.wire.objects import element
from wetread.wire.glance import Tag, glance, series_of
from wetread.wire.part10 import DEFLATED_LITTLE, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, header, meta
from wetread.wire.queryable import described

ROWS = (
    (0x00080060, "CS", b"CT"),
    (0x00081030, "LO", b"Head trauma"),
    (0x00180015, "CS", b"HEAD"),
    (0x0020000D, "UI", b"1.2.3"),
    (0x0020000E, "UI", b"1.2.3.1"),
    (0x00201208, "IS", b"12"),
    (0x00201209, "IS", b"7"),
    (0x00401003, "SH", b"STAT"),
    (0x7FE00010, "OW", bytes(200)),
)
SEEN = {
    Tag.MODALITY: "CT",
    Tag.STUDY_DESCRIPTION: "Head trauma",
    Tag.BODY_PART: "HEAD",
    Tag.SERIES: "1.2.3.1",
    Tag.STUDY_INSTANCES: "12",
    Tag.SERIES_INSTANCES: "7",
    Tag.REQUESTED_PRIORITY: "STAT",
}


def encoded(order: str = "<", implicit: bool = False) -> bytes:
    return b"".join(element(tag, vr, value, order, implicit) for tag, vr, value in ROWS)


@pytest.mark.parametrize(
    ("syntax", "data"),
    [
        (EXPLICIT_LITTLE, encoded()),
        (IMPLICIT_LITTLE, encoded(implicit=True)),
        (EXPLICIT_BIG, encoded(">")),
    ],
)
def test_every_encoding(syntax: str, data: bytes) -> None:
    assert glance(data, syntax) == SEEN


def test_deflated() -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    assert glance(packer.compress(encoded()) + packer.flush(), DEFLATED_LITTLE) == SEEN


def test_what_is_nested_is_not_the_object_s_own() -> None:
    inner = element(0x00401003, "SH", b"STAT")
    item = element(0xFFFEE000, "", inner, implicit=True)
    assert glance(element(0x00400275, "SQ", item), EXPLICIT_LITTLE) == {}


def test_what_is_broken_is_not_there() -> None:
    assert glance(encoded()[:-150], EXPLICIT_LITTLE) == SEEN  # pixels end early: the reader's business
    assert glance(encoded()[:20], EXPLICIT_LITTLE) == {Tag.MODALITY: "CT"}
    assert glance(b"\xff" * 40, DEFLATED_LITTLE) == {}


@pytest.mark.parametrize(
    ("character_set", "value", "seen"),
    [
        ("", "Schädel".encode("latin_1"), "Schädel"),  # wrong, and usual
        ("ISO_IR 192", "Schädel".encode(), "Schädel"),
        ("ISO_IR 100", "Schädel".encode("latin_1"), "Schädel"),
        ("ISO_IR 144", "Череп".encode("iso8859_5"), "Череп"),
        ("GB18030", "颅脑".encode("gb18030"), "颅脑"),
        ("\\ISO 2022 IR 87", b"\x1b$BF,It\x1b(B", "頭部"),
        ("\\ISO 2022 IR 58", b"CT \x1b$)A\xd0\xd8\xb2\xbf", "CT 胸部"),
        ("ISO_IR 192", b"Sch\xe4del", "Sch?del"),
        ("NO SUCH SET", b"Sch\xe4del", "Sch?del"),
        ("\\ISO 2022 IR 87", b"\x1b$B\xff\xfe", "\x1b$B??"),
    ],
)
def test_letters_are_those_of_the_character_set(character_set: str, value: bytes, seen: str) -> None:
    """What cannot be decoded fits no exact rule."""
    data = element(0x00080005, "CS", character_set.encode()) + element(0x00081030, "LO", value)
    assert glance(data, EXPLICIT_LITTLE)[Tag.STUDY_DESCRIPTION] == seen


def test_a_description_of_64_letters_is_seen_whole() -> None:
    data = element(0x00080005, "CS", b"ISO_IR 192") + element(0x00081030, "LO", ("頭" * 64).encode())
    assert glance(data, EXPLICIT_LITTLE)[Tag.STUDY_DESCRIPTION] == "頭" * 64


@pytest.mark.parametrize(
    ("uid", "series"),
    [("1.2.3", "1.2.3"), ("1." + "2" * 62, "1." + "2" * 62), ("1." + "2" * 63, ""), ("1.2\0003.4", ""), ("", "")],
    ids=["short", "64", "65", "NUL", "none"],
)
def test_a_series_that_no_index_can_hold_is_not_known(uid: str, series: str) -> None:
    assert series_of({Tag.SERIES: uid}) == series
    assert series_of({}) == ""


@pytest.mark.parametrize(("syntax", "order"), [(EXPLICIT_LITTLE, "<"), (EXPLICIT_BIG, ">")])
def test_an_identifier_that_came_as_a_number_is_its_digits(syntax: str, order: str) -> None:
    numbers = element(0x00100020, "US", struct.pack(f"{order}H", 12345), order)  # as text it would be 90, or 09
    assert glance(numbers, syntax) == {Tag.PATIENT: "12345"}
    assert described(header("1.2", "1.3", syntax) + numbers, meta(header("1.2", "1.3", syntax)))["PatientID"] == "12345"
    assert glance(element(0x00100020, "UL", b"no"), EXPLICIT_LITTLE)[Tag.PATIENT] == ""
