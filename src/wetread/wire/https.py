"""Connections to HTTP servers: TLS, tokens, and exchanges that end.

A timeout of a socket counts anew with every byte, so that a server could drip without end.  Here a request, the head of
its answer and its body have a time each, too.

References
----------
RFC 9110 (Section 10.2.3: Retry-After); RFC 6750 Section 2.1 (Bearer); RFC 9112 Section 9.3.1 (requests that are tried
again); RFC 9325 (TLS).
"""

from __future__ import annotations

import email.utils
import http.client
import io
import math
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wetread.errors import SettingsError
from wetread.settings import Destination
from wetread.wire.tls import client_context

MOST_ANSWER = 1 << 20  # bytes
CHUNK = 1 << 16  # bytes that are read or written at once
PATIENCE = 6  # timeouts that a request, the head of its answer, or its body may take
LEAST_BYTES_S = 1 << 14  # at which a server takes what is longer
MOST_WAIT_S = 3600.0  # however long a server says
#: How a connection looks that a server closed while nothing was asked.
CLOSED = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, http.client.RemoteDisconnected)


class Endless(http.client.HTTPException):
    """More comes than may."""


class _Line(io.RawIOBase):
    """What comes from a server, until its time is over."""

    def __init__(self, raw: io.RawIOBase, until: float) -> None:
        self._raw = raw
        self.until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() > self.until:
            raise TimeoutError("the answer comes too slowly")
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class Answer(http.client.HTTPResponse):
    """An answer whose head, with all that comes before it, takes at most `PATIENCE` timeouts of its socket.

    Parameters
    ----------
    sock
        Has a timeout.
    given
        As `http.client.HTTPResponse`.
    """

    def __init__(self, sock: socket.socket, *given: Any, **named: Any) -> None:
        super().__init__(sock, *given, **named)
        timeout_s = sock.gettimeout()
        assert timeout_s is not None
        self._line = _Line(self.fp.detach(), time.monotonic() + PATIENCE * timeout_s)
        self.fp = io.BufferedReader(self._line)

    def begin(self) -> None:
        """Read the head; what follows has as much time as `wait` says.

        Raises
        ------
        OSError, http.client.HTTPException
            There is none, or it comes too slowly.
        """
        super().begin()
        self._line.until = math.inf

    def wait(self, until: float) -> None:
        """Let what is read from now on raise `TimeoutError` when its time is over, monotonic seconds."""
        self._line.until = until


def connect(destination: Destination, timeout_s: float, url: str = "") -> http.client.HTTPConnection:
    """Make a connection to a destination, or to another `url` with its TLS files; it opens with the first request.

    Raises
    ------
    SettingsError
        A TLS file cannot be used.
    """
    at = url or destination.url
    return connection_to(at, timeout_s, client_context(destination) if _is_secure(at) else None)


def connection_to(url: str, timeout_s: float, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """Make a connection to the server of a URL, for `asked`; it opens with the first request.

    Parameters
    ----------
    context
        For https; None: what the machine trusts.
    """
    parts = urlsplit(url)
    assert parts.hostname is not None
    made = (
        http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=context)
        if _is_secure(url)
        else http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    )
    made.response_class = Answer
    return made


def _is_secure(url: str) -> bool:
    return urlsplit(url).scheme.endswith("https")


def asked(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    again: bool = False,
) -> Answer:
    """Ask, and return the answer before its body is read.

    Parameters
    ----------
    connection
        Of `connect` or `connection_to`.
    again
        It may be asked twice, as to ask it twice is to ask it once: a server may have closed a connection on which it
        answered before. What is read may always.

    Raises
    ------
    OSError, http.client.HTTPException
        No connection, or no answer in time: the server may be silent for the connection's timeout, take `PATIENCE`
        timeouts until it has the request, longer at `LEAST_BYTES_S`, and as many until the head of its answer is here.
    """
    answered = connection.sock is not None  # open from the question before
    try:
        return _asked(connection, method, path, body, headers)
    except CLOSED:
        if not answered or not (again or method == "GET"):
            raise
    connection.close()  # the next request opens it anew
    return _asked(connection, method, path, body, headers)


def _asked(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> Answer:
    if body:
        assert connection.timeout is not None
        within_s = PATIENCE * connection.timeout + len(body) / LEAST_BYTES_S
        connection.request(method, path, _pieces(body, within_s), {**headers, "Content-Length": str(len(body))})
    else:
        connection.request(method, path, body, headers)
    answer = connection.getresponse()
    assert isinstance(answer, Answer)
    return answer


def _pieces(body: bytes, within_s: float) -> Iterator[bytes]:
    """Give a body bit by bit, as long as there is time."""
    until = time.monotonic() + within_s
    for start in range(0, len(body), CHUNK):
        if time.monotonic() > until:
            raise TimeoutError("the request is taken too slowly")
        yield body[start : start + CHUNK]


def bearer(token: Path) -> dict[str, str]:
    """Return the header that shows the first token of a file; none without a file.

    Raises
    ------
    SettingsError
        The file cannot be read, or is no token.
    """
    if token == Path():
        return {}
    try:
        lines = token.expanduser().read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"token {token}: cannot be read ({type(error).__name__})") from error
    text = next((line.strip() for line in lines if line.strip()), "")
    if not text.isprintable() or not text:
        raise SettingsError(f"token {token}: expected a line with the token")
    return {"Authorization": f"Bearer {text}"}


def read(response: Answer, within_s: float, most: int = MOST_ANSWER) -> bytes:
    """Read the body of an answer that is neither endless nor slow without end.

    Parameters
    ----------
    within_s
        How long it may take.
    most
        Bytes.

    Raises
    ------
    Endless
        It is longer.
    OSError, http.client.HTTPException
        It does not come whole in time.
    """
    response.wait(time.monotonic() + within_s)
    answer = bytearray()
    while chunk := response.read1(CHUNK):
        answer += chunk
        if len(answer) > most:
            raise Endless(f"the answer is too long: expected at most {most} bytes")
    return bytes(answer)


def retry_after_s(value: str) -> float:
    """Return how long a Retry-After asks to wait, s: 0 where it says nothing that counts."""
    if value.isascii() and value.strip().isdigit():
        return min(float(value.strip()), MOST_WAIT_S)
    try:
        at = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(0.0, min(at - time.time(), MOST_WAIT_S))
