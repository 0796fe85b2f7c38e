"""Sockets that have not yet asked for an association: they cost a file descriptor, never a thread.

A connection reaches the rest of the node only with one whole A-ASSOCIATE-RQ of a sane length.
Until then one thread watches all of them; a silent one is closed by the ARTIM timer, and when
there are too many, the oldest goes first, so that whoever speaks at once is always served.

References
----------
PS3.8 Sections 9.1.5 (ARTIM timer) and 9.2 (Sta2 and Sta13).
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from wetread.wire.access import ANSWERS, Refusal
from wetread.wire.associate import reject
from wetread.wire.tls import reason
from wetread.wire.transport import HEAD, AbortReason, BadPdu, Pdu, abort, check_head

log = logging.getLogger("wetread.wire")

MAX_WAITING = 512  # sockets
MAX_REQUEST_BYTES = 1 << 18  # 128 contexts with all transfer syntaxes need about 180 kB
MAX_WAITING_BYTES = 1 << 25  # over all sockets
CLOSING_S = 1.0
TLS_HANDSHAKE = 0x16  # first byte of a TLS record, RFC 8446 Section 5.1
PAUSE_S = 0.05  # when nothing can be accepted

#: Takes a socket, the address of its peer and the body of its A-ASSOCIATE-RQ; returns what to send before
#: closing, or None when it keeps the socket.
OnRequest = Callable[[socket.socket, str, memoryview], bytes | None]
#: Told why a connection never became an association, the address of its peer, and a detail.
OnRefusal = Callable[[Refusal, str, str], None]


@dataclass(slots=True, eq=False)
class _Waiting:
    sock: socket.socket
    address: str
    known: bool
    until: float
    closing: bool = False
    secure: bool = False  # the TLS handshake is done
    data: bytearray = field(default_factory=bytearray)


class Guard:
    """The accepting thread.

    Parameters
    ----------
    listening
        A bound and listening socket; the guard closes it.
    artim_s
        How long a peer may take from the connection to its whole A-ASSOCIATE-RQ.
    on_request
        What to do with a whole request.
    on_refusal
        Told of every connection that sent something else, or nothing in time.
    knows
        Whether an address may belong to a peer; when there are too many sockets, the others go first.
    tls
        Gives the context of the next connection; None: a plain port.
    """

    def __init__(
        self,
        listening: socket.socket,
        artim_s: float,
        on_request: OnRequest,
        on_refusal: OnRefusal = lambda refusal, address, detail: None,
        knows: Callable[[str], bool] = lambda address: True,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._listening = listening
        self._artim_s = artim_s
        self._on_request = on_request
        self._on_refusal = on_refusal
        self._knows = knows
        self._tls = tls
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[_Waiting, None] = {}  # in order of age
        self._bell, self._rope = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="wetread-guard", daemon=True)

    def start(self) -> None:
        """Start to accept."""
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._thread.start()

    def stop(self) -> None:
        """Stop to accept and close every socket that has no association."""
        self._rope.send(b"x")
        self._thread.join()
        for waiting in list(self._waiting):
            self._drop(waiting)
        self._selector.close()
        for sock in (self._listening, self._bell, self._rope):
            sock.close()

    def _run(self) -> None:
        while True:
            first = min((waiting.until for waiting in self._waiting), default=time.monotonic() + 60.0)
            for key, _ in self._selector.select(max(0.0, first - time.monotonic())):
                if key.fileobj is self._bell:
                    return
                self._go_on(key)
            now = time.monotonic()
            for waiting in [waiting for waiting in self._waiting if waiting.until <= now]:
                if not waiting.closing:
                    self._on_refusal(Refusal.SILENT, waiting.address, "")
                self._drop(waiting)

    def _go_on(self, key: selectors.SelectorKey) -> None:
        try:
            if key.fileobj is self._listening:
                self._accept()
            elif key.data in self._waiting:  # it may have been dropped in this very round
                self._read(key.data)
        except Exception as error:  # noqa: BLE001 - the port's door: one connection must not close it to all others
            log.error("connection dropped", extra={"reason": type(error).__name__})
            if key.data in self._waiting:
                self._drop(key.data)

    def _accept(self) -> None:
        for _ in range(64):  # then the others have their turn
            try:
                sock, (address, *_) = self._listening.accept()
            except BlockingIOError:
                return
            except OSError:  # no file descriptor left, or the peer is gone already
                if not self._waiting:
                    time.sleep(PAUSE_S)
                self._drop_oldest()
                return
            sock.setblocking(False)
            waiting = _Waiting(sock, address, self._knows(address), time.monotonic() + self._artim_s)
            self._waiting[waiting] = None
            self._selector.register(sock, selectors.EVENT_READ, waiting)
            if len(self._waiting) > MAX_WAITING:
                self._drop_oldest()

    def _read(self, waiting: _Waiting) -> None:
        try:
            if waiting.closing:
                if not socket.socket.recv(waiting.sock, 1 << 16):  # thrown away, so not decrypted either
                    self._drop(waiting)
            elif self._tls is None or waiting.secure or self._handshake(waiting, self._tls):
                self._receive(waiting)
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            self._drop(waiting)

    def _receive(self, waiting: _Waiting) -> None:
        """Take what is there of the request; what TLS has decrypted already, no selector tells of."""
        more = True
        while more:
            got = waiting.sock.recv(self._missing(waiting))
            if not got:
                self._drop(waiting)
                return
            waiting.data += got
            self._check(waiting)
            more = waiting in self._waiting and not waiting.closing and waiting.secure

    def _handshake(self, waiting: _Waiting, tls: Callable[[], ssl.SSLContext]) -> bool:
        """Go on with the handshake as far as the peer's bytes reach; return whether it is done."""
        if not isinstance(waiting.sock, ssl.SSLSocket):
            first = waiting.sock.recv(1, socket.MSG_PEEK)
            if first and first[0] != TLS_HANDSHAKE:
                self._on_refusal(Refusal.PLAIN_AT_TLS_PORT, waiting.address, "")
                self._refuse(waiting, reject(ANSWERS[Refusal.PLAIN_AT_TLS_PORT]))
                return False
            self._selector.unregister(waiting.sock)
            waiting.sock = tls().wrap_socket(waiting.sock, server_side=True, do_handshake_on_connect=False)
            self._selector.register(waiting.sock, selectors.EVENT_READ, waiting)
        try:
            waiting.sock.do_handshake()
        except ssl.SSLWantReadError:
            self._selector.modify(waiting.sock, selectors.EVENT_READ, waiting)
            return False
        except ssl.SSLWantWriteError:
            self._selector.modify(waiting.sock, selectors.EVENT_WRITE, waiting)
            return False
        except ssl.SSLError as error:
            self._on_refusal(Refusal.TLS_HANDSHAKE, waiting.address, reason(error))
            self._linger(waiting)  # closed with data unread, the peer would lose the alert that says why
            return False
        self._selector.modify(waiting.sock, selectors.EVENT_READ, waiting)
        waiting.secure = True
        return True

    def _missing(self, waiting: _Waiting) -> int:
        have = len(waiting.data)
        if have < HEAD:
            return HEAD - have
        return HEAD + check_head(waiting.data[:HEAD], MAX_REQUEST_BYTES)[1] - have

    def _check(self, waiting: _Waiting) -> None:
        try:
            if waiting.data[0] != Pdu.ASSOCIATE_RQ:
                known = Pdu.ASSOCIATE_RQ <= waiting.data[0] <= Pdu.ABORT
                reason = AbortReason.UNEXPECTED_PDU if known else AbortReason.UNRECOGNIZED_PDU
                raise BadPdu(reason, "expected an A-ASSOCIATE-RQ")
            if len(waiting.data) < HEAD or self._missing(waiting):
                self._relieve()
                return
        except BadPdu as error:
            tls = waiting.data[0] == TLS_HANDSHAKE
            self._on_refusal(Refusal.TLS_AT_PLAIN_PORT if tls else Refusal.MALFORMED, waiting.address, str(error))
            self._refuse(waiting, abort(error.reason))
            return
        body = memoryview(waiting.data)[HEAD:]
        self._forget(waiting)
        try:
            refusal = self._on_request(waiting.sock, waiting.address, body)
        except Exception as error:  # noqa: BLE001 - the SCP's door: one request must not end the service
            log.error("association not served", extra={"reason": type(error).__name__})
            waiting.sock.close()
            return
        if refusal is not None:
            self._waiting[waiting] = None
            waiting.sock.setblocking(False)
            self._selector.register(waiting.sock, selectors.EVENT_READ, waiting)
            self._refuse(waiting, refusal)

    def _refuse(self, waiting: _Waiting, data: bytes) -> None:
        """Say why, then wait a little for the peer to close (Sta13)."""
        try:
            waiting.sock.send(data)
            if isinstance(waiting.sock, ssl.SSLSocket):
                with suppress(ssl.SSLWantReadError):  # what we say is out; the peer's answer may come or not
                    waiting.sock.unwrap()
        except OSError:
            self._drop(waiting)
            return
        self._linger(waiting)

    def _linger(self, waiting: _Waiting) -> None:
        """Send no more, and let the peer close."""
        try:
            socket.socket.shutdown(waiting.sock, socket.SHUT_WR)
        except OSError:
            self._drop(waiting)
            return
        self._selector.modify(waiting.sock, selectors.EVENT_READ, waiting)
        waiting.data = bytearray()
        waiting.closing = True
        waiting.until = time.monotonic() + CLOSING_S

    def _relieve(self) -> None:
        while sum(len(waiting.data) for waiting in self._waiting) > MAX_WAITING_BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = next(iter(self._waiting), None)
        first = next((waiting for waiting in self._waiting if not waiting.known), oldest)
        if first is not None:
            self._drop(first)

    def _drop(self, waiting: _Waiting) -> None:
        self._forget(waiting)
        waiting.sock.close()

    def _forget(self, waiting: _Waiting) -> None:
        self._waiting.pop(waiting, None)
        with suppress(KeyError, ValueError):  # TLS that could not begin has closed the socket and left it nowhere
            self._selector.unregister(waiting.sock)
