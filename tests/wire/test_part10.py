"""The UIDs inside an encoded object are found without decoding it, and only there."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.wire.objects import CR, data_set, element, film
from wetread.errors import BadInput
from wetread.wire import part10
from wetread.wire.part10 import Identity

EXPECTED = Identity(CR, "1.2.3.9", "1.2.3")


def test_header_is_these_bytes() -> None:
    head = part10.header("1.2", "3.4.5", "1.2.840.10008.1.2")
    assert head[:132] == bytes(128) + b"DICM"
    assert head[132:144].hex(" ") == (
        "02 00 00 00 "  # (0002,0000) File Meta Information Group Length
        "55 4c 04 00 "  # UL, 4 bytes
        "86 00 00 00"  # 134 bytes follow
    )
    assert head[144:158].hex(" ") == (
        "02 00 01 00 "  # (0002,0001) File Meta Information Version
        "4f 42 00 00 02 00 00 00 "  # OB, reserved, 2 bytes
        "00 01"
    )
    assert head[158:170].hex(" ") == (
        "02 00 02 00 "  # (0002,0002) Media Storage SOP Class UID
        "55 49 04 00 "  # UI, 4 bytes
        "31 2e 32 00"  # "1.2" and a NUL to make it even
    )
    assert len(head) == 144 + 134


def test_header_and_data_set_are_a_file_for_pydicom() -> None:
    read = pydicom.dcmread(io.BytesIO(film()))
    assert read.file_meta.MediaStorageSOPInstanceUID == read.SOPInstanceUID == "1.2.3.1.1"
    assert part10.meta(film()).offset == 144 + read.file_meta.FileMetaInformationGroupLength


NATIVE = element(0x7FE00010, "OW", bytes(2 * part10.BEGINNING))
FRAGMENTS = element(
    0x7FE00010, "OB", element(part10.ITEM, "", bytes(2 * part10.BEGINNING), implicit=True), undefined=True
)
PRIVATE = element(0x00091001, "UN", bytes(2 * part10.BEGINNING))
SEQUENCE = element(0x00091001, "SQ", element(part10.ITEM, "", PRIVATE, implicit=True), undefined=True)
ENDS = element(0xFFFEE0DD, "", b"", implicit=True)
PATIENT_ID = element(0x00100020, "LO", b"CANARY-ID-77")


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (PATIENT_ID + NATIVE, False),
        (PATIENT_ID + FRAGMENTS + ENDS, False),
        (PRIVATE + PATIENT_ID + NATIVE, True),
        (SEQUENCE + ENDS + PATIENT_ID + NATIVE, True),
        (PATIENT_ID + element(0x00091001, "UN", bytes(part10.BEGINNING)), True),  # nothing says that the header ended
    ],
)
def test_of_a_file_so_much_is_read_as_the_header_needs(data: bytes, whole: bool) -> None:
    head = part10.header(CR, "1.2.3.9", part10.EXPLICIT_LITTLE)
    read, about = part10.beginning(io.BytesIO(head + data), 0x00100020)
    assert about == part10.meta(head + data)
    assert len(read) == (len(head + data) if whole else part10.BEGINNING)
    assert read == (head + data)[: len(read)]


def test_a_header_whose_length_lies_is_refused() -> None:
    head = part10.header(CR, "1.2.3.9", part10.EXPLICIT_LITTLE)
    with pytest.raises(BadInput, match="past the end"):
        part10.meta(head[:-2])


@pytest.mark.parametrize(
    ("syntax", "order", "implicit"),
    [
        (part10.IMPLICIT_LITTLE, "<", True),
        (part10.EXPLICIT_LITTLE, "<", False),
        (part10.EXPLICIT_BIG, ">", False),
        ("1.2.840.10008.1.2.4.90", "<", False),
    ],
)
def test_identify_in_each_encoding(syntax: str, order: str, implicit: bool) -> None:
    data = data_set("1.2.3", "1.2.3.9", order=order, implicit=implicit)
    assert part10.identify(data, syntax) == EXPECTED


def test_identify_inflates_no_more_than_it_needs() -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = squeeze.compress(data_set("1.2.3", "1.2.3.9") + bytes(1 << 26)) + squeeze.flush()
    assert part10.identify(bomb, part10.DEFLATED_LITTLE) == EXPECTED
    with pytest.raises(BadInput, match="inflated"):
        part10.identify(b"\xff" * 100, part10.DEFLATED_LITTLE)


def nested(depth: int) -> bytes:
    """A sequence of undefined length around itself `depth` times, with a false Study UID inside."""
    item, item_end, end = (struct.pack("<HHL", 0xFFFE, tag, length) for tag, length in ITEMS)
    inner = element(0x0020000D, "UI", b"9.9.9")
    for _ in range(depth):
        inner = element(0x00081140, "SQ", item + inner + item_end + end, undefined=True)
    return inner


ITEMS = ((0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0))


def test_identify_skips_sequences() -> None:
    whole = data_set("1.2.3", "1.2.3.9")
    cut = whole.index(struct.pack("<HH", 0x0008, 0x0060))
    assert part10.identify(whole[:cut] + nested(10) + whole[cut:], part10.EXPLICIT_LITTLE) == EXPECTED


def test_identify_refuses_deep_nesting() -> None:
    whole = data_set("1.2.3", "1.2.3.9")
    cut = whole.index(struct.pack("<HH", 0x0008, 0x0060))
    with pytest.raises(BadInput, match="nested deeper"):
        part10.identify(whole[:cut] + nested(10_000) + whole[cut:], part10.EXPLICIT_LITTLE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        data_set("1.2.3", "1.2.3.9")[:60],
        data_set("../../etc/passwd", "1.2.3.9"),
        data_set("1.2.3", "1" * 65),
        data_set("1.2.3", "1.2\x003"),
        element(0x00080016, "UI", CR.encode()),
        struct.pack("<HH", 0xFFFE, 0xE00D) + bytes(4),
        struct.pack("<HH2sHL", 8, 5, b"UT", 0, 0xFFFFFFF0),
    ],
    ids=["empty", "cut", "path", "65 characters", "NUL", "only class", "end without begin", "length past end"],
)
def test_identify_refuses(data: bytes) -> None:
    with pytest.raises(BadInput):
        part10.identify(data, part10.EXPLICIT_LITTLE)


@given(st.binary(max_size=300), st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]))
@example(b"\x08\x00\x16\x00UI\xff", "1.2.840.10008.1.2.1")
@settings(max_examples=200, deadline=None)
def test_identify_never_raises_anything_else(data: bytes, syntax: str) -> None:
    with pytest.raises(BadInput):
        part10.identify(data_set("1.2.3", "1.2.3.9")[:20] + data, syntax)
    with pytest.raises(BadInput):
        part10.meta(bytes(128) + b"DICM" + data)


def test_the_walk_through_an_object_is_bounded() -> None:
    """Empty elements cost a sender eight bytes each, and the node a step each."""
    endless = element(0x00080005, "CS", b"") * 1_000_000 + data_set("1.2.3", "1.2.3.9")
    with pytest.raises(BadInput, match="more than 200000 elements"):
        part10.identify(endless, part10.EXPLICIT_LITTLE)


def test_what_is_not_inflated_is_not_kept() -> None:
    """zlib keeps a copy of what it was given and did not use."""
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = machine.compress(data_set("1.2.3", "1.2.3.9")) + machine.compress(bytes(256 << 20)) + machine.flush()
    packed += bytes(64 << 20)
    tracemalloc.start()
    assert part10.identify(packed, part10.DEFLATED_LITTLE) == EXPECTED
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20
