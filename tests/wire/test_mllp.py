"""MLLP's framing, against an independent client and server where the wire is tested; here by bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wetread.wire.mllp import BadFrame, Unframe, frame


@given(st.lists(st.binary(min_size=1, max_size=30).map(lambda b: b.translate(None, b"\x0b\x1c"))), st.data())
def test_messages_come_through_in_pieces_of_any_size(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"\r\n".join(map(frame, messages))
    unframe = Unframe()
    found: list[bytes] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += unframe.feed(stream[:cut])
        stream = stream[cut:]
    assert found == messages
    assert not unframe.begun


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "VT"),
        (b"\x16\x03\x01", "TLS"),
        (b"\x0bMSH|\x0bMSH|", "the next one"),
        (b"\x0bMSH|\x1cMSH", "CR after FS"),
        (b"\x0b" + b"x" * 101, "at most 100 bytes"),
        (b"\x0b" + b"x" * 101 + b"\x1c\r", "at most 100 bytes"),
    ],
)
def test_broken_framing_ends_it_behind_what_was_whole(stream: bytes, reason: str) -> None:
    found = Unframe(100).feed(frame(b"good") + stream)
    assert next(found) == b"good"
    with pytest.raises(BadFrame, match=reason):
        next(found)


def test_half_a_block_has_begun() -> None:
    unframe = Unframe()
    assert list(unframe.feed(b"\r\n\x0bMSH\x1c")) == []
    assert unframe.begun
    assert list(unframe.feed(b"\r")) == [b"MSH"]
    assert not unframe.begun


def test_a_message_that_would_break_the_framing_is_not_written() -> None:
    with pytest.raises(BadFrame, match="escaped"):
        frame(b"MSH|\x1c\r")
