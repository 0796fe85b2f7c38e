"""Connections of the HTTP port that ask for nothing: each holds a place for a while, and not for good."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Connections at the same time; one more is cut.
MOST_CONNECTIONS = 512


class Punctual(H11Protocol):
    """A connection that is closed if the head of a request is not here in time.

    h11 bounds its size; uvicorn's own time limit holds between two requests only.

    Parameters
    ----------
    within_s
        How long a head may take, from the connection or from its first byte.
    """

    def __init__(self, *, within_s: float, **given: Any) -> None:
        super().__init__(**given)
        self._within_s = within_s
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; cut the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes, and wait on if they do not end a head."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        super().connection_lost(exc)
        self._wait()

    def _wait(self) -> None:
        """Let time run while a head is due: not while a request is answered, nor once the connection is a WebSocket."""
        due = self in self.connections and (self.cycle is None or self.cycle.response_complete)
        if due and self._timer is None:
            self._timer = self.loop.call_later(self._within_s, self.transport.close)
        elif not due and self._timer is not None:
            self._timer.cancel()
            self._timer = None
