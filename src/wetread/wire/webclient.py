"""One connection to a DICOMweb server: TLS, token, patience; every failure of it in our own words.

References
----------
PS3.18 Section 8 (common aspects of DICOMweb); RFC 9112 Section 9.3.1 (HTTP/1.1, requests that are tried again).
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from urllib.parse import urlsplit

from wetread.errors import PeerUnreachable, SettingsError
from wetread.settings import Destination
from wetread.wire.https import Endless, bearer, connect, read
from wetread.wire.tls import reason

PATIENCE = 6  # timeouts that a whole answer, or one object of it, may take
#: How a connection looks that a server closed while nothing was asked.
CLOSED = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, http.client.RemoteDisconnected)


class WebClient:
    """Asks one server, one question after the other; use it in a ``with`` statement.

    Parameters
    ----------
    server
        `url`, `token` and its TLS files are used.
    timeout_s
        How long the server may be silent.

    Raises
    ------
    SettingsError
        The token or a TLS file cannot be used, or there is no URL.
    """

    def __init__(self, server: Destination, timeout_s: float) -> None:
        if server.protocol != "dicomweb":
            raise SettingsError(f"{server.ae_title}: expected the URL of a DICOMweb service, got another address")
        self.name = server.ae_title
        self.timeout_s = timeout_s
        self._path = urlsplit(server.url).path.rstrip("/")
        self._headers = bearer(server.token)
        self._connection = connect(server, timeout_s)
        self._answered = False  # on this connection

    @contextmanager
    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None, again: bool = False
    ) -> Iterator[http.client.HTTPResponse]:
        """Give the answer to a request; what the block raises as `OSError` counts as the server's failure.

        Parameters
        ----------
        path
            Below the URL, with its query.
        again
            It may be asked twice, as to ask it twice is to ask it once: a server may have closed a connection that
            it answered on before. What is read may always.

        Raises
        ------
        PeerUnreachable
            No connection, no answer in time, or the server broke off.
        """
        try:
            with self._asked(method, self._path + path, body, {**self._headers, **headers}, again) as response:
                yield response
        except (OSError, http.client.HTTPException) as error:
            why = reason(error) if isinstance(error, OSError) else _said(error)
            raise PeerUnreachable(f"{self.name}: no answer by DICOMweb: {why}") from error

    def _asked(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], again: bool
    ) -> http.client.HTTPResponse:
        used, self._answered = self._answered, False
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
        except CLOSED:
            if not used or not (again or method == "GET"):
                raise
            self._connection.close()  # the next request opens it anew
            return self._asked(method, path, body, headers, again)
        self._answered = True
        return response

    def read(self, response: http.client.HTTPResponse, most_bytes: int) -> bytes:
        """Return a whole answer that is neither endless nor slow without end.

        Raises
        ------
        http.client.HTTPException
            It is: inside `ask` this becomes `PeerUnreachable`.
        """
        return read(response, time.monotonic() + PATIENCE * self.timeout_s, most_bytes)

    def __enter__(self) -> WebClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()


def _said(error: http.client.HTTPException) -> str:
    """Foreign messages may repeat what the server sent."""
    return str(error) if isinstance(error, Endless) else type(error).__name__
