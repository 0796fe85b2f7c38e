"""Framing of HL7 messages on a byte stream: the Minimal Lower Layer Protocol.

A block is VT, the message, FS, CR.  A message never holds VT or FS, so a block that does was broken off or forged, and
what belongs to which message cannot be told: the connection ends, nothing is acknowledged, and the sender sends again.

References
----------
HL7 v2.5.1 Implementation Support Guide, Appendix C, Section C.2; HL7 Transport Specification: MLLP, Release 1.
"""

from __future__ import annotations

from collections.abc import Iterator

from wetread.errors import WireError

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
#: Between blocks some senders end a line, or keep the connection alive.
IDLE = b"\r\n \0"
MOST_BYTES = 1 << 20  # of one message


class BadFrame(WireError):
    """The peer does not keep to the framing; end the connection."""


def frame(message: bytes) -> bytes:
    """Return a message as one block.

    Raises
    ------
    BadFrame
        The message holds VT or FS.
    """
    if VT in message or FS in message:
        raise BadFrame("MLLP: expected a message without VT and FS, got one; they must be escaped")
    return b"".join((VT, message, FS, CR))


class Unframe:
    """Takes a stream apart as it arrives, in pieces of any size.

    Parameters
    ----------
    limit
        Largest message, bytes.
    """

    def __init__(self, limit: int = MOST_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()  # of one block, with its VT; empty between blocks
        self._looked = 0  # so far there is no FS in it

    @property
    def begun(self) -> bool:
        """Whether a part of a block is here that is not whole."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; iterate over the messages that are whole with them.

        Raises
        ------
        BadFrame
            While iterating, behind what is whole: something else than a block came, a block is too large, or there is
            VT in it, or FS without CR.
        """
        self._buffer += data
        return iter(self._next, None)

    def _next(self) -> bytes | None:
        buffer = self._buffer
        if buffer[:1] != VT:
            del buffer[: len(buffer) - len(buffer.lstrip(IDLE))]
            self._looked = 0
            if not buffer:
                return None
            if buffer[:1] != VT:
                hint = "; that is TLS, which one side speaks and the other does not" if buffer[0] == 0x16 else ""
                raise BadFrame(f"MLLP: expected VT (0x0B) before a message, got 0x{buffer[0]:02X}{hint}")
        end = buffer.find(FS, self._looked)
        length = (len(buffer) if end < 0 else end) - 1
        if length > self._limit:
            raise BadFrame(f"MLLP: expected at most {self._limit} bytes of one message, got more")
        if buffer.find(VT, max(1, self._looked), end if end >= 0 else len(buffer)) >= 0:
            raise BadFrame("MLLP: expected FS and CR after a message, got the next one")
        if end < 0 or end + 1 == len(buffer):
            self._looked = len(buffer) if end < 0 else end
            return None
        if buffer[end + 1 : end + 2] != CR:
            raise BadFrame(f"MLLP: expected CR after FS, got 0x{buffer[end + 1]:02X}")
        message = bytes(buffer[1:end])
        del buffer[: end + 2]
        self._looked = 0
        return message
