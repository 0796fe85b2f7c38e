"""The side that asks for an association: C-ECHO, C-STORE, C-FIND, C-GET, C-MOVE and N-ACTION as SCU, N-EVENT-REPORT.

References
----------
PS3.8 Sections 7.1 and 9.3 (association), PS3.7 Sections 9.1.1 (C-STORE), 9.1.2 (C-FIND), 9.1.3 (C-GET), 9.1.4 (C-MOVE)
and 9.1.5 (C-ECHO), 9.3.2.3 (C-CANCEL), 10.1.1 (N-EVENT-REPORT), 10.1.4 (N-ACTION), Annexes D.3.3.3
(asynchronous operations) and D.3.3.4 (role selection).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import TracebackType

from wetread.errors import PeerRefused, PeerUnreachable, SettingsError
from wetread.settings import Destination
from wetread.wire.acceptor import LINGER_S, UNLIMITED_BYTES
from wetread.wire.associate import WINDOW, Associate, Context, decode, encode, propose
from wetread.wire.command import PENDING, Command, Field, Message, fragments, pdus
from wetread.wire.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from wetread.wire.tls import connect_context, reason
from wetread.wire.transport import AbortReason, BadPdu, Pdu, Transport, abort, pdu

#: An abstract and a transfer syntax: what one presentation context is about.
Pair = tuple[str, str]

OUR_MAX_PDU = 1 << 16  # answers of a peer are small
_REASONS = {
    (1, 2, 1): "no reason given; does it expect TLS at this port?",
    (1, 1, 2): "application context not supported",
    (1, 1, 3): "calling AE title not recognized",
    (1, 1, 7): "called AE title not recognized",
    (2, 3, 1): "temporary congestion",
    (2, 3, 2): "local limit of associations exceeded",
}


def either(abstract: str) -> list[Pair]:
    """Return what to propose for a service whose data sets may come in either little endian."""
    return [(abstract, EXPLICIT_LITTLE), (abstract, IMPLICIT_LITTLE)]


class Requestor:
    """One association with a peer; use it in a ``with`` statement.

    Parameters
    ----------
    destination
        The peer.
    calling_ae
        Our AE title.
    pairs
        Abstract and transfer syntax of each presentation context to propose, at most 128.
    timeout_s
        How long the peer may take for each answer.
    roles
        SOP classes of which we are the SCP: objects may come to us (C-GET), we report (storage commitment).
    window
        Requests that we would like to have under way at a time (PS3.7 Annex D.3.3.3).

    Raises
    ------
    PeerUnreachable
        No connection, no answer in time, or the peer broke off.
    PeerRefused
        The peer rejected the association.
    SettingsError
        A TLS file of the destination cannot be used, or it is a URL.
    """

    def __init__(
        self,
        destination: Destination,
        calling_ae: str,
        pairs: Sequence[Pair],
        timeout_s: float,
        roles: Sequence[str] = (),
        window: int = 1,
    ) -> None:
        if destination.url:
            raise SettingsError(
                f"destination {destination.ae_title}: is a URL, which has no C-ECHO, C-FIND, C-GET or C-MOVE; "
                "expected AE@host:port"
            )
        self._name = destination.names[0]
        self._timeout_s = timeout_s
        self._message_id = 0
        self._open: set[int] = set()  # C-STOREs that are not answered yet
        context = connect_context(destination)
        try:
            sock = socket.create_connection((destination.host, destination.port), timeout=timeout_s)
        except OSError as error:
            raise PeerUnreachable(f"{self._name}: no connection: {error.strerror or error}") from error
        if context is not None:
            try:  # `wrap_socket` closes the socket if it fails
                sock = context.wrap_socket(sock, server_hostname=destination.tls_name or destination.host)
            except OSError as error:
                hint = "" if isinstance(error, ssl.SSLError) else "; does the peer speak TLS at this port?"
                raise PeerUnreachable(f"{self._name}: TLS handshake: {reason(error)}{hint}") from error
        self._transport = Transport(sock, OUR_MAX_PDU)
        try:
            titles = (destination.ae_title, calling_ae)
            asked = (window, 1) if window > 1 else None
            request = Associate(*titles, propose(pairs), OUR_MAX_PDU, reporters=tuple(roles), window=asked)
            self._associate(request, destination.tls)
        except BaseException:
            self._transport.close()
            raise

    def _associate(self, request: Associate, secure: bool) -> None:
        self._transport.write(encode(Pdu.ASSOCIATE_RQ, request), self._timeout_s)
        try:
            kind, body = self._read()
        except PeerUnreachable as error:
            hint = "" if secure else "; if it expects TLS at this port, the destination needs tls = true"
            raise PeerUnreachable(f"{error}{hint}") from error
        if kind is Pdu.ASSOCIATE_RJ:
            why = _REASONS.get(tuple(body[1:4]), "no reason given")  # type: ignore[arg-type]
            raise PeerRefused(f"{self._name}: association rejected: {why}")
        if kind is not Pdu.ASSOCIATE_AC:
            raise PeerRefused(f"{self._name}: expected an answer to the association, got {kind.name}")
        try:
            accepted = decode(body)
        except BadPdu as error:
            raise PeerRefused(f"{self._name}: {error}") from error
        asked = {context.id: context for context in request.contexts}
        self._granted = {
            (asked[context.id].abstract, asked[context.id].transfers[0]): asked[context.id]
            for context in accepted.contexts
            if context.result == 0 and context.id in asked
        }
        allowed = accepted.window[0] if accepted.window else 1
        #: Requests that may be under way at a time; 0 of the peer means any number.
        self.window = min(allowed or WINDOW, request.window[0]) if request.window else 1
        self.roles = frozenset(accepted.reporters)  # SOP classes of which the peer may send us objects
        self._room = max(128, min(accepted.max_length or UNLIMITED_BYTES, UNLIMITED_BYTES))

    def accepts(self, abstract: str, transfer: str) -> bool:
        """Whether the peer accepted this pair of abstract and transfer syntax."""
        return (abstract, transfer) in self._granted

    def granted(self, pairs: Iterable[Pair], refusal: str) -> Pair:
        """Return the first of some pairs that the peer accepted.

        Raises
        ------
        PeerRefused
            It accepted none; `refusal` is the message.
        """
        for pair in pairs:
            if self.accepts(*pair):
                return pair
        raise PeerRefused(refusal)

    def echo(self, abstract: str, transfer: str) -> int:
        """Send a C-ECHO and return its status."""
        return self._ask(self._granted[abstract, transfer], Command(Field.C_ECHO_RQ, sop_class_uid=abstract))

    def ask_to_store(self, abstract: str, transfer: str, sop_instance_uid: str, data: memoryview) -> int:
        """Send one encoded data set by C-STORE and return its Message ID; `stored` gives the answer."""
        command = Command(Field.C_STORE_RQ, 0, abstract, sop_instance_uid, data_set=True)
        self._send(self._granted[abstract, transfer], command, data)
        self._open.add(self._message_id)
        return self._message_id

    def stored(self) -> tuple[int, int]:
        """Wait for the next answer to a C-STORE; return Message ID and status."""
        command = self._message(OUR_MAX_PDU).command
        assert command is not None
        if command.message_id not in self._open:
            raise PeerUnreachable(f"{self._name}: the answer belongs to another message")
        self._open.remove(command.message_id)
        return command.message_id, command.status

    def action(self, abstract: str, transfer: str, instance: str, type_id: int, data: memoryview) -> int:
        """Send an N-ACTION and return the status of its answer."""
        command = Command(Field.N_ACTION_RQ, 0, abstract, instance, data_set=True, type_id=type_id)
        return self._ask(self._granted[abstract, transfer], command, data)

    def event_report(self, abstract: str, transfer: str, instance: str, type_id: int, data: memoryview) -> int:
        """Send an N-EVENT-REPORT and return the status of its answer."""
        command = Command(Field.N_EVENT_REPORT_RQ, 0, abstract, instance, data_set=True, type_id=type_id)
        return self._ask(self._granted[abstract, transfer], command, data)

    def find(self, abstract: str, transfer: str, identifier: memoryview, take: Callable[[bytes], bool]) -> int:
        """Send a C-FIND and return the status that ended it.

        Parameters
        ----------
        identifier
            An encoded data set.
        take
            Given the encoded data set of each match; when it returns False, the query is canceled.

        Raises
        ------
        PeerUnreachable
            Also when the peer goes on for longer than its time for one answer after it was told to stop.
        """
        context = self._granted[abstract, transfer]
        self._send(context, Command(Field.C_FIND_RQ, 0, abstract, data_set=True), identifier)
        canceled_until = 0.0
        while True:
            answer = self._answer()
            assert answer.command is not None
            if answer.command.status not in PENDING:
                return answer.command.status
            if not canceled_until and not take(bytes(answer.data)):
                self._write(context, Command(Field.C_CANCEL_RQ, self._message_id))
                canceled_until = time.monotonic() + self._timeout_s
            elif canceled_until and time.monotonic() > canceled_until:
                raise PeerUnreachable(f"{self._name}: the peer went on after C-CANCEL")

    def retrieve(
        self,
        pair: Pair,
        request: Command,
        identifier: memoryview,
        store: Callable[[Command, Context, bytearray], int],
        progress: Callable[[Command], None],
        limit: int,
    ) -> Command:
        """Send a C-GET or C-MOVE, take what the peer stores over this association, and return the last answer.

        Parameters
        ----------
        pair
            Abstract and transfer syntax of its context.
        store
            Keeps an encoded object and returns the status of its C-STORE.
        progress
            Given every answer with the numbers of sub-operations.
        limit
            Largest object, bytes.
        """
        self._send(self._granted[pair], request, identifier)
        while True:
            message = self._message(limit)
            command = message.command
            assert command is not None
            if command.field == Field.C_STORE_RQ:
                self._take(message, store)
                continue
            self._check(command)
            if command.status not in PENDING:
                return command
            progress(command)

    def _take(self, message: Message, store: Callable[[Command, Context, bytearray], int]) -> None:
        command = message.command
        assert command is not None
        context = next((one for one in self._granted.values() if one.id == message.context_id), None)
        if context is None or context.abstract != command.sop_class_uid or context.abstract not in self.roles:
            raise PeerUnreachable(f"{self._name}: the peer stores an object on a context that is not for it")
        status = store(command, context, message.data)
        uids = (command.sop_class_uid, command.sop_instance_uid)
        self._write(context, Command(command.field | 0x8000, command.message_id, *uids, status=status))

    def _ask(self, context: Context, command: Command, data: memoryview = memoryview(b"")) -> int:  # noqa: B008
        self._send(context, command, data)
        answer = self._answer()
        assert answer.command is not None
        return answer.command.status

    def _send(self, context: Context, command: Command, data: memoryview) -> None:
        self._message_id = self._message_id % 0xFFFF + 1
        self._write(context, replace(command, message_id=self._message_id), data)

    def _write(self, context: Context, command: Command, data: memoryview = memoryview(b"")) -> None:  # noqa: B008
        for piece in pdus(context, command, data, self._room):
            self._transport.write(piece, self._timeout_s)

    def _answer(self) -> Message:
        """Read one answer to the last request."""
        answer = self._message(OUR_MAX_PDU)
        assert answer.command is not None
        self._check(answer.command)
        return answer

    def _check(self, command: Command) -> None:
        if command.message_id != self._message_id:
            raise PeerUnreachable(f"{self._name}: the answer belongs to another message")

    def _message(self, limit: int) -> Message:
        """Read one message, whose data set has at most `limit` bytes."""
        answer = Message()
        while True:
            kind, body = self._read()
            if kind is not Pdu.P_DATA_TF:
                raise PeerUnreachable(f"{self._name}: the peer ended the association ({kind.name})")
            try:
                complete = any(answer.add(*fragment, limit=limit) for fragment in fragments(body))
            except BadPdu as error:
                raise PeerUnreachable(f"{self._name}: the answer is malformed: {error}") from error
            if complete:
                return answer

    def _read(self) -> tuple[Pdu, memoryview]:
        try:
            return self._transport.read(self._timeout_s, self._timeout_s)
        except BadPdu as error:
            raise PeerUnreachable(f"{self._name}: {error}") from error
        except PeerUnreachable as error:
            raise PeerUnreachable(f"{self._name}: {error}") from error

    def __enter__(self) -> Requestor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._transport.write(pdu(Pdu.RELEASE_RQ, bytes(4)), self._timeout_s)
                self._transport.read(LINGER_S, LINGER_S)
            else:
                self._transport.write(abort(AbortReason.NOT_SPECIFIED), LINGER_S)
        except (PeerUnreachable, BadPdu):
            pass  # what was confirmed stays confirmed; the peer may be gone
        finally:
            self._transport.close()
