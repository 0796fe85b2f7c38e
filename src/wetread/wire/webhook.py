"""Posts JSON to a webhook, signed so that the receiver knows who it is from and that it is not old.

References
----------
Standard Webhooks 1.0.0 (webhook-id, webhook-timestamp, webhook-signature: v1, HMAC-SHA-256 of id.timestamp.body);
RFC 2104 (HMAC).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
from pathlib import Path
from urllib.parse import urlsplit

from wetread.errors import PeerRefused, PeerUnreachable, SettingsError
from wetread.wire.https import asked, connection_to
from wetread.wire.tls import reason

LEAST = 24  # bytes of a key


def key_of(path: Path) -> bytes:
    """Read a key: base64 behind ``whsec_``, else the line itself.

    Raises
    ------
    SettingsError
        The file cannot be read, or the key is too short.
    """
    try:
        text = path.expanduser().read_text(encoding="ascii").strip()
        key = (
            base64.b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else text.encode()
        )
    except (OSError, UnicodeError, binascii.Error) as error:
        raise SettingsError(f"secret {path}: cannot be read ({type(error).__name__})") from error
    if len(key) < LEAST:
        raise SettingsError(f"secret {path}: expected a key of at least {LEAST} bytes, got {len(key)}")
    return key


def signature(key: bytes, identifier: str, timestamp: int, body: bytes) -> str:
    """Return the signature of a body, as webhook-signature has it."""
    signed = b".".join((identifier.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def post(url: str, identifier: str, body: bytes, key: bytes, timestamp: int, timeout_s: float = 10.0) -> None:
    """Post a JSON body; it is taken when the answer is 2xx.

    Parameters
    ----------
    identifier
        Of the event: the same when it is sent again.
    timestamp
        Seconds since the epoch; receivers refuse old ones.

    Raises
    ------
    PeerUnreachable
        No connection, or no answer in time.
    PeerRefused
        Another answer; redirections are not followed.
    """
    parts = urlsplit(url)
    connection = connection_to(url, timeout_s)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(key, identifier, timestamp, body),
    }
    try:
        with asked(connection, "POST", parts.path or "/", body, headers) as response:
            status = response.status
    except (OSError, http.client.HTTPException) as error:
        why = reason(error) if isinstance(error, OSError) else type(error).__name__
        raise PeerUnreachable(f"webhook {parts.hostname}: no answer: {why}") from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise PeerRefused(f"webhook {parts.hostname}: expected 2xx, got {status}")
