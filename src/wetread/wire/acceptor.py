"""The side that grants an association: C-ECHO, C-STORE, notices and commitments as SCP, one thread an association.

References
----------
PS3.8 Section 9.2 (state machine: Sta3, Sta6 and Sta13 of the acceptor), PS3.7 Sections 9.1.1, 9.1.5, 10.1.1,
10.1.3, 10.1.4 and 10.1.5, PS3.4 Annexes A (verification), B (storage), F (performed steps), J (commitment) and R
(availability).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from functools import partial

from wetread.errors import BadInput, PeerUnreachable, StoreError
from wetread.settings import Peer, Settings
from wetread.trace import About, Span, new_trace_id
from wetread.uids import new_uid
from wetread.wire import commitment
from wetread.wire.associate import STORAGE_COMMITMENT, Associate, Context, answer, commitment_rights, encode, right_of
from wetread.wire.command import STORED, Command, Field, Message, Status, fragments, pdus
from wetread.wire.commitment import Reports, Request
from wetread.wire.notices import MAX_NOTICE_BYTES, BadNotice, Commitment, Notice, read_commitment
from wetread.wire.notices import read as read_notice
from wetread.wire.part10 import header, identify
from wetread.wire.transport import AbortReason, BadPdu, Pdu, Transport, abort, pdu

log = logging.getLogger("wetread.wire")

LINGER_S = 2.0  # how long we wait in Sta13 for the peer to close
STAY_S = 0.5  # a peer that says nothing for so long waits for our report on the same association
#: What a status of the keeper means, for whoever reads the peer's log.
COMMENTS = {
    int(Status.COERCED): "first version kept",
    int(Status.OUT_OF_RESOURCES): "no room now; send again later",
    int(Status.INVALID_ARGUMENT): "transaction is unknown, or waits for other instances",
    int(Status.PROCESSING_FAILURE): "Performed Procedure Step Object may no longer be updated",
    int(Status.RESOURCE_LIMITATION): "cannot keep it durably now; send again later",
}
ERROR_IDS = {int(Status.PROCESSING_FAILURE): 0xA710}  # PS3.4 Section F.7.2.2.4
UNLIMITED_BYTES = 1 << 17  # PDU that we send to a peer that names no limit


@dataclass(frozen=True, slots=True)
class Received:
    """One object as it arrived: the encoded bytes unchanged behind our file meta information."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    transfer_syntax: str
    data: bytes  # a DICOM file, PS3.10
    calling_ae: str
    association: int
    called_ae: str = ""


#: Keeps an object and returns a storage status; it may raise `StoreError`, `OSError` (0xA700)
#: or `BadInput` (0xC000).
OnObject = Callable[[Received], int]
#: Told once when an association is over: its number, and whether the peer released it in order.
OnEnd = Callable[[int, bool], None]
#: Told the status of every C-STORE response.
OnStatus = Callable[[int], None]
#: What comes beside objects.
Told = Notice | Commitment | Request
#: Keeps it and returns the status of its N-CREATE, N-SET, N-EVENT-REPORT or N-ACTION; it may raise `StoreError`
#: (0x0213).
OnNotice = Callable[[Told], int]


def ignore(_notice: Told) -> int:
    """Take no notices."""
    return Status.UNRECOGNIZED_OPERATION


@dataclass(frozen=True, slots=True)
class Service:
    """What a listener does with what its associations bring."""

    on_object: OnObject
    on_status: OnStatus
    preferred: Container[str]  # transfer syntaxes to choose where a peer offers several for one class
    on_notice: OnNotice


class Association:
    """One association that was granted.

    Parameters
    ----------
    number
        Tells it from all others of this process.
    transport
        The connection, whose A-ASSOCIATE-RQ was read.
    request
        What the peer asked for.
    peer
        The line of the list that let it in.
    service
        What to do with what it brings.
    address
        Where it called from.
    """

    def __init__(
        self,
        number: int,
        transport: Transport,
        request: Associate,
        peer: Peer,
        settings: Settings,
        service: Service,
        address: str = "",
    ) -> None:
        self.number = number
        self.transport = transport
        self.peer = peer
        self.busy = False  # between a request and its response
        self.trace_id = new_trace_id()
        self._begin_ns = time.time_ns()
        self._objects = self._refused = self._bytes = 0
        self._request = request
        self._settings = settings
        self._service = service
        self._address = address
        self._granted: dict[int, Context] = {}
        self._commitment = commitment_rights(request, peer.may)
        self._reports = Reports()
        room = request.max_length or UNLIMITED_BYTES
        self._room = max(128, min(room, UNLIMITED_BYTES))

    def run(self) -> bool:
        """Serve until the end; return whether the peer released the association in order."""
        try:
            limit = self._settings.max_pdu_bytes
            answered, self._granted = answer(self._request, limit, self._service.preferred, self.peer.may)
            self._write(encode(Pdu.ASSOCIATE_AC, answered))
            return self._serve()
        except BadPdu as error:
            log.warning("association aborted", extra={"association": self.number, "reason": str(error)})
            self._give_up(error.reason)
        except PeerUnreachable as error:
            log.info("association lost", extra={"association": self.number, "reason": str(error)})
        except Exception as error:  # noqa: BLE001 - the SCP's door: one association must not end the service
            log.error("association failed", extra={"association": self.number, "reason": type(error).__name__})
        finally:
            self._reports.end()
        return False

    @property
    def idle_s(self) -> float:
        """Seconds since anything went either way; 0 while an object or a question is dealt with."""
        return 0.0 if self.busy else time.monotonic() - self.transport.last

    def ended(self, released: bool) -> Span | None:
        """Say in the log what came, and return it as a span; None if no object did."""
        if not self._objects:
            return None
        about: About = {"association": self.number, "calling_ae": self._request.calling, "released": released}
        about |= {"objects": self._objects, "refused": self._refused, "bytes": self._bytes}
        log.info("association ended", extra=about)
        return Span("association", self.trace_id, self._begin_ns, time.time_ns(), about, root=True)

    def _serve(self) -> bool:
        message = Message()
        while True:
            kind, body = self.transport.read(self._report(), self._settings.peer_timeout_s)
            if kind is Pdu.P_DATA_TF:
                for context_id, control, fragment in fragments(body):
                    if context_id not in self._granted:
                        raise BadPdu(AbortReason.UNEXPECTED_PARAMETER, "message: on a context that was not accepted")
                    if message.add(context_id, control, fragment, self._most(context_id)):
                        self._handle(message)
                        message = Message()
            elif kind is Pdu.RELEASE_RQ:
                self._write(pdu(Pdu.RELEASE_RP, bytes(4)))
                return True
            elif kind is Pdu.ABORT:
                return False
            else:
                raise BadPdu(AbortReason.UNEXPECTED_PDU, f"expected data, release or abort, got {kind.name}")

    def _report(self) -> float:
        """Report while the peer waits for that; return how long it may still be silent, s."""
        end = time.monotonic() + self._settings.idle_timeout_s
        while self._reports.awaited and time.monotonic() < end and self.transport.quiet(STAY_S):
            found = self._reports.next()
            if found is not None:
                number, context, told = found
                uids = (context.abstract, commitment.WELL_KNOWN_INSTANCE)
                event = Command(Field.N_EVENT_REPORT_RQ, number, *uids, data_set=True, type_id=told.event_type)
                data = memoryview(commitment.encode(told, context.transfers[0]))
                self._write(b"".join(pdus(context, event, data, self._room)))
        return max(0.0, end - time.monotonic())

    def _most(self, context_id: int) -> int:
        """How many bytes a data set on this context may have."""
        notices = self._right(self._granted[context_id]) == "notify"
        return MAX_NOTICE_BYTES if notices else self._settings.max_object_bytes

    def _right(self, context: Context) -> str:
        return right_of(context.abstract, self._request.stored)

    def _handle(self, message: Message) -> None:
        command = message.command
        assert command is not None
        context = self._granted[message.context_id]
        self.busy = True
        right = self._right(context)
        if command.field == Field.C_STORE_RQ and right == "store":
            status, comment = self._store(command, context, message.data)
            self._objects += 1
            self._refused += status not in STORED
            self._bytes += len(message.data)
            self._respond(context, command, status, comment)
            self._service.on_status(status)
        elif command.field == Field.C_ECHO_RQ and right == "echo":
            self._respond(context, command, Status.SUCCESS)
        elif right == "notify" and command.field in self._services(context.abstract):
            named = replace(command, sop_instance_uid=command.sop_instance_uid or new_uid())
            self._respond(context, named, *self._notice(named, context, message.data))
        elif command.field == Field.N_EVENT_REPORT_RQ | 0x8000:
            self._reports.answered(command.message_id, command.status)
        elif command.field != Field.C_CANCEL_RQ and not command.field & 0x8000:
            self._respond(context, command, Status.UNRECOGNIZED_OPERATION)
        self.busy = False

    def _store(self, command: Command, context: Context, data: bytearray) -> tuple[int, str]:
        """Keep one object; every failure becomes a status, so that the peer keeps its copy."""
        if command.sop_class_uid != context.abstract:
            return Status.SOP_CLASS_NOT_SUPPORTED, "SOP class differs from the presentation context"
        (transfer,) = context.transfers
        try:
            found = identify(data, transfer)
            if (found.sop_class_uid, found.sop_instance_uid) != (command.sop_class_uid, command.sop_instance_uid):
                return Status.DATA_SET_MISMATCH, "UIDs of command and data set differ"
            head = header(found.sop_class_uid, found.sop_instance_uid, transfer)
            status = self._service.on_object(
                Received(
                    found.sop_class_uid,
                    found.sop_instance_uid,
                    found.study_uid,
                    transfer,
                    b"".join((head, data)),
                    self._request.calling,
                    self.number,
                    self._request.called,
                )
            )
        except BadInput as error:
            log.warning("object refused", extra={"association": self.number, "reason": str(error)})
            return Status.CANNOT_UNDERSTAND, "data set cannot be understood"
        except (StoreError, OSError, MemoryError) as error:
            log.error("object not stored", extra={"association": self.number, "reason": type(error).__name__})
            return Status.OUT_OF_RESOURCES, "cannot store durably now; send again later"
        except Exception as error:  # noqa: BLE001 - the SCP's door: one object must not end the service
            log.error("object not stored", extra={"association": self.number, "reason": type(error).__name__})
            return Status.OUT_OF_RESOURCES, "internal error; send again later"
        return status, COMMENTS.get(status, "")

    def _services(self, sop_class: str) -> list[Field]:
        """Return the requests that a class of notices may come in, over this association."""
        if sop_class != STORAGE_COMMITMENT:
            return [Field.N_CREATE_RQ, Field.N_SET_RQ]
        fields = {"notify": Field.N_EVENT_REPORT_RQ, "commit": Field.N_ACTION_RQ}
        return [fields[right] for right in self._commitment]

    def _notice(self, command: Command, context: Context, data: bytearray) -> tuple[int, str]:
        """Keep one notice; every failure becomes a status."""
        if command.sop_class_uid != context.abstract:
            return Status.SOP_CLASS_NOT_SUPPORTED, "SOP class differs from the presentation context"
        try:
            status = self._service.on_notice(self._read(command, context, data))
            self._reports.awaited += command.field == Field.N_ACTION_RQ and status == Status.SUCCESS
        except BadNotice as error:
            log.warning("notice refused", extra={"association": self.number, "reason": str(error)})
            return error.status, str(error)
        except StoreError as error:
            log.error("notice not kept", extra={"association": self.number, "reason": str(error)})
            status = Status.RESOURCE_LIMITATION
        except Exception as error:  # noqa: BLE001 - the SCP's door: one notice must not end the service
            log.error("notice not kept", extra={"association": self.number, "reason": type(error).__name__})
            status = Status.RESOURCE_LIMITATION
        return status, COMMENTS.get(status, "")

    def _read(self, command: Command, context: Context, data: bytearray) -> Told:
        (transfer,) = context.transfers
        if command.field == Field.N_EVENT_REPORT_RQ:
            return read_commitment(data, transfer)
        if command.field != Field.N_ACTION_RQ:
            return read_notice(command, data, transfer)
        transaction, instances = commitment.read(command, data, transfer)
        report = partial(self._reports.hand, context, STAY_S + self._settings.peer_timeout_s)
        return Request(transaction, instances, self._request.calling, self._address, report)

    def _respond(self, context: Context, command: Command, status: int, comment: str = "") -> None:
        response = Command(
            command.field | 0x8000,
            command.message_id,
            command.sop_class_uid,
            command.sop_instance_uid,
            status=status,
            comment=comment,
            error_id=ERROR_IDS.get(status, 0),
        )
        data = b"".join(pdus(context, response, memoryview(b""), self._room))
        self._write(data)

    def _write(self, data: bytes) -> None:
        self.transport.write(data, self._settings.peer_timeout_s)

    def _give_up(self, reason: AbortReason) -> None:
        try:
            self._write(abort(reason))
        except PeerUnreachable:
            return
