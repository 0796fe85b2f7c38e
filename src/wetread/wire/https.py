"""Connections to HTTP servers: TLS, tokens, and answers that are bounded.

References
----------
RFC 9110; RFC 6750 Section 2.1 (Bearer); RFC 9112 Section 9.3.1 (requests that are tried again); RFC 9325 (TLS).
"""

from __future__ import annotations

import http.client
import time
from pathlib import Path
from urllib.parse import urlsplit

from wetread.errors import SettingsError
from wetread.settings import Destination
from wetread.wire.tls import client_context

MOST_ANSWER = 1 << 20  # bytes
CHUNK = 1 << 16  # bytes that are read at once
#: How a connection looks that a server closed while nothing was asked.
CLOSED = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, http.client.RemoteDisconnected)


class Endless(http.client.HTTPException):
    """More comes than may, or it comes too slowly."""


def connect(destination: Destination, timeout_s: float, url: str = "") -> http.client.HTTPConnection:
    """Make a connection to a destination, or to another `url` with its TLS files; it opens with the first request.

    Raises
    ------
    SettingsError
        A TLS file cannot be used.
    """
    parts = urlsplit(url or destination.url)
    assert parts.hostname is not None
    if not parts.scheme.endswith("https"):
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    return http.client.HTTPSConnection(
        parts.hostname, parts.port, timeout=timeout_s, context=client_context(destination)
    )


def asked(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    again: bool = False,
) -> http.client.HTTPResponse:
    """Ask, and return the answer before it is read.

    Parameters
    ----------
    again
        It may be asked twice, as to ask it twice is to ask it once: a server may have closed a connection on which it
        answered before. What is read may always.

    Raises
    ------
    OSError, http.client.HTTPException
        No connection, or no answer.
    """
    answered = connection.sock is not None  # open from the question before
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse()
    except CLOSED:
        if not answered or not (again or method == "GET"):
            raise
    connection.close()  # the next request opens it anew
    connection.request(method, path, body, headers)
    return connection.getresponse()


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


def read(response: http.client.HTTPResponse, until: float, most: int = MOST_ANSWER) -> bytes:
    """Read an answer that is neither endless nor slow without end.

    Parameters
    ----------
    until
        Monotonic seconds.
    most
        Bytes.

    Raises
    ------
    Endless
        It is.
    """
    answer = bytearray()
    while chunk := response.read1(CHUNK):
        answer += chunk
        if len(answer) > most or time.monotonic() > until:
            raise Endless("the answer is too long, or too slow")
    return bytes(answer)
