"""A multipart body is taken apart wherever it is cut, and what breaks the syntax is refused."""

from __future__ import annotations

import random

import pytest

from wetread.errors import BadInput
from wetread.wire import multipart
from wetread.wire.multipart import Multipart, Part, TooLarge

BODY = (
    b"preamble\r\n--b1\r\nContent-Type: application/dicom\r\nX: y:z\r\n\r\none\r\n--b\r\n\r\n"
    b"--b1  \r\n\r\ntwo\r\n--b1\r\na: b\r\n\r\n\r\n--b1--\r\n"
)


def taken(body: bytes, cuts: list[int], boundary: str = "b1", most: int = 1000) -> list[Part]:
    parser, begin = Multipart(boundary, most), 0
    found: list[Part] = []
    for end in [*sorted(cuts), len(body)]:
        found += parser.feed(body[begin:end])
        begin = end
    parser.end()
    return found


def fill(parser: Multipart, data: bytes) -> None:
    for _ in range(1000):
        list(parser.feed(data))


@pytest.mark.parametrize("seed", range(60))
def test_wherever_it_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    cuts = [chance.randrange(len(BODY)) for _ in range(chance.choice((0, 1, 5, len(BODY))))]
    if seed == 0:
        cuts = list(range(len(BODY)))
    found = taken(BODY, cuts)
    assert [bytes(part.body) for part in found] == [b"one\r\n--b\r\n", b"two", b""]
    assert [part.headers for part in found] == [{"content-type": "application/dicom", "x": "y:z"}, {}, {"a": "b"}]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the body ends before"),
        (b"--b2\r\n\r\none\r\n--b2--", "begin with the boundary that Content-Type names, the body ends before"),
        (b"--b2\r\n\r\n" + b"x" * 9000, "begin with the boundary that Content-Type names within 8192 bytes"),
        (b"--b1\r\n\r\none", "the body ends before"),
        (b"--b1\r\n\r\none\r\n--b1", "the body ends before"),
        (b"--b1\r\n\r\none\r\n--b1-", "the body ends before"),
        (b"--b1x\r\n\r\none\r\n--b1--", "expected a line end or --"),
        (b"--b1\r\nno header\r\n\r\none\r\n--b1--", "expected headers"),
        (b"--b1--" + b"x" * 2000, "nothing behind the last boundary"),
    ],
)
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_what_breaks_the_syntax(body: bytes, text: str, cut: int) -> None:
    with pytest.raises(BadInput, match=text):
        taken(body, list(range(cut, len(body), cut)))


@pytest.mark.parametrize("boundary", ["", "x" * 129, "a\r\nb", "ü ", "a "])
def test_a_boundary_that_is_none(boundary: str) -> None:
    with pytest.raises(BadInput, match="expected a boundary"):
        Multipart(boundary, 1)


def test_what_is_too_large_is_never_gathered() -> None:
    for begin, filler in ((b"", b"x"), (b"--b1\r\na: ", b"x"), (b"--b1\r\n\r\n", b"x"), (b"--b1\r\n\r\n", b"\r\n--")):
        parser = Multipart("b1", 100_000)
        list(parser.feed(begin))
        with pytest.raises(TooLarge if begin else BadInput):
            fill(parser, filler * 1000)
        assert len(parser._buffer) < 100_000 + 10_000
    exact = b"--b1\r\n\r\n" + b"x" * 1000 + b"\r\n--b1--"
    assert len(taken(exact, [], most=1000)[0].body) == 1000
    with pytest.raises(TooLarge):
        taken(exact, [], most=999)


def test_a_part_without_a_body() -> None:
    assert taken(b"--b1\r\na: b\r\n\r\n--b1\r\n\r\n--b1--", []) == [
        Part({"a": "b"}, bytearray()),
        Part({}, bytearray()),
    ]


def test_a_million_parts_are_not_taken() -> None:
    parser = Multipart("b1", 100)
    with pytest.raises(TooLarge, match="send them in several requests"):
        fill(parser, b"--b1\r\n\r\nx\r\n" * 1000)
    assert parser.count == multipart.MAX_PARTS + 1
