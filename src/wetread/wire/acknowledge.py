"""Acknowledgements of HL7 v2: written for what came, read for what was sent.

References
----------
HL7 v2.5.1 Chapter 2: Sections 2.9.2 and 2.9.3 (original and enhanced mode), 2.13 (ACK), 2.15.5 (ERR), 2.15.8 (MSA),
Tables 0008 (acknowledgment code), 0155 (conditions) and 0357 (error conditions).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from wetread.wire.hl7 import UTF_8, BadMessage, Condition, Message, Segment, Value, encode, parse


class Ack(StrEnum):
    """Whether a message was taken: HL7 Table 0008."""

    AA = "AA"  # it is durable
    AE = "AE"  # it was understood, and is wrong
    AR = "AR"  # it is not for us, or cannot be taken now


#: In enhanced mode the receipt is acknowledged by the same words for safe storage.
COMMIT = {Ack.AA: "CA", Ack.AE: "CE", Ack.AR: "CR"}

_CHARACTER_SET = 18  # the field of MSH
_NOT_TAKEN = frozenset(
    (
        Condition.UNSUPPORTED_MESSAGE_TYPE,
        Condition.UNSUPPORTED_EVENT_CODE,
        Condition.UNSUPPORTED_PROCESSING_ID,
        Condition.UNSUPPORTED_VERSION_ID,
        Condition.APPLICATION_INTERNAL_ERROR,
    )
)
_TEXTS = {
    Condition.SEGMENT_SEQUENCE: "Segment sequence error",
    Condition.REQUIRED_FIELD_MISSING: "Required field missing",
    Condition.DATA_TYPE: "Data type error",
    Condition.TABLE_VALUE_NOT_FOUND: "Table value not found",
    Condition.UNSUPPORTED_MESSAGE_TYPE: "Unsupported message type",
    Condition.UNSUPPORTED_EVENT_CODE: "Unsupported event code",
    Condition.UNSUPPORTED_PROCESSING_ID: "Unsupported processing id",
    Condition.UNSUPPORTED_VERSION_ID: "Unsupported version id",
    Condition.UNKNOWN_KEY_IDENTIFIER: "Unknown key identifier",
    Condition.DUPLICATE_KEY_IDENTIFIER: "Duplicate key identifier",
    Condition.APPLICATION_RECORD_LOCKED: "Application record locked",
    Condition.APPLICATION_INTERNAL_ERROR: "Application internal error",
}


def code_for(error: BadMessage) -> Ack:
    """Return AR for what is not taken because of its type, version or processing id, or because of us; else AE."""
    return Ack.AR if error.condition in _NOT_TAKEN else Ack.AE


def header_of(data: bytes) -> Message | None:
    """Return a message that holds the MSH of another alone, which may be broken behind it; None if MSH is.

    A character set that is unknown, or not that of the bytes, is left out: its sender is to learn which message it was.
    """
    ends = [at for at in (data.find(b"\r"), data.find(b"\n")) if at >= 0]
    head = data[: min(ends, default=len(data))]
    try:
        return parse(head)
    except BadMessage as error:
        if error.where != ("MSH", 1, _CHARACTER_SET):
            return None
    fields = head.split(head[3:4])
    return header_of(head[3:4].join((*fields[: _CHARACTER_SET - 1], b"", *fields[_CHARACTER_SET:])))


def answers(message: Message | None, code: Ack, error: BadMessage | None = None) -> list[bytes]:
    """Return the acknowledgements that the sender of a message wants, in their order.

    In original mode that is one, and none of an acknowledgement: two such systems would never end.  With MSH-15 or
    MSH-16, enhanced mode, it is the accept acknowledgement and the application acknowledgement, each if its field
    asks for it.

    Parameters
    ----------
    message
        It, or its MSH alone; None if not even that could be read.
    error
        What is wrong with it.
    """
    if message is None:
        return [_answer(None, code, error)]
    accept, application = (message.header.text(number).upper() for number in (15, 16))
    if not accept and not application:
        return [] if message.header.text(9) == "ACK" else [_answer(message, code, error)]
    wanted = {"": False, "NE": False, "SU": code is Ack.AA, "ER": code is not Ack.AA}  # else always
    made = [_answer(message, COMMIT[code], error)] if wanted.get(accept, True) else []
    return made + ([_answer(message, code, error)] if wanted.get(application, True) else [])


def _answer(message: Message | None, code: str, error: BadMessage | None) -> bytes:
    msh = message.header if message is not None else Segment("MSH", ())
    version = msh.text(12) or "2.5.1"
    event = msh.text(9, 2)
    kind = ("ACK", event, "ACK") if event else "ACK"
    at = datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")
    both = (_whole(msh, 5), _whole(msh, 6), _whole(msh, 3), _whole(msh, 4))  # receiver and sender change places
    header: list[Value] = ["MSH", *both, at, "", kind, uuid.uuid4().hex[:20], msh.text(11) or "P", version]
    told = str(error) if error is not None else ""
    segments: list[list[Value]] = [header, ["MSA", code, msh.text(10), told]]
    if error is not None:
        segments.append(_err(error, told, old=version in ("2.1", "2.2", "2.3", "2.3.1", "2.4")))
    charset = msh.text(18).upper() or "ASCII"
    try:
        return encode(segments, charset)
    except BadMessage:  # what they call themselves does not fit into the set that they declare
        return encode(segments, UTF_8)


def _whole(segment: Segment, number: int) -> Value:
    """A field of type HD as it came; a hostile one is left out."""
    try:
        found = segment.repetitions(number)
    except BadMessage:
        return ""
    return tuple(one[0] for one in found[0][:3]) if found else ""


def _err(error: BadMessage, told: str, old: bool) -> list[Value]:
    where = tuple(map(str, error.where))
    text = _TEXTS[error.condition]
    if old:  # ELD: segment, sequence, field, code
        place = (*where[:3], *("",) * (3 - len(where[:3])))
        return ["ERR", (*place, (str(int(error.condition)), text, "HL70357"))]
    return ["ERR", "", where, (str(int(error.condition)), text, "HL70357"), "E", "", "", "", told]


def acknowledgement(data: bytes) -> tuple[str, str, Mapping[str, str]]:
    """Read an acknowledgement: MSA-1, MSA-2, and for people the location, code and text of what is wrong.

    Raises
    ------
    BadMessage
        It is none.
    """
    message = parse(data)
    msa = message.first("MSA")
    if msa is None:
        raise BadMessage(Condition.SEGMENT_SEQUENCE, "expected an acknowledgement with MSA, got none", "MSA", 1)
    err = message.first("ERR")
    told = {"code": err.text(3), "where": err.text(2), "field": err.text(2, 3)} if err is not None else {}
    return msa.text(1).upper(), msa.text(2), told
