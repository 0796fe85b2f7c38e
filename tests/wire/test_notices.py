"""Notices: what an independent peer sends is understood, and what is wrong is answered as the standard says."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.wire.notices import availability, begun, ended, modality
from tests.wire.objects import CR, element
from tests.wire.test_listener import SETTINGS, Bench, read_pdu, status_of
from wetread.errors import BadInput, StoreError
from wetread.settings import Peer
from wetread.wire import associate, command
from wetread.wire.associate import (
    INSTANCE_AVAILABILITY,
    PERFORMED_STEP,
    STORAGE_COMMITMENT,
    VERIFICATION,
    Associate,
    Context,
)
from wetread.wire.command import Command, Field
from wetread.wire.notices import MAX_NOTICE_BYTES, BadNotice, Commitment, Notice, read
from wetread.wire.part10 import DEFLATED_LITTLE, EXPLICIT_LITTLE, IMPLICIT_LITTLE, MAX_ELEMENTS, nested
from wetread.wire.transport import Pdu

HERE = ("127.0.0.1/32",)
INSTANCES = frozenset(f"1.2.3.1.{n}" for n in range(1, 4))


@contextmanager
def bench(may: tuple[str, ...] = ("echo", "store", "notify")) -> Iterator[Bench]:
    made = Bench(replace(SETTINGS, peers=(Peer("*", HERE, may),)))
    try:
        yield made
    finally:
        made.listener.stop(0.5)


def encoded(data: Dataset, implicit: bool = False) -> bytes:
    """A data set as pydicom encodes it."""
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, implicit
    write_dataset(stream, data)
    return stream.getvalue()


# ---- by pynetdicom ----------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
def test_an_availability_notification(syntax: str) -> None:
    with bench() as made:
        with modality(made.listener.port, transfer_syntax=syntax) as peer:
            answer = peer.notify(availability("1.2.3", INSTANCES, gone=["1.2.3.1.9"]), "1.2.9.1")
            assert answer.Status == 0
            assert peer.answers[0].AffectedSOPInstanceUID == "1.2.9.1"
        assert made.notices == [Notice(INSTANCE_AVAILABILITY, "1.2.9.1", True, frozenset(("1.2.3",)), "", INSTANCES)]
        (notice,) = made.notices
        assert isinstance(notice, Notice)
        assert notice.kind == "IAN"
        assert made.ended.wait(2)
        assert made.ends == [(1, True)]


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
def test_a_performed_step(syntax: str) -> None:
    with bench() as made, modality(made.listener.port, transfer_syntax=syntax) as peer:
        assert peer.create(begun("1.2.3"), "1.2.9.2").Status == 0
        answer = peer.change(ended(["1.2.3.1.1", "1.2.3.1.2"], ["1.2.3.1.3"]), "1.2.9.2")
        assert answer.Status == 0
        assert [one.AffectedSOPInstanceUID for one in peer.answers] == ["1.2.9.2"] * 2
        first, second = made.notices
        assert first == Notice(PERFORMED_STEP, "1.2.9.2", True, frozenset(("1.2.3",)), "IN PROGRESS", frozenset())
        assert second == Notice(PERFORMED_STEP, "1.2.9.2", False, frozenset(), "COMPLETED", INSTANCES)


def test_whoever_names_no_instance_is_given_one() -> None:
    with bench() as made, modality(made.listener.port) as peer:
        answer = peer.notify(availability("1.2.3", INSTANCES))
        assert answer.Status == 0
        (given,) = [one.AffectedSOPInstanceUID for one in peer.answers]
        (notice,) = made.notices
        assert isinstance(notice, Notice)
        assert given == notice.sop_instance_uid
        assert given.startswith("2.25.")


def test_what_the_keeper_says_is_answered() -> None:
    with bench() as made, modality(made.listener.port) as peer:
        for made.heard in (0x0111, 0x0112):
            assert peer.create(begun("1.2.3"), "1.2.9.2").Status == made.heard
        made.heard = 0x0110
        answer = peer.change(ended([]), "1.2.9.2")
        assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
        assert answer.ErrorComment == "Performed Procedure Step Object may no longer be updated"


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (begun(), 0x0120),
        (begun("1.2.3", status=""), 0x0120),
        (begun("1.2.3", status="COMPLETED"), 0x0106),
        (begun("1.2.3", status="SCHEDULED"), 0x0106),
    ],
    ids=["no study", "no status", "ended at its beginning", "no such status"],
)
def test_a_step_that_cannot_begin(made: Dataset, status: int, caplog: pytest.LogCaptureFixture) -> None:
    with bench() as one, modality(one.listener.port) as peer:
        answer = peer.create(made, "1.2.9.2")
        assert answer.Status == status
        assert "(00" in answer.ErrorComment
        assert not one.notices
        assert peer.create(begun("1.2.3"), "1.2.9.3").Status == 0  # the association goes on
    assert "CANARY" not in caplog.text.upper()


def test_a_step_does_not_end_in_an_unknown_state() -> None:
    with bench() as made, modality(made.listener.port) as peer:
        assert peer.change(ended([], status="FINISHED"), "1.2.9.2").Status == 0x0106


def test_an_availability_notification_lacks_nothing_and_never_changes() -> None:
    with bench() as made, modality(made.listener.port) as peer:
        without = availability("1.2.3", INSTANCES)
        del without.ReferencedSeriesSequence
        assert peer.notify(without).Status == 0x0120
        assert peer.change(availability("1.2.3", INSTANCES), "1.2.9.1", INSTANCE_AVAILABILITY).Status == 0x0211
        assert not made.notices


def test_a_notice_that_is_not_durable_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Notice) -> int:
        raise StoreError("index: full")

    monkeypatch.setattr(Bench, "_hear", lambda self, notice: fail(notice))
    with bench() as made, modality(made.listener.port) as peer:
        answer = peer.create(begun("1.2.3"), "1.2.9.2")
        assert answer.Status == 0x0213
        assert "again" in answer.ErrorComment


# ---- rights and bounds ------------------------------------------------------------------------


def ask(made: Bench, *contexts: Context) -> tuple[socket.socket, Associate]:
    sock = made.connect()
    sock.sendall(associate.encode(Pdu.ASSOCIATE_RQ, Associate("WETREAD", "CR1", contexts, 16384)))
    kind, body = read_pdu(sock)
    assert kind == Pdu.ASSOCIATE_AC
    return sock, associate.decode(body)


@pytest.mark.parametrize(("may", "result"), [(("echo", "store"), 1), (("notify",), 0)])
@pytest.mark.parametrize("sop_class", [INSTANCE_AVAILABILITY, PERFORMED_STEP])
def test_notices_are_a_right(may: tuple[str, ...], result: int, sop_class: str) -> None:
    with bench(may) as made:
        sock, accepted = ask(made, Context(1, sop_class, (EXPLICIT_LITTLE,)))
        sock.close()
        assert accepted.contexts[0].result == result


def test_a_notice_comes_in_no_syntax_that_must_be_inflated() -> None:
    with bench() as made:
        sock, accepted = ask(made, Context(1, PERFORMED_STEP, (DEFLATED_LITTLE,)))
        sock.close()
        assert accepted.contexts[0].result == associate.TRANSFER_NOT_SUPPORTED


def message(field: int, sop_class: str, data: bytes, instance: str = "1.2.9.2", context: int = 1) -> bytes:
    asked = Command(field, 1, sop_class, instance, data_set=True)
    return b"".join(command.pdus(Context(context, sop_class, ("",)), asked, memoryview(data), 16384))


def test_a_notice_on_another_service_is_no_operation_there() -> None:
    raw = encoded(begun("1.2.3"))
    with bench() as made:
        both = (Context(1, CR, (EXPLICIT_LITTLE,)), Context(3, PERFORMED_STEP, (EXPLICIT_LITTLE,)))
        sock, _ = ask(made, *both)
        with sock:
            sock.sendall(message(Field.N_CREATE_RQ, PERFORMED_STEP, raw))
            assert status_of(sock) == 0x0211
            sock.sendall(message(Field.C_STORE_RQ, CR, raw, context=3))
            assert status_of(sock) == 0x0211
            sock.sendall(message(Field.N_CREATE_RQ, INSTANCE_AVAILABILITY, raw, context=3))
            assert status_of(sock) == 0x0122
            sock.sendall(message(Field.N_CREATE_RQ, PERFORMED_STEP, raw, "1.2.9.x", context=3))
            assert status_of(sock) == 0x0117
            sock.sendall(message(Field.N_CREATE_RQ, PERFORMED_STEP, raw, context=3))
            assert status_of(sock) == 0
        assert not made.objects
        assert len(made.notices) == 1


def test_a_notice_without_an_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with bench() as made:
        sock, _ = ask(made, Context(1, PERFORMED_STEP, (EXPLICIT_LITTLE,)))
        with sock:
            raw = element(0x00100010, "UT", bytes(MAX_NOTICE_BYTES))
            try:
                sock.sendall(message(Field.N_CREATE_RQ, PERFORMED_STEP, raw))
                assert read_pdu(sock)[0] in (Pdu.ABORT, 0)
            except OSError:
                pass  # cut off already
        assert made.ended.wait(5)
        assert made.ends == [(1, False)]
        assert not made.notices


def test_verification_is_not_a_notice() -> None:
    assert associate.right_of(VERIFICATION) == "echo"
    assert associate.right_of("1.2.840.10008.5.1.4.1.2.2.1") == ""


# ---- the walk ---------------------------------------------------------------------------------


def request(sop_class: str = PERFORMED_STEP, field: int = Field.N_CREATE_RQ) -> Command:
    return Command(field, 1, sop_class, "1.2.9.2", data_set=True)


ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HH", 0xFFFE, low) for low in (0xE000, 0xE00D, 0xE0DD))
OPEN = struct.pack("<L", 0xFFFFFFFF)


def test_lengths_may_be_left_open() -> None:
    """The same notice, with delimiters in the place of lengths."""
    one = element(0x00081155, "UI", b"1.2.3.1.1")
    inner = struct.pack("<HH2sH", 0x0008, 0x1199, b"SQ", 0) + OPEN
    inner += ITEM + OPEN + one + ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)
    outer = struct.pack("<HH2sH", 0x0008, 0x1115, b"SQ", 0) + OPEN
    outer += ITEM + OPEN + inner + ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)
    raw = outer + element(0x0020000D, "UI", b"1.2.3")
    notice = read(request(INSTANCE_AVAILABILITY), raw, EXPLICIT_LITTLE)
    assert notice.studies == {"1.2.3"}
    assert notice.instances == frozenset(("1.2.3.1.1",))


@pytest.mark.parametrize("implicit", [False, True])
def test_what_is_cut_off_is_refused(implicit: bool) -> None:
    raw = encoded(availability("1.2.3", INSTANCES), implicit)
    syntax = IMPLICIT_LITTLE if implicit else EXPLICIT_LITTLE
    assert read(request(INSTANCE_AVAILABILITY), raw, syntax).instances == INSTANCES
    for end in range(len(raw)):
        with pytest.raises(BadNotice):
            read(request(INSTANCE_AVAILABILITY), raw[:end], syntax)


def test_depth_has_a_bound() -> None:
    raw = (struct.pack("<HH2sH", 0x0008, 0x1115, b"SQ", 0) + OPEN + ITEM + OPEN) * 10_000
    with pytest.raises(BadInput, match="nested"):
        list(nested(raw, EXPLICIT_LITTLE, ()))


def test_the_number_of_elements_has_a_bound() -> None:
    raw = struct.pack("<HH2sH", 0x0008, 0x0016, b"UI", 0) * (MAX_ELEMENTS + 1)
    with pytest.raises(BadInput, match="elements"):
        list(nested(raw, EXPLICIT_LITTLE, ()))


def test_an_item_does_not_reach_beyond_its_sequence() -> None:
    inner = ITEM + struct.pack("<L", 60) + bytes(8)
    raw = struct.pack("<HH2sHL", 0x0008, 0x1115, b"SQ", 0, len(inner)) + inner + bytes(100)
    with pytest.raises(BadInput, match="what holds it"):
        list(nested(raw, EXPLICIT_LITTLE, (0x00081115,)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_that_were_changed_never_do_more_than_be_refused(data: st.DataObject) -> None:
    raw = bytearray(encoded(begun("1.2.3")))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    said = ""
    try:
        read(request(), bytes(raw), EXPLICIT_LITTLE)
    except BadNotice as error:
        said = f"{error.status:04X} {error}"
    assert said[:2] in ("", "01")
    assert "CANARY" not in said.upper()


# ---- storage commitment -----------------------------------------------------------------------


def report(transaction: str = "2.25.1", kept: Iterable[str] = (), failed: Iterable[tuple[str, int]] = ()) -> bytes:
    made = Dataset()
    if transaction:
        made.TransactionUID = transaction
    made.ReferencedSOPSequence = [named(one) for one in kept]
    made.FailedSOPSequence = [named(one, reason) for one, reason in failed]
    return encoded(made)


def named(instance: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CR, instance
    if reason is not None:
        item.FailureReason = reason
    return item


def test_an_archive_reports_what_it_keeps_and_what_not() -> None:
    with bench() as made:
        context = Context(1, STORAGE_COMMITMENT, (EXPLICIT_LITTLE,))
        wish = Associate("WETREAD", "PACS", (context,), 16384, reporters=(STORAGE_COMMITMENT,))
        with made.connect() as sock:
            sock.sendall(associate.encode(Pdu.ASSOCIATE_RQ, wish))
            accepted = associate.decode(read_pdu(sock)[1])
            assert accepted.contexts[0].result == 0
            assert accepted.reporters == (STORAGE_COMMITMENT,)
            told = report(kept=INSTANCES, failed=[("1.2.3.1.8", 0x0112), ("1.2.3.1.9", 0x0110)])
            sock.sendall(message(Field.N_EVENT_REPORT_RQ, STORAGE_COMMITMENT, told))
            assert status_of(sock) == 0
            for wrong in (report(transaction=""), report(kept=INSTANCES)[:-3]):
                sock.sendall(message(Field.N_EVENT_REPORT_RQ, STORAGE_COMMITMENT, wrong))
                assert status_of(sock) == 0x0115
            for field in (Field.N_CREATE_RQ, Field.N_ACTION_RQ):
                sock.sendall(message(field, STORAGE_COMMITMENT, told))
                assert status_of(sock) == 0x0211
    assert made.notices == [Commitment("2.25.1", INSTANCES, {"1.2.3.1.8": 0x0112, "1.2.3.1.9": 0x0110})]


def test_who_has_no_right_to_commitments_may_not_ask() -> None:
    """Whoever proposes commitment without the role of its SCP wants it from us."""
    with bench() as made:
        sock, accepted = ask(made, Context(1, STORAGE_COMMITMENT, (EXPLICIT_LITTLE,)))
        sock.close()
        assert accepted.contexts[0].result == associate.USER_REJECTION
        assert accepted.reporters == ()
