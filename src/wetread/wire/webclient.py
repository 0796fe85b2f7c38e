"""One connection to a DICOMweb server: TLS, token, patience; every failure of it in our own words.

References
----------
PS3.18 Section 8 (common aspects of DICOMweb); RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from urllib.parse import urlsplit

from wetread.errors import PeerUnreachable, SettingsError
from wetread.settings import Destination
from wetread.wire.https import PATIENCE, Answer, Endless, asked, bearer, connect, read
from wetread.wire.tls import reason


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

    @contextmanager
    def ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None, again: bool = False
    ) -> Iterator[Answer]:
        """Give the answer to a request; what the block raises as `OSError` counts as the server's failure.

        Parameters
        ----------
        path
            Below the URL, with its query.
        again
            See `wetread.wire.https.asked`.

        Raises
        ------
        PeerUnreachable
            No connection, no answer in time, or the server broke off.
        """
        try:
            told = {**self._headers, **headers}
            with asked(self._connection, method, self._path + path, body, told, again) as response:
                yield response
        except (OSError, http.client.HTTPException) as error:
            why = reason(error) if isinstance(error, OSError) else _said(error)
            raise PeerUnreachable(f"{self.name}: no answer by DICOMweb: {why}") from error

    def read(self, response: Answer, most_bytes: int) -> bytes:
        """Return a whole answer that is neither endless nor slow without end.

        Raises
        ------
        OSError, http.client.HTTPException
            It is: inside `ask` this becomes `PeerUnreachable`.
        """
        return read(response, PATIENCE * self.timeout_s, most_bytes)

    def __enter__(self) -> WebClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._connection.close()


def _said(error: http.client.HTTPException) -> str:
    """Foreign messages may repeat what the server sent."""
    return str(error) if isinstance(error, Endless) else type(error).__name__
