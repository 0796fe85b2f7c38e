"""Association PDUs and command sets against bytes that were decoded by hand."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wetread.wire import associate, command
from wetread.wire.associate import Associate, Context, Reject
from wetread.wire.command import Command, Message
from wetread.wire.transport import AbortReason, BadPdu, Pdu, abort, check_head

ECHO_RQ = bytes.fromhex(
    "00000000 04000000 38000000"  # (0000,0000) group length, 4 bytes: 56
    "00000200 12000000 312e322e3834302e31303030382e312e3100"  # (0000,0002) 1.2.840.10008.1.1
    "00000001 02000000 3000"  # (0000,0100) C-ECHO-RQ
    "00001001 02000000 0700"  # (0000,0110) Message ID 7
    "00000008 02000000 0101"  # (0000,0800) no data set
)

ASSOCIATE_RQ = (
    bytes.fromhex(
        "0001 0000"  # protocol version 1, reserved
        "57455452454144202020202020202020"  # called: WETREAD
        "4d4f44414c4954592020202020202020"  # calling: MODALITY
    )
    + bytes(32)
    + (
        b"\x10\x00\x00\x15"
        b"1.2.840.10008.3.1.1.1"  # application context
        b"\x20\x00\x00\x2e"
        b"\x01\x00\x00\x00"  # presentation context 1
        b"\x30\x00\x00\x11"
        b"1.2.840.10008.1.1"  # abstract syntax: verification
        b"\x40\x00\x00\x11"
        b"1.2.840.10008.1.2"  # transfer syntax: implicit little endian
        b"\x50\x00\x00\x08"
        b"\x51\x00\x00\x04\x00\x00\x40\x00"  # user information: maximum length 16384
    )
)


def test_echo_request_is_these_bytes() -> None:
    made = Command(command.Field.C_ECHO_RQ, 7, "1.2.840.10008.1.1")
    assert command.encode(made) == ECHO_RQ
    assert command.decode(ECHO_RQ) == made


def test_associate_request_is_read() -> None:
    read = associate.decode(ASSOCIATE_RQ)
    assert (read.called, read.calling, read.max_length) == ("WETREAD", "MODALITY", 16384)
    assert read.contexts == (Context(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),)


def test_abort_and_reject_are_these_bytes() -> None:
    assert abort(AbortReason.INVALID_PARAMETER).hex(" ") == "07 00 00 00 00 04 00 00 02 06"
    assert associate.reject(Reject.CALLED_AE).hex(" ") == "03 00 00 00 00 04 00 01 01 07"


@pytest.mark.parametrize("kind", [Pdu.ASSOCIATE_RQ, Pdu.ASSOCIATE_AC])
def test_round_trip(kind: Pdu) -> None:
    made = Associate("CALLED", "CALLING", (Context(1, "1.2.3" if kind is Pdu.ASSOCIATE_RQ else "", ("1.2.4",)),), 4096)
    raw = associate.encode(kind, made)
    assert check_head(raw[:6], 1 << 16) == (kind, len(raw) - 6)
    assert associate.decode(raw[6:]) == made


@pytest.mark.parametrize(
    "contexts",
    [
        tuple(Context(2 * i + 1 & 0xFF, "1.2", ("1.3",)) for i in range(129)),
        (Context(1, "1.2", ("1.3",)), Context(1, "1.2", ("1.3",))),
        (Context(2, "1.2", ("1.3",)),),
    ],
    ids=["129 contexts", "one id twice", "even id"],
)
def test_bad_contexts_are_refused(contexts: tuple[Context, ...]) -> None:
    with pytest.raises(BadPdu):
        associate.decode(associate.encode(Pdu.ASSOCIATE_RQ, Associate("A", "B", contexts, 0))[6:])


def test_names_from_outside_cannot_break_a_log_line() -> None:
    assert associate.title(b"%s\r\nX\xff".ljust(16)) == "%s??X?"


@pytest.mark.parametrize(
    ("abstract", "transfers", "result", "chosen"),
    [
        ("1.2.840.10008.5.1.4.1.1.1", ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2"), 0, "1.2.840.10008.1.2.4.90"),
        ("1.2.840.10008.5.1.4.1.1.1", ("1.3.46.670589.33.1.4.1", "1.2.840.10008.1.2"), 0, "1.2.840.10008.1.2"),
        ("1.2.840.10008.5.1.4.1.1.999", ("1.2.840.10008.1.2.4.203",), 0, "1.2.840.10008.1.2.4.203"),
        ("1.2.840.10008.5.1.4.1.1.1", ("1.2.840.10008.1.2.4.94",), 4, "1.2.840.10008.1.2.4.94"),
        ("1.2.840.10008.5.1.4.1.2.2.1", ("1.2.840.10008.1.2",), 3, "1.2.840.10008.1.2"),
    ],
    ids=["first proposed", "private skipped", "class of tomorrow", "pixels elsewhere", "query"],
)
def test_choice(abstract: str, transfers: tuple[str, ...], result: int, chosen: str) -> None:
    made = associate.choose(Context(1, abstract, transfers))
    assert (made.result, made.transfers) == (result, (chosen,))


def test_what_can_be_decoded_is_chosen_before_the_rest() -> None:
    context = Context(1, "1.2.840.10008.5.1.4.1.1.1", ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.90"))
    assert associate.choose(context, {"1.2.840.10008.1.2.4.90"}).transfers == ("1.2.840.10008.1.2.4.90",)
    assert associate.choose(context).transfers == ("1.2.840.10008.1.2.4.110",)


def test_message_takes_fragments_in_order_only() -> None:
    raw = memoryview(command.encode(Command(1, 1, "1.2", "1.3", data_set=True)))
    message = Message()
    assert not message.add(1, 1, raw[:10], 100)
    assert not message.add(1, 3, raw[10:], 100)
    assert not message.add(1, 0, memoryview(b"ab"), 100)
    with pytest.raises(BadPdu, match="at most 100"):
        message.add(1, 0, memoryview(bytes(99)), 100)
    with pytest.raises(BadPdu, match="another message"):
        message.add(3, 0, memoryview(b"c"), 100)
    assert message.add(1, 2, memoryview(b"c"), 100)
    assert message.data == b"abc"
    with pytest.raises(BadPdu, match="another message"):
        Message().add(1, 0, memoryview(b"data before its command"), 100)


@pytest.mark.parametrize("body", [b"\0\0\0\1\1", b"\0\0\0\1\1\3", struct.pack(">LBB", 100, 1, 3) + b"short"])
def test_a_fragment_must_fit_its_pdu(body: bytes) -> None:
    with pytest.raises(BadPdu, match="PDV"):
        list(command.fragments(memoryview(body)))


def test_pdus_are_no_longer_than_the_peer_takes() -> None:
    context = Context(1, "1.2", ("1.3",))
    made = list(command.pdus(context, Command(1, 1, "1.2", "1.3", data_set=True), memoryview(bytes(1000)), 129))
    assert max(map(len, made)) == 6 + 128
    message = Message()
    for one in made:
        ((context_id, control, fragment),) = command.fragments(memoryview(one)[6:])
        complete = message.add(context_id, control, fragment, 10_000)
    assert complete
    assert message.data == bytes(1000)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_noise_gives_bad_pdu_or_a_value(noise: bytes) -> None:
    for read in (associate.decode, command.decode, lambda raw: list(command.fragments(memoryview(raw)))):
        try:
            read(noise)
        except BadPdu:
            continue
