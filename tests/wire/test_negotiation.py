"""Asynchronous operations and extended negotiation, with pynetdicom on the other side."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
)

from tests.wire.objects import CR, film
from tests.wire.test_listener import Bench, read_pdu, status_of, store_pdus
from wetread.errors import PeerUnreachable
from wetread.settings import Destination
from wetread.wire import associate, command
from wetread.wire.associate import WINDOW, Associate, Context
from wetread.wire.command import STORED, Command, Field
from wetread.wire.dimse import send
from wetread.wire.part10 import EXPLICIT_LITTLE, meta
from wetread.wire.transport import Pdu

CONTEXT = Context(1, CR, (EXPLICIT_LITTLE,))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.listener.stop(0.5)


def test_the_items_are_these_bytes() -> None:
    made = associate.encode(Pdu.ASSOCIATE_RQ, Associate("A", "B", (CONTEXT,), 4096, window=(5, 1)))
    assert b"\x53\x00\x00\x04\x00\x05\x00\x01" in made  # five invoked, one performed
    assert associate.decode(made[6:]).window == (5, 1)
    made = associate.encode(Pdu.ASSOCIATE_AC, Associate("A", "B", (CONTEXT,), 4096, extended=("1.2.3",)))
    assert b"\x56\x00\x00\x0d\x00\x051.2.3\x02\x00\x03\x00\x00\x00" in made  # level 2, signatures kept, no coercion
    assert associate.decode(made[6:]).extended == ("1.2.3",)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [(None, None), ((1, 1), (1, 1)), ((4, 4), (4, 1)), ((99, 0), (WINDOW, 1)), ((0, 0), (WINDOW, 1))],
)
def test_the_window_is_answered(asked: tuple[int, int] | None, answered: tuple[int, int] | None) -> None:
    made, _ = associate.answer(Associate("A", "B", (CONTEXT,), 4096, window=asked), 4096)
    assert made.window == answered


def test_a_peer_is_told_what_we_negotiate(bench: Bench) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 3, 2
    more = SOPClassExtendedNegotiation()
    more.sop_class_uid, more.service_class_application_information = CR, b"\x03\x00\x00\x00\x01\x00"
    ae = AE("TEST")
    ae.add_requested_context(CR, EXPLICIT_LITTLE)
    told = ae.associate("127.0.0.1", bench.listener.port, ae_title="WETREAD", ext_neg=[window, more])
    assert told.is_established
    assert told.acceptor.asynchronous_operations == (3, 1)
    assert told.acceptor.sop_class_extended == {CR: b"\x02\x00\x03\x00\x00\x00"}
    told.release()


def test_requests_that_do_not_wait_are_all_answered(bench: Bench) -> None:
    with bench.connect() as sock:
        sock.sendall(associate.encode(Pdu.ASSOCIATE_RQ, Associate("WETREAD", "T", (CONTEXT,), 16384, window=(8, 1))))
        kind, body = read_pdu(sock)
        assert kind == Pdu.ASSOCIATE_AC
        assert associate.decode(body).window == (8, 1)
        items = [film(instance=f"1.2.3.1.{n}") for n in range(8)]
        offset = meta(items[0]).offset
        sock.sendall(b"".join(store_pdus(item[offset:], instance=f"1.2.3.1.{n}") for n, item in enumerate(items)))
        assert [status_of(sock) for _ in items] == [0] * 8
    assert [one.sop_instance_uid for one in bench.objects] == [f"1.2.3.1.{n}" for n in range(8)]


@contextmanager
def archive(window: tuple[int, int] | None, seen: dict[str, Any], third: int = 0xA700) -> Iterator[Destination]:
    """A pynetdicom SCP of storage, which may negotiate a window and answers every third object otherwise."""

    def keep(event: Any) -> int:
        seen.setdefault("instances", []).append(event.request.AffectedSOPInstanceUID)
        return third if len(seen["instances"]) % 3 == 0 else 0x0000

    def negotiate(event: Any) -> tuple[int, int]:
        seen["asked"] = (event.nr_invoked, event.nr_performed)
        return window or (1, 1)

    ae = AE("PACS")
    ae.add_supported_context(CR, EXPLICIT_LITTLE)
    handlers: list[Any] = [(evt.EVT_C_STORE, keep)]
    handlers += [(evt.EVT_ASYNC_OPS, negotiate)] if window else []
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield Destination("PACS", "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


@pytest.mark.parametrize("window", [None, (1, 1), (4, 1), (0, 0)])
def test_an_archive_gets_every_object_once(window: tuple[int, int] | None) -> None:
    seen: dict[str, Any] = {}
    items = [film(instance=f"1.2.3.1.{n}") for n in range(20)]
    told: dict[int, int] = {}
    with archive(window, seen) as destination:
        statuses = send(destination, items, on_status=told.__setitem__)
    assert seen["instances"] == [f"1.2.3.1.{n}" for n in range(20)]
    assert statuses == [0xA700 if n % 3 == 2 else 0 for n in range(20)]
    assert told == dict(enumerate(statuses))
    if window:
        assert seen["asked"] == (WINDOW, 1)


def test_what_an_archive_warns_of_is_stored() -> None:
    """PS3.7 Annex C: whatever begins with B is a warning."""
    with archive(None, {}, 0xB123) as destination:
        statuses = send(destination, [film(instance=f"1.2.3.1.{n}") for n in range(3)])
    assert statuses == [0, 0, 0xB123]
    assert set(statuses) <= STORED


def test_requests_under_way_are_as_many_as_allowed() -> None:
    """A peer that answers only when a fourth request is there, in another order, and one that answers nonsense."""
    for nonsense in (False, True):
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=serve, args=(server, nonsense))
            thread.start()
            destination = Destination("PACS", "127.0.0.1", server.getsockname()[1])
            items = [film(instance=f"1.2.3.1.{n}") for n in range(4)]
            if nonsense:
                with pytest.raises(PeerUnreachable, match="another message"):
                    send(destination, items, timeout_s=5)
            else:
                assert send(destination, items, timeout_s=5) == [1, 2, 3, 4]  # each its own Message ID
            thread.join()


def serve(server: socket.socket, nonsense: bool) -> None:
    sock, _ = server.accept()
    with sock:
        _, body = read_pdu(sock)
        asked = associate.decode(body)
        granted = tuple(Context(one.id, one.abstract, one.transfers[:1]) for one in asked.contexts[:1])
        sock.sendall(associate.encode(Pdu.ASSOCIATE_AC, Associate("PACS", "T", granted, 1 << 17, window=(4, 1))))
        commands: list[Command] = []
        ended = 0
        while ended < 4:
            _, body = read_pdu(sock)
            if body[5] & 1:
                commands.append(command.decode(body[6:]))
            ended += body[5] == 2
        for one in reversed(commands):
            number = one.message_id + (100 if nonsense else 0)
            answer = Command(Field.C_STORE_RQ | 0x8000, number, one.sop_class_uid, status=number)
            with suppress(OSError):
                sock.sendall(b"".join(command.pdus(granted[0], answer, memoryview(b""), 16384)))
        with suppress(OSError):  # it may be gone, with our answers unread
            read_pdu(sock)


PRIVATE = "1.3.12.2.1107.5.9.1"


@pytest.mark.parametrize(("service", "accepted"), [("1.2.840.10008.4.2", True), ("1.2.840.10008.5.1.4.41", False)])
def test_a_private_class_is_kept_if_its_sender_says_that_it_is_stored(
    bench: Bench, service: str, accepted: bool
) -> None:
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = PRIVATE, service
    ae = AE("TEST")
    ae.add_requested_context(PRIVATE, EXPLICIT_LITTLE)
    ae.add_requested_context(CR, EXPLICIT_LITTLE)
    told = ae.associate("127.0.0.1", bench.listener.port, ae_title="WETREAD", ext_neg=[common])
    assert told.is_established
    assert (PRIVATE in [str(one.abstract_syntax) for one in told.accepted_contexts]) == accepted
    if accepted:
        assert told.send_c_store(dcmread(io.BytesIO(film(sop_class=PRIVATE)), force=True)).Status == 0
        assert [one.sop_class_uid for one in bench.objects] == [PRIVATE]
    told.release()
