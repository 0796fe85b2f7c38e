"""PDUs on a socket: every length is checked before it is read, every wait has an end.

References
----------
PS3.8 Section 9.3 (structure of PDUs), 9.1.4 and 9.1.5 (transport connection, ARTIM timer), 9.3.8 (abort reasons).
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from enum import IntEnum

from wetread.errors import PeerUnreachable, WireError
from wetread.wire.tls import reason

HEAD = 6  # type, reserved, length
QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # of Linux alone
BUFFER_BYTES = 1 << 16  # of an association; a longer PDU makes it grow

#: A socket that does not wait has nothing now; TLS may have to read before it writes, and the reverse.
NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_EVENTS: dict[type, int] = {ssl.SSLWantReadError: select.POLLIN, ssl.SSLWantWriteError: select.POLLOUT}


class Pdu(IntEnum):
    """PDU types, PS3.8 Section 9.3."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Why the service provider aborts, PS3.8 Table 9-26."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class BadPdu(WireError):
    """The peer broke the protocol; `reason` goes into the A-ABORT."""

    def __init__(self, reason: AbortReason, message: str) -> None:
        self.reason = reason
        super().__init__(message)


def check_head(head: bytes | bytearray | memoryview, limit: int) -> tuple[Pdu, int]:
    """Return type and length of the PDU that begins with these six bytes.

    Raises
    ------
    BadPdu
        The type is unknown, or the length is above the limit.
    """
    kind, _, length = struct.unpack_from(">BBL", head)
    try:
        known = Pdu(kind)
    except ValueError as error:
        hint = "; that is TLS, which one side speaks and the other does not" if kind in (0x15, 0x16) else ""
        raise BadPdu(AbortReason.UNRECOGNIZED_PDU, f"PDU type: expected 1 to 7, got {kind}{hint}") from error
    if length > limit:
        raise BadPdu(AbortReason.INVALID_PARAMETER, f"PDU length: expected at most {limit} bytes, got {length}")
    return known, length


def pdu(kind: Pdu, *parts: bytes | bytearray | memoryview) -> bytes:
    """Return one encoded PDU."""
    return b"".join((struct.pack(">BBL", kind, 0, sum(map(len, parts))), *parts))


def abort(reason: AbortReason) -> bytes:
    """Return an A-ABORT of the service provider, PS3.8 Section 9.3.8."""
    return pdu(Pdu.ABORT, bytes((0, 0, 2, reason)))


class Transport:
    """One connection to a peer.

    Parameters
    ----------
    sock
        A connected socket; this object closes it.
    limit
        Largest PDU that is read, bytes.
    """

    def __init__(self, sock: socket.socket, limit: int) -> None:
        self._socket = sock
        self._limit = limit
        self._buffer = bytearray(BUFFER_BYTES)
        self._begin = self._end = 0  # what was received and not read yet lies between
        self.last = time.monotonic()  # when the last byte came, or a PDU was written
        sock.setblocking(False)  # what is there is taken at once; only for what is not do we ask the kernel to wait
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, wait_s: float, body_s: float) -> tuple[Pdu, memoryview]:
        """Read one PDU; its body stays valid until the next call.

        Parameters
        ----------
        wait_s
            How long the peer may be silent before the PDU.
        body_s
            How long the PDU may take from its first to its last byte.

        Raises
        ------
        BadPdu
            Unknown type or a length above the limit; nothing more was read.
        PeerUnreachable
            The peer was silent, slow, or closed the connection.
        """
        self._fill(1, wait_s)
        end = time.monotonic() + body_s
        self._fill(HEAD, body_s)
        kind, length = check_head(self._buffer[self._begin : self._begin + HEAD], self._limit)
        self._fill(HEAD + length, end - time.monotonic())
        body = memoryview(self._buffer)[self._begin + HEAD : self._begin + HEAD + length]
        self._begin += HEAD + length
        return kind, body

    def quiet(self, seconds: float) -> bool:
        """Whether the peer says nothing for so long; returns as soon as it does."""
        pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        if self._end > self._begin or pending:
            return False
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        return not waiting.poll(1e3 * seconds)

    def _fill(self, number: int, seconds: float) -> None:
        """Have so many bytes in the buffer; the head of the next PDU comes along if it has arrived."""
        if self._end - self._begin >= number:
            return
        self._make_room(number)
        end = time.monotonic() + seconds
        view = memoryview(self._buffer)[: self._begin + number + HEAD]
        try:
            while self._end - self._begin < number:
                try:
                    got = self._socket.recv_into(view[self._end :])
                except NOT_NOW as error:
                    self._wait(error, select.POLLIN, end)
                    continue
                if not got:
                    raise PeerUnreachable("the peer closed the connection")
                self._end += got
                self.last = time.monotonic()
                if self._end - self._begin < number and time.monotonic() > end:
                    raise TimeoutError
        except TimeoutError as error:
            raise PeerUnreachable(f"the peer sent nothing complete within {seconds:.1f} s") from error
        except OSError as error:
            raise PeerUnreachable(f"the connection broke: {reason(error)}") from error

    def _make_room(self, number: int) -> None:
        """Let so many bytes, and one head, fit behind `_begin`; a body that was handed out is read no more."""
        room = number + HEAD
        if self._begin + room > len(self._buffer) or self._begin == self._end:
            rest = self._buffer[self._begin : self._end]
            if room > len(self._buffer):
                self._buffer = bytearray(room)
            self._buffer[: len(rest)] = rest
            self._begin, self._end = 0, len(rest)

    def write(self, data: bytes, seconds: float) -> None:
        """Send all of `data`.

        Raises
        ------
        PeerUnreachable
            The peer did not take it in time or closed the connection.
        """
        end = time.monotonic() + seconds
        left = memoryview(data)
        try:
            while left:  # `sendall` of TLS would begin its time anew with each record
                try:
                    left = left[self._socket.send(left) :]
                except NOT_NOW as error:
                    self._wait(error, select.POLLOUT, end)
        except TimeoutError as error:
            raise PeerUnreachable(f"the peer did not take our data within {seconds:.1f} s") from error
        except OSError as error:
            raise PeerUnreachable(f"the connection broke: {reason(error)}") from error
        self.last = time.monotonic()

    def _wait(self, why: OSError, event: int, end: float) -> None:
        """Sleep until the socket may do what it could not do, or raise TimeoutError at `end`."""
        if event == select.POLLIN and QUICKACK is not None:
            # A peer under Nagle's algorithm holds back the rest of its message until what came is acknowledged,
            # and the kernel would do that 40 ms later.  So told it does it now; it forgets afterwards: tcp(7).
            self._socket.setsockopt(socket.IPPROTO_TCP, QUICKACK, 1)
        waiting = select.poll()
        waiting.register(self._socket, _EVENTS.get(type(why), event))
        left = end - time.monotonic()
        if left <= 0 or not waiting.poll(max(1.0, 1e3 * left)):
            raise TimeoutError

    def interrupt(self) -> None:
        """Wake whoever reads or writes, from another thread: the connection is over."""
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # that of TLS would go on in plain text
        except OSError:
            return  # already gone

    def close(self, linger_s: float = 0.0) -> None:
        """Close; with `linger_s` wait so long for the peer to close first (PS3.8 state Sta13)."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._say_goodbye(self._socket, linger_s)
        elif linger_s:
            end = time.monotonic() + linger_s
            try:
                self._socket.shutdown(socket.SHUT_WR)
                while (left := end - time.monotonic()) > 0:
                    self._socket.settimeout(left)
                    if not self._socket.recv(1 << 16):
                        break
            except OSError:
                pass
        self._socket.close()

    @staticmethod
    def _say_goodbye(sock: ssl.SSLSocket, linger_s: float) -> None:
        """Send close_notify, and wait so long for the peer's."""
        try:
            sock.settimeout(linger_s)
            sock.unwrap()
        except OSError:
            return  # without waiting, or the peer is gone
