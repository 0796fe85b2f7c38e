"""Who may use DICOMweb: this machine, or who shows a token; everyone else is refused.

References
----------
PS3.15 Section B (why an address alone proves little); RFC 6750 Section 2.1 (Bearer).
"""

from __future__ import annotations

import hmac
from pathlib import Path

from wetread.errors import SettingsError
from wetread.settings import Settings
from wetread.wire.access import is_loopback

LEAST = 24  # characters of a token
CHALLENGE = 'Bearer realm="wetread"'


class WebAccess:
    """The rule, ready to be asked.

    Parameters
    ----------
    settings
        `dicomweb_tokens`, `dicomweb_origins`, `http_tls` and `open_doors` are used.

    Raises
    ------
    SettingsError
        The file of tokens cannot be read, is empty, or holds a short one.
    """

    def __init__(self, settings: Settings) -> None:
        self._open = "dicomweb" in settings.open_doors.split("+")
        self._certified = settings.http_tls == "mutual"
        self._tokens = _tokens(settings.dicomweb_tokens) if settings.dicomweb_tokens != Path() else ()
        self._origins = origins(settings)

    def refusal(self, address: str, host: str, authorization: str, origin: str = "") -> tuple[int, str] | None:
        """Return the status and the text by which a caller is refused; None lets it in.

        Parameters
        ----------
        address
            Where the connection comes from; what a proxy on this machine says of it counts.
        host
            The Host header: a web page that had its own name point to this machine gives another.
        authorization
            The Authorization header.
        origin
            The Origin header: the web page for which a browser on this machine asks.
        """
        if self._open:
            return None
        if self._tokens:
            scheme, _, token = authorization.partition(" ")
            shown = token.strip().encode("utf-8", "replace")
            fits = [hmac.compare_digest(shown, one) for one in self._tokens]  # each time all of them
            if scheme.lower() == "bearer" and any(fits):
                return None
            return 401, "expected Authorization: Bearer and a token of dicomweb_tokens, got none of them"
        if self._certified or (is_loopback(address) and is_loopback(_name(host))):
            if not origin or origin in self._origins or origin.partition("://")[2] == host:
                return None
            return 403, "expected a web page of dicomweb_origins, got another"
        return 403, (
            "DICOMweb answers this machine only, as 127.0.0.1 or localhost; name a file of tokens in dicomweb_tokens, "
            'let callers show a certificate: http_tls = "mutual"; or, on a closed network, say so: '
            'open_doors = "dicomweb"'
        )


def origins(settings: Settings) -> list[str]:
    """Return the origins of `dicomweb_origins`, as browsers tell them: in lower case, no path behind the host."""
    given = (one.strip().lower() for one in settings.dicomweb_origins.split(","))
    return ["/".join(one.split("/")[:3]) for one in given if one]


def _name(host: str) -> str:
    """The Host header without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _tokens(path: Path) -> tuple[bytes, ...]:
    try:
        lines = [line.strip() for line in path.expanduser().read_bytes().splitlines()]
    except OSError as error:
        raise SettingsError(f"dicomweb_tokens: {path} cannot be read: {error.strerror}") from error
    tokens = tuple(line for line in lines if line)
    if not tokens or min(map(len, tokens)) < LEAST:
        raise SettingsError(f"dicomweb_tokens: {path}: expected tokens of at least {LEAST} characters, one a line")
    return tokens
