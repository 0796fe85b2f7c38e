"""Sends HL7 messages by MLLP and hears what becomes of each: one at a time, on one connection as long as it lasts.

Nothing counts as taken but an acknowledgement of this very message.  Where it is missing, half or of another, the
caller sends the same bytes again, with the same MSH-10, by which the peer knows them.

References
----------
HL7 v2.5.1 Sections 2.9.2 (original acknowledgement mode), 2.9.3 (enhanced mode: CA, CE, CR), 2.15.5 (ERR), 2.15.8
(MSA), Tables 0008 (acknowledgement code) and 0357 (error conditions).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from urllib.parse import urlsplit

from wetread.errors import PeerRefused, PeerUnreachable
from wetread.settings import Destination
from wetread.wire.command import Status
from wetread.wire.hl7 import BadMessage, Condition, Message, parse
from wetread.wire.mllp import BadFrame, Unframe, frame
from wetread.wire.tls import client_context, reason

PORT = 2575  # IANA: hl7
MOST_ANSWER = 1 << 20  # bytes
PATIENCE = 6  # timeouts that a whole answer may take
#: The peer will never take such a message, or not for its content.
_UNSUPPORTED = frozenset((200, 201, 202, 203))
#: It may take the same message later.
_LATER = frozenset((Condition.APPLICATION_RECORD_LOCKED, Condition.APPLICATION_INTERNAL_ERROR))


def send(
    destination: Destination,
    items: Sequence[bytes],
    timeout_s: float = 10.0,
    on_status: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Send HL7 messages, each after the acknowledgement of the one before.

    Parameters
    ----------
    destination
        `url` and its TLS files are used.
    items
        Messages; they leave byte for byte.
    timeout_s
        How long the peer may be silent.
    on_status
        Called with index and status of a message as soon as it is acknowledged.

    Returns
    -------
    list of int
        What became of each, in the words of C-STORE: 0x0000 for AA and CA; 0xC000 for AE and CE, and 0x0122 for AR and
        CR where ERR names an unsupported type, event, version or processing ID: it does not want this message; 0xA700
        for other AR and CR, a locked record or an internal error: it may take the same message later.

    Raises
    ------
    BadInput
        An item is no HL7 message.
    PeerUnreachable
        No connection, no answer in time, or the peer broke off.
    PeerRefused
        The answer is no acknowledgement of the message.
    SettingsError
        A TLS file cannot be used.
    """
    controls = [parse(item).header.text(10) for item in items]
    statuses = []
    with Line(destination, timeout_s) as line:
        for index, (item, control) in enumerate(zip(items, controls, strict=True)):
            statuses.append(_acknowledged(line, item, control))
            if on_status is not None:
                on_status(index, statuses[-1])
    return statuses


def _acknowledged(line: Line, item: bytes, control: str) -> int:
    """Send a message and hear what becomes of it; where a connection has something left of before, on a new one."""
    used = line.open
    try:
        return _status(line.name, line.ask(frame(item)), control)
    except PeerRefused:
        if not used:
            raise
    line.close()
    return _status(line.name, line.ask(frame(item)), control)


def echo(destination: Destination, timeout_s: float = 10.0) -> None:
    """Connect, by TLS where the address says so, and hang up: nothing is sent, as HL7 has no question without effect.

    Raises
    ------
    PeerUnreachable, SettingsError
        As `send`.
    """
    with Line(destination, timeout_s) as line:
        line.connect()


class _Ended(Exception):
    """The peer closed the connection before it answered anything."""


class Line:
    """A connection to one peer, made anew where the peer hangs up after each answer, as some do."""

    def __init__(self, destination: Destination, timeout_s: float) -> None:
        self._destination = destination
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._unframe = Unframe(MOST_ANSWER)

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Of the peer, for messages."""
        return self._destination.ae_title

    @property
    def open(self) -> bool:
        """Whether there is a connection."""
        return self._socket is not None

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def connect(self) -> None:
        """Connect.

        Raises
        ------
        PeerUnreachable, SettingsError
            As `send`.
        """
        parts = urlsplit(self._destination.url)
        context = client_context(self._destination) if parts.scheme == "mllps" else None
        assert parts.hostname is not None
        try:
            plain = socket.create_connection((parts.hostname, parts.port or PORT), self._timeout_s)
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                name = self._destination.tls_name or parts.hostname
                self._socket = plain if context is None else context.wrap_socket(plain, server_hostname=name)
            except OSError:
                plain.close()
                raise
        except OSError as error:
            raise self._away(reason(error)) from error
        self._unframe = Unframe(MOST_ANSWER)

    def ask(self, block: bytes) -> bytes:
        """Send one block and return the message of the next; on a connection that was used before, twice if need be.

        Raises
        ------
        PeerUnreachable, PeerRefused, SettingsError
            As `send`.
        """
        if self._socket is not None:
            try:
                return self._exchange(block)
            except _Ended:
                self.close()
        self.connect()
        try:
            return self._exchange(block)
        except _Ended as error:
            raise self._away("it hung up without an answer") from error

    def _exchange(self, block: bytes) -> bytes:
        assert self._socket is not None
        until, begun = time.monotonic() + PATIENCE * self._timeout_s, False
        try:
            self._socket.sendall(block)
            while time.monotonic() < until:
                data = self._socket.recv(1 << 16)
                if not data and not begun:
                    raise _Ended
                if not data:
                    raise self._away("it hung up in the middle of an answer")
                begun = True
                if found := list(self._unframe.feed(data)):
                    return found[0] if len(found) == 1 else self._several()
        except (BrokenPipeError, ConnectionResetError, ConnectionAbortedError) as error:
            if begun:
                raise self._away(reason(error)) from error
            raise _Ended from error
        except BadFrame as error:
            raise PeerRefused(f"{self.name}: {error}") from error
        except OSError as error:
            raise self._away(reason(error)) from error
        raise self._away("its answer is too slow")

    def _several(self) -> bytes:
        raise PeerRefused(f"{self.name}: expected one acknowledgement, got several")

    def _away(self, why: str) -> PeerUnreachable:
        return PeerUnreachable(f"{self.name}: no answer by MLLP: {why}")


def _status(name: str, answer: bytes, control: str) -> int:
    """Return what an acknowledgement says of a message."""
    expected = "an acknowledgement of the message that was sent (MSA-1 one of AA, AE, AR, CA, CE, CR; MSA-2 its MSH-10)"
    try:
        message = parse(answer)
    except BadMessage as error:
        raise PeerRefused(f"{name}: expected {expected}; got no HL7 message") from error
    told = message.first("MSA")
    if told is None or told.text(1) not in _MEANT:
        raise PeerRefused(f"{name}: expected {expected}; got another answer")
    if told.text(2) != control:
        raise PeerRefused(f"{name}: expected {expected}; got one of another message")
    return _MEANT[told.text(1)](_conditions(message))


def _conditions(message: Message) -> set[int]:
    """The error conditions that an answer names: ERR-3, MSA-6 of older versions, or the last component of ERR-1."""
    named = [one.text(3) for one in message.all("ERR")] + [one.text(1, 4) for one in message.all("ERR")]
    named += [one.text(6) for one in message.all("MSA")]
    return {int(one) for one in named if one.isascii() and one.isdigit() and len(one) == 3}


def _erred(conditions: set[int]) -> int:
    return Status.OUT_OF_RESOURCES if conditions & _LATER else Status.CANNOT_UNDERSTAND


def _rejected(conditions: set[int]) -> int:
    return Status.SOP_CLASS_NOT_SUPPORTED if conditions & _UNSUPPORTED else Status.OUT_OF_RESOURCES


_MEANT: dict[str, Callable[[set[int]], int]] = {
    "AA": lambda _: Status.SUCCESS,
    "CA": lambda _: Status.SUCCESS,
    "AE": _erred,
    "CE": _erred,
    "AR": _rejected,
    "CR": _rejected,
}
