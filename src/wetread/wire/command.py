"""DIMSE messages: command sets and the fragments that carry them.

References
----------
PS3.7 Sections 6.3.1 (command set), 9.3.1 (C-STORE), 9.3.2 (C-FIND), 9.3.3 (C-GET), 9.3.4 (C-MOVE), 9.3.5 (C-ECHO),
10.3.1 (N-EVENT-REPORT), 10.3.3 (N-SET), 10.3.4 (N-ACTION), 10.3.5 (N-CREATE), Annex C (statuses) and E (elements);
PS3.8 Annex E (message control header); PS3.4 Table B.2-1 (storage statuses).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from wetread.wire.associate import Context
from wetread.wire.transport import AbortReason, BadPdu, Pdu, pdu

MAX_COMMAND_BYTES = 1 << 16
NO_DATA_SET = 0x0101


class Field(IntEnum):
    """Command Field (0000,0100), PS3.7 Annex E.1; a response has bit 15 set."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    C_CANCEL_RQ = 0x0FFF


class Status(IntEnum):
    """Statuses: PS3.7 Annex C, PS3.4 Tables B.2-1 (C-STORE) and C.4-1 (C-FIND), Section F.7.2 (MPPS)."""

    SUCCESS = 0x0000
    INVALID_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    NO_SUCH_INSTANCE = 0x0112
    INVALID_ARGUMENT = 0x0115
    INVALID_INSTANCE = 0x0117
    MISSING_ATTRIBUTE = 0x0120
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    UNRECOGNIZED_OPERATION = 0x0211
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_MISMATCH = 0xA900
    COERCED = 0xB000
    CANNOT_UNDERSTAND = 0xC000
    CANCELED = 0xFE00


#: Statuses of C-FIND, C-GET and C-MOVE with which more is to come (PS3.4 Tables C.4-1 to C.4-3).
PENDING = frozenset((0xFF00, 0xFF01))

#: Requests that name their object as the requested, not the affected one (PS3.7 Annex E.1).
_REQUESTED = frozenset((Field.N_SET_RQ, Field.N_ACTION_RQ))
#: Requests that tell a type, and where.
_TYPES: dict[int, int] = {Field.N_EVENT_REPORT_RQ: 0x1002, Field.N_ACTION_RQ: 0x1008}
#: Requests that tell a priority.
_PRIORITY = frozenset((Field.C_STORE_RQ, Field.C_FIND_RQ, Field.C_GET_RQ, Field.C_MOVE_RQ))

#: Success and warnings of C-STORE, those that Table B.2-1 does not name too (PS3.7 Annex C): the object is stored.
STORED = frozenset((0x0000, *range(0xB000, 0xC000)))


@dataclass(frozen=True, slots=True)
class Command:
    """The elements of a command set that are used."""

    field: int  # Command Field (0000,0100)
    message_id: int = 0  # Message ID, or in a response Message ID Being Responded To
    sop_class_uid: str = ""  # affected or requested
    sop_instance_uid: str = ""
    data_set: bool = False
    status: int = 0
    comment: str = ""  # Error Comment (0000,0902), at most 64 characters
    error_id: int = 0  # Error ID (0000,0903); 0: none
    type_id: int = 0  # Action Type ID (0000,1008) of an N-ACTION, Event Type ID (0000,1002) of an N-EVENT-REPORT
    move_destination: str = ""  # (0000,0600), an AE title
    remaining: int = 0  # sub-operations of a C-GET or C-MOVE: (0000,1020) to (0000,1023)
    completed: int = 0
    failed: int = 0
    warning: int = 0


def encode(command: Command) -> bytes:
    """Return a command set: Implicit VR Little Endian, ascending tags, group length first."""
    response = bool(command.field & 0x8000)
    requested = int(command.field in _REQUESTED)
    elements = [_text(0x0002 + requested, command.sop_class_uid), _number(0x0100, command.field)]
    answers = response or command.field == Field.C_CANCEL_RQ
    elements.append(_number(0x0120 if answers else 0x0110, command.message_id))
    elements.append(_text(0x0600, command.move_destination, pad=b" "))
    if command.field in _PRIORITY:
        elements.append(_number(0x0700, 0))  # Priority: medium
    elements.append(_number(0x0800, 0x0001 if command.data_set else NO_DATA_SET))
    if response:
        elements.append(_number(0x0900, command.status))
        elements.append(_text(0x0902, command.comment[:64], pad=b" "))
        if command.error_id:
            elements.append(_number(0x0903, command.error_id))
    elements.append(_text(0x1000 + requested, command.sop_instance_uid))
    if command.field in _TYPES:
        elements.append(_number(_TYPES[command.field], command.type_id))
    body = b"".join(elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def decode(raw: bytes | bytearray) -> Command:
    """Read a command set.

    Raises
    ------
    BadPdu
        An element ends past the end, or the command field is missing.
    """
    found: dict[int, bytes] = {}
    position = 0
    try:
        while position < len(raw):
            group, element, length = struct.unpack_from("<HHL", raw, position)
            position += 8
            if group != 0 or position + length > len(raw):
                raise BadPdu(AbortReason.INVALID_PARAMETER, "command set: an element is malformed")
            found[element] = bytes(raw[position : position + length])
            position += length
        number = {tag: struct.unpack("<H", value)[0] for tag, value in found.items() if len(value) == 2}
        return Command(
            field=number[0x0100],
            message_id=number.get(0x0110, number.get(0x0120, 0)),
            sop_class_uid=_string(found.get(0x0002, found.get(0x0003, b""))),
            sop_instance_uid=_string(found.get(0x1000, found.get(0x1001, b""))),
            data_set=number.get(0x0800, NO_DATA_SET) != NO_DATA_SET,
            status=number.get(0x0900, 0),
            comment=_string(found.get(0x0902, b"")),
            error_id=number.get(0x0903, 0),
            type_id=number.get(0x1008, number.get(0x1002, 0)),
            remaining=number.get(0x1020, 0),
            completed=number.get(0x1021, 0),
            failed=number.get(0x1022, 0),
            warning=number.get(0x1023, 0),
        )
    except (struct.error, KeyError) as error:
        raise BadPdu(AbortReason.INVALID_PARAMETER, "command set: malformed or without a command field") from error


def _string(raw: bytes) -> str:
    return raw.decode("ascii", "replace").rstrip("\0 ")


def _text(element: int, value: str, pad: bytes = b"\0") -> bytes:
    if not value:
        return b""
    raw = value.encode("ascii", "replace")
    raw += pad * (len(raw) % 2)
    return struct.pack("<HHL", 0, element, len(raw)) + raw


def _number(element: int, value: int) -> bytes:
    return struct.pack("<HHLH", 0, element, 2, value)


@dataclass(slots=True)
class Message:
    """One message as its fragments arrive."""

    command: Command | None = None
    context_id: int = 0
    data: bytearray = field(default_factory=bytearray)
    _head: bytearray = field(default_factory=bytearray)

    def add(self, context_id: int, control: int, fragment: memoryview, limit: int) -> bool:
        """Take one fragment; return whether the message is complete.

        Raises
        ------
        BadPdu
            Fragments of two messages are mixed, or one of the parts is above its limit.
        """
        self.context_id = self.context_id or context_id
        if context_id != self.context_id or bool(control & 1) == (self.command is not None):
            raise BadPdu(AbortReason.UNEXPECTED_PARAMETER, "message: fragments of another message or part came between")
        into, most = (self._head, MAX_COMMAND_BYTES) if control & 1 else (self.data, limit)
        if len(into) + len(fragment) > most:
            raise BadPdu(AbortReason.INVALID_PARAMETER, f"message: expected at most {most} bytes, got more")
        into += fragment
        if not control & 2:
            return False
        if control & 1:
            self.command = decode(self._head)
            return not self.command.data_set
        return True


def fragments(body: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Yield context id, message control header and data of each PDV of a P-DATA-TF.

    Raises
    ------
    BadPdu
        A PDV is shorter than its head or longer than its PDU.
    """
    position = 0
    while position < len(body):
        if position + 6 > len(body):
            raise BadPdu(AbortReason.INVALID_PARAMETER, "PDV: ends inside its head")
        length, context_id, control = struct.unpack_from(">LBB", body, position)
        end = position + 4 + length
        if length < 2 or end > len(body):
            raise BadPdu(AbortReason.INVALID_PARAMETER, f"PDV: a length of {length} bytes does not fit its PDU")
        yield context_id, control, body[position + 6 : end]
        position = end


def pdus(context: Context, command: Command, data: memoryview, max_length: int) -> Iterator[bytes]:
    """Yield the P-DATA-TF PDUs of one message, none longer than `max_length` bytes after its head."""
    room = (max_length - 6) & ~1  # fragments of even length, PS3.8 Annex D.1
    for control, part in ((1, memoryview(encode(command))), (0, data)):
        for start in range(0, len(part), room):
            piece = part[start : start + room]
            last = 2 if start + room >= len(part) else 0
            yield pdu(Pdu.P_DATA_TF, struct.pack(">LBB", len(piece) + 2, context.id, control | last), piece)
