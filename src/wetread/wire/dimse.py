"""The door to DICOM peers: ask them for a sign of life, send them objects, take theirs and their notices.

References
----------
PS3.4 Annexes A (verification) and B (storage); PS3.8 Section 9.
"""

from __future__ import annotations

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence

from wetread.errors import BadInput, PeerRefused, SettingsError
from wetread.settings import Destination, Peer, Settings
from wetread.trace import Span, following
from wetread.wire.acceptor import LINGER_S, Association, OnEnd, OnNotice, OnObject, OnStatus, Received, Service, ignore
from wetread.wire.access import ANSWERS, RESERVE, Access, Refusal
from wetread.wire.associate import (
    APPLICATION_CONTEXT,
    MAX_CONTEXTS,
    VERIFICATION,
    WINDOW,
    Associate,
    decode,
    reject,
)
from wetread.wire.command import STORED, Status
from wetread.wire.commitment import Request
from wetread.wire.guard import Guard
from wetread.wire.implicit import implicit
from wetread.wire.notices import Commitment, Notice
from wetread.wire.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE, Meta, meta
from wetread.wire.requestor import Pair, Requestor
from wetread.wire.tls import Files, Rotating
from wetread.wire.transport import BadPdu, Transport, abort

__all__ = ["STORED", "Commitment", "Listener", "Notice", "Received", "Refusal", "Request", "Status", "echo", "send"]

log = logging.getLogger("wetread.wire")

SILENT_S = 1.0  # an association on which nothing came for so long holds no stop up


def echo(destination: Destination, calling_ae: str = "WETREAD", timeout_s: float = 10.0) -> float:
    """Send a C-ECHO.

    Returns
    -------
    float
        Time from the connection to the answer, s.

    Raises
    ------
    PeerUnreachable
        No connection, or no answer in time.
    PeerRefused
        The peer rejected the association or answered with a failure status.
    """
    begin = time.monotonic()
    pair = (VERIFICATION, IMPLICIT_LITTLE)
    with Requestor(destination, calling_ae, [pair], timeout_s) as peer:
        status = peer.echo(*peer.granted([pair], f"{destination.ae_title}: does not answer C-ECHO"))
    if status != Status.SUCCESS:
        raise PeerRefused(f"{destination.ae_title}: C-ECHO answered with status 0x{status:04X}")
    return time.monotonic() - begin


def send(
    destination: Destination,
    items: Sequence[bytes],
    calling_ae: str = "WETREAD",
    timeout_s: float = 10.0,
    on_status: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Send DICOM files by C-STORE, each in the transfer syntax it is encoded in, else in the default one.

    Parameters
    ----------
    items
        DICOM files (PS3.10); the data sets leave byte for byte, where the peer takes them so.
    on_status
        Called with index and status of an item when the peer has answered it and the next one is under way.

    Returns
    -------
    list of int
        The status of each item; those in `STORED` are kept by the peer.  0x0122 stands also for
        a class or transfer syntax that the peer did not accept, or that cannot be made of the item.

    Raises
    ------
    BadInput
        An item is no DICOM file.
    PeerUnreachable
        No connection, no answer in time, or the peer broke off; `on_status` was called for
        everything that was answered before.
    PeerRefused
        The peer rejected the association.
    """
    metas = [meta(item) for item in items]
    statuses = [int(Status.SOP_CLASS_NOT_SUPPORTED)] * len(items)
    for indices in _associations(metas):
        pairs = dict.fromkeys(pair for i in indices for pair in _proposed(metas[i]))
        with Requestor(destination, calling_ae, list(pairs), timeout_s, window=WINDOW) as peer:
            for i, status in _stored(peer, indices, metas, items):
                statuses[i] = status
                if on_status is not None:
                    on_status(i, status)
    return statuses


def _proposed(one: Meta) -> tuple[Pair, ...]:
    """As it is encoded; and in the default transfer syntax, which every peer takes (PS3.5 Section 10.1)."""
    own = (one.sop_class_uid, one.transfer_syntax)
    return (own, (one.sop_class_uid, IMPLICIT_LITTLE)) if one.transfer_syntax == EXPLICIT_LITTLE else (own,)


def _stored(
    peer: Requestor, indices: Sequence[int], metas: Sequence[Meta], items: Sequence[bytes]
) -> Iterator[tuple[int, int]]:
    """Yield index and status as answers come; as many requests are under way as the peer allows.

    What makes room for the next request is told once that is under way: who takes it down does so while the peer works.
    """
    asked: dict[int, int] = {}  # Message ID -> index
    for i in indices:
        pair = next((one for one in _proposed(metas[i]) if peer.accepts(*one)), None)
        if pair is None:
            yield i, Status.SOP_CLASS_NOT_SUPPORTED
            continue
        body = memoryview(items[i])[metas[i].offset :]
        if pair[1] != metas[i].transfer_syntax:
            try:
                body = memoryview(implicit(body))
            except BadInput:  # no syntax that the peer takes can hold it
                yield i, Status.SOP_CLASS_NOT_SUPPORTED
                continue
        answer = _answered(peer, asked) if len(asked) >= peer.window else None
        try:
            asked[peer.ask_to_store(*pair, metas[i].sop_instance_uid, body)] = i
        finally:
            if answer is not None:
                yield answer
    while asked:
        yield _answered(peer, asked)


def _answered(peer: Requestor, asked: dict[int, int]) -> tuple[int, int]:
    number, status = peer.stored()
    return asked.pop(number), status


def _associations(metas: Sequence[Meta]) -> Iterator[list[int]]:
    """Split into runs that need at most 128 presentation contexts each."""
    indices: list[int] = []
    pairs: set[Pair] = set()
    for i, one in enumerate(metas):
        if len(pairs.union(_proposed(one))) > MAX_CONTEXTS:
            yield indices
            indices, pairs = [], set()
        indices.append(i)
        pairs.update(_proposed(one))
    if indices:
        yield indices


class Listener:
    """A DICOM node that answers C-ECHO, takes C-STORE of every storage class, and takes notices.

    Parameters
    ----------
    settings
        `ae_title`, `host`, `port`, `peers`, `open_doors`, `tls_*`, `max_pdu_bytes`, `max_object_bytes`,
        `max_associations`, `peer_timeout_s` and `idle_timeout_s` are used.
    on_object
        Keeps an object and returns the status of its C-STORE; runs in the association's thread.
    on_association_end
        Told the number of an association that had begun, and whether it was released in order.
    on_status
        Told the status of every C-STORE response after it was sent.
    preferred
        Transfer syntaxes to choose where a peer offers several for one class.
    on_refusal
        Told why a connection got no association.
    on_notice
        Keeps a notice, or a request for commitment, and returns the status of its answer; without it none is taken.
    on_span
        Told of each association that brought objects, when it is over.
    """

    def __init__(
        self,
        settings: Settings,
        on_object: OnObject,
        on_association_end: OnEnd = lambda number, released: None,
        on_status: OnStatus = lambda status: None,
        preferred: Container[str] = (),
        on_refusal: Callable[[Refusal], None] = lambda refusal: None,
        on_notice: OnNotice = ignore,
        on_span: Callable[[Span], None] = lambda span: None,
    ) -> None:
        self._settings = settings
        self._access = Access(settings)
        self._on_refusal = on_refusal
        self._service = Service(on_object, on_status, preferred, on_notice)
        self._on_span = on_span
        self._on_end = on_association_end
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._active: dict[Association, threading.Thread] = {}
        self._guard: Guard | None = None
        self.port = settings.port

    def start(self) -> None:
        """Bind and accept; afterwards `port` is the port in use.

        Raises
        ------
        SettingsError
            The address cannot be bound, or a TLS file cannot be used.
        """
        files = Files.of(self._settings)
        rotating = Rotating(files) if files else None
        try:
            family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
            listening = socket.create_server(
                (self._settings.host, self._settings.port), family=family, backlog=256, reuse_port=False
            )
        except OSError as error:
            address = f"{self._settings.host}:{self._settings.port}"
            raise SettingsError(f"DICOM port: {address} cannot be bound: {error.strerror}") from error
        self.port = int(listening.getsockname()[1])
        self._guard = Guard(
            listening,
            self._settings.peer_timeout_s,
            self._request,
            self._refused,
            self._access.knows,
            rotating.context if rotating else None,
        )
        self._guard.start()

    def stop(self, grace_s: float = 5.0) -> None:
        """Accept no more, let associations end for `grace_s`, then cut them off; at once those that bring nothing."""
        if self._guard is None:
            return
        self._guard.stop()
        self._guard = None
        end = time.monotonic() + grace_s
        with self._lock:
            active = dict(self._active)
        for association, thread in active.items():
            while thread.is_alive() and time.monotonic() < end and association.idle_s < SILENT_S:
                thread.join(0.05)
            association.transport.interrupt()
            thread.join()

    @property
    def associations(self) -> int:
        """How many associations there are now."""
        return len(self._active)

    def _refused(self, refusal: Refusal, address: str, detail: str = "", calling: str = "") -> None:
        """Tell the log and the metrics; the AE title is what an administrator has to put on the list."""
        about = {"reason": refusal, "address": address, "detail": detail, "calling_ae": calling}
        log.warning("association refused", extra={name: value for name, value in about.items() if value})
        self._on_refusal(refusal)

    def _request(self, sock: socket.socket, address: str, body: memoryview) -> bytes | None:
        """Grant or refuse one A-ASSOCIATE-RQ; runs in the guard's thread and never waits."""
        try:
            request = decode(body)
        except BadPdu as error:
            self._refused(Refusal.MALFORMED, address, str(error))
            return abort(error.reason)
        peer = self._admit(request, address)
        if isinstance(peer, Refusal):
            self._refused(peer, address, calling=request.calling)
            return reject(ANSWERS[peer])
        transport = Transport(sock, self._settings.max_pdu_bytes)
        number = next(self._numbers)
        association = Association(number, transport, request, peer, self._settings, self._service, address)
        thread = threading.Thread(target=self._run, args=(association,), name=f"wetread-dimse-{number}", daemon=True)
        with self._lock:
            thread.start()
            self._active[association] = thread
        return None

    def _admit(self, request: Associate, address: str) -> Peer | Refusal:
        """Return the line of the list that lets a request in, or why it is refused."""
        if not request.version & 1:
            return Refusal.PROTOCOL_VERSION
        if request.application != APPLICATION_CONTEXT:
            return Refusal.APPLICATION_CONTEXT
        peer = self._access.admit(request.called, request.calling, address)
        if isinstance(peer, Refusal):
            return peer
        return Refusal.LOCAL_LIMIT if self._full(peer) else peer

    def _full(self, peer: Peer) -> bool:
        """Whether no association is free; one that is idle for long gives way to the next request.

        Nobody can hold so many that another line of the list has none.
        """
        with self._lock:
            own = sum(one.peer is peer for one in self._active)
            most = self._settings.max_associations
            if len(self._active) < most or own < min(RESERVE, most):
                return False
            idle = max(self._active, key=lambda one: one.idle_s, default=None)
        if idle is not None and idle.idle_s > self._settings.peer_timeout_s:
            idle.transport.interrupt()
        return True

    def _run(self, association: Association) -> None:
        with following(association.trace_id):
            self._serve(association)

    def _serve(self, association: Association) -> None:
        released = False
        try:
            released = association.run()
        finally:
            with self._lock:
                del self._active[association]
            span = association.ended(released)
            if span is not None:
                self._on_span(span)
            self._on_end(association.number, released)
            association.transport.close(LINGER_S if released else 0.0)
