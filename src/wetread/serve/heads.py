"""Connections of the HTTP port that ask for nothing or do not read: each holds a place for a while, not for good."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

#: Connections at the same time; one more is cut.
MOST_CONNECTIONS = 512
#: Bytes of an answer that are written at a time; the next ones are when the system has taken these.
PIECE = 1 << 16

_REFUSED = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class _Read(asyncio.Protocol):
    """A connection that is cut if nobody reads what is written: closing it would wait for that without end."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    _within_s: float
    _unread: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Let time run: bytes wait for the client."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._within_s, self.transport.abort)

    def resume_writing(self) -> None:
        """All that waited is on its way."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


class Channel(_Read, WebSocketsSansIOProtocol):
    """A WebSocket whose client reads what it is told.

    Parameters
    ----------
    within_s
        How long what is written at a time may wait until the system has taken it.
    """

    def __init__(self, *, within_s: float, **given: Any) -> None:
        super().__init__(**given)
        self._within_s = within_s


class Punctual(_Read, H11Protocol):
    """A connection that is closed if the head of a request is not here in time, and cut if nobody reads the answer.

    h11 bounds the size of a head; uvicorn's own time limit holds between two requests only.

    Parameters
    ----------
    within_s
        How long the TLS handshake may take, then a head, from the connection or from its first byte, and what is
        written at a time (`PIECE`) until the system has taken it.
    tls
        Gives the context for each connection; None: it is not encrypted.
    """

    def __init__(self, *, within_s: float, tls: Callable[[], ssl.SSLContext] | None = None, **given: Any) -> None:
        super().__init__(**given)
        self._within_s = within_s
        self._tls = tls
        self._handshake: asyncio.Task[None] | None = None
        self._early = bytearray()  # what comes with the end of the handshake
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a handshake, then for a head; cut the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        elif self._tls is not None and self.scheme == "http":
            self._handshake = self.loop.create_task(self._encrypt(transport, self._tls()))
            return
        transport.set_write_buffer_limits(1)  # tells as soon as bytes wait; with 0 asyncio's TLS would never tell more
        self._wait()

    async def _encrypt(self, plain: asyncio.Transport, context: ssl.SSLContext) -> None:
        """Shake hands here and not in asyncio's server: that tells of no connection before its handshake is over."""
        try:
            made = await self.loop.start_tls(
                plain, self, context, server_side=True, ssl_handshake_timeout=self._within_s
            )
        except OSError:
            made = None
        if made is None or plain.is_closing():
            self.connections.discard(self)
            return
        self._handshake = None
        self.connection_made(made)
        if self._early:
            self.data_received(bytes(self._early))

    def data_received(self, data: bytes) -> None:
        """Take bytes, and wait on if they do not end a head."""
        if self._handshake is not None:
            self._early += data
            return
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._wait()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Leave the connection to the WebSocket; refuse what its parser does not take: uvicorn is silent."""
        super().handle_websocket_upgrade(event)
        if not getattr(self.transport.get_protocol(), "handshake_initiated", True):
            self.transport.write(_REFUSED)
            self.transport.close()
            self.loop.call_later(self._within_s, self.transport.abort)  # if nobody reads that

    def _wait(self) -> None:
        """Let time run while a head is due: not while a request is answered, nor once the connection is a WebSocket."""
        due = self in self.connections and (self.cycle is None or self.cycle.response_complete)
        if due and self._timer is None:
            self._timer = self.loop.call_later(self._within_s, self.transport.close)
        elif not due and self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Pieces:
    """Sends the answers of an application in pieces, so that none waits as a whole for a client that is slow."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""

        async def cut(message: Message) -> None:
            body, last = message.get("body", b""), 0
            if message["type"] == "http.response.body":
                for last in range(PIECE, len(body), PIECE):
                    await send({**message, "body": body[last - PIECE : last], "more_body": True})
            await send({**message, "body": body[last:]} if last else message)

        await self._app(scope, receive, cut)
