"""Connections to HTTP servers that take results: TLS, tokens, and answers that are bounded.

References
----------
RFC 9110; RFC 6750 Section 2.1 (Bearer); RFC 9325 (TLS).
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


def bearer(token: Path) -> dict[str, str]:
    """Return the header that shows the token of a file; none without a file.

    Raises
    ------
    SettingsError
        The file cannot be read, or is no token.
    """
    if token == Path():
        return {}
    try:
        text = token.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"token {token}: cannot be read ({type(error).__name__})") from error
    if not text.isprintable() or not text:
        raise SettingsError(f"token {token}: expected one line")
    return {"Authorization": f"Bearer {text}"}


def read(response: http.client.HTTPResponse, until: float, most: int = MOST_ANSWER) -> bytes:
    """Read an answer that is neither endless nor slow without end.

    Parameters
    ----------
    until
        Monotonic seconds.
    most
        Bytes.
    """
    answer = b""
    while chunk := response.read1(1 << 16):
        answer += chunk
        if len(answer) > most or time.monotonic() > until:
            raise http.client.HTTPException("the answer is too long, or too slow")
    return answer
