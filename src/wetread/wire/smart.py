"""Tokens of SMART Backend Services: a signed assertion proves who we are, and the server gives a token for a while.

References
----------
HL7 SMART App Launch 2.2, Backend Services (client_credentials, private_key_jwt, RS384 and ES384); RFC 7523; RFC 7638
(thumbprint of a key).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from wetread import urls
from wetread.errors import PeerBusy, PeerRefused, PeerUnreachable, SettingsError
from wetread.settings import Destination
from wetread.wire.https import PATIENCE, asked, connect, read, retry_after_s
from wetread.wire.tls import reason

ASSERTION_S = 300  # how long an assertion holds; the most that SMART allows
MOST_LIFE_S = 86_400.0  # of a token, however long its server says
EARLY_S = 30.0  # a token is renewed so long before it ends
SCOPE = "system/*.cruds"
_PARTS = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}  # RFC 7638 Section 3.2
_ALGORITHMS = {"EC": "ES384", "RSA": "RS384"}

_lock = threading.Lock()
_tokens: dict[tuple[str, str], tuple[str, float]] = {}  # (url, client) -> token and when it ends, monotonic s


def bearer(destination: Destination, timeout_s: float) -> dict[str, str]:
    """Return the header that shows a token; one that holds is used again.

    Raises
    ------
    PeerUnreachable, PeerRefused, PeerBusy
        The server gives no token.
    SettingsError
        The key cannot be used, or PyJWT is not installed.
    """
    with _lock:
        token, until = _tokens.get(_key(destination), ("", 0.0))
    if time.monotonic() >= until:
        token, lasts_s = _fetched(destination, timeout_s)
        with _lock:
            _tokens[_key(destination)] = (token, time.monotonic() + max(0.0, lasts_s - EARLY_S))
    return {"Authorization": f"Bearer {token}"}


def forget(destination: Destination) -> None:
    """Fetch a new token next time."""
    with _lock:
        _tokens.pop(_key(destination), None)


def _key(destination: Destination) -> tuple[str, str]:
    return destination.url, destination.client_id


def _fetched(destination: Destination, timeout_s: float) -> tuple[str, float]:
    name = destination.ae_title
    url = destination.token_url or _discovered(destination, timeout_s)
    if not urls.is_secret(urls.split(url)):
        raise PeerRefused(f"{name}: SMART: expected a token endpoint by https, as anyone on the way could read tokens")
    form = {
        "grant_type": "client_credentials",
        "scope": destination.scope or SCOPE,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": _assertion(destination, url),
    }
    made = _asked(destination, url, timeout_s, urlencode(form))
    token, lasts = made.get("access_token"), made.get("expires_in", 0)
    if not isinstance(token, str) or not token.isprintable() or not token or not isinstance(lasts, int | float):
        raise PeerRefused(f"{name}: SMART: expected a token, got an answer without one")
    return token, float(min(max(lasts, 0), MOST_LIFE_S))


def _discovered(destination: Destination, timeout_s: float) -> str:
    """Ask the server where its tokens are."""
    base = destination.url.removeprefix("fhir+").rstrip("/")
    url = _asked(destination, f"{base}/.well-known/smart-configuration", timeout_s).get("token_endpoint")
    if not isinstance(url, str) or urls.split(url) is None:
        raise PeerRefused(f"{destination.ae_title}: SMART: expected a token_endpoint, got none; name it in token_url")
    return url


def _asked(destination: Destination, url: str, timeout_s: float, form: str = "") -> dict[str, Any]:
    """Get a JSON object, or post a form for one."""
    name = destination.ae_title
    connection = connect(destination, timeout_s, url)
    headers = {"Accept": "application/json"}
    headers |= {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")  # of which RFC 6749 3.2 has the query kept
    try:
        method, body = ("POST", form.encode()) if form else ("GET", None)
        with asked(connection, method, path, body, headers) as response:
            answer = read(response, PATIENCE * timeout_s)
    except (OSError, http.client.HTTPException) as error:
        why = reason(error) if isinstance(error, OSError) else type(error).__name__
        raise PeerUnreachable(f"{name}: no token by SMART: {why}") from error
    finally:
        connection.close()
    if response.status in (429, 503):
        wait_s = retry_after_s(response.headers.get("Retry-After", ""))
        raise PeerBusy(f"{name}: SMART: no token now, status {response.status}", wait_s)
    try:
        made = json.loads(answer)
    except (ValueError, RecursionError):
        made = None
    if response.status != 200 or not isinstance(made, dict):
        raise PeerRefused(
            f"{name}: SMART: expected 200 and JSON, got {response.status}; is client_id registered there, with our key?"
        )
    return made


def _assertion(destination: Destination, audience: str) -> str:
    """Sign who we are."""
    import jwt

    key = _private(destination.client_key)
    public = _public(key, destination.client_key)
    claims = {
        "iss": destination.client_id,
        "sub": destination.client_id,
        "aud": audience,
        "exp": int(time.time()) + ASSERTION_S,
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode(claims, key, public["alg"], {"kid": public["kid"], "typ": "JWT"})


def jwks(path: Path) -> dict[str, Any]:
    """Return the public half of a client key as JWK Set, for whoever registers us.

    Raises
    ------
    SettingsError
        The file is no RSA or P-384 private key in PEM, or PyJWT is not installed.
    """
    return {"keys": [_public(_private(path), path)]}


def _private(path: Path) -> Any:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from jwt import algorithms  # noqa: F401 - both come with the extra
    except ImportError as error:
        raise SettingsError(f"client_key: {error.name} is not installed; pip install 'wetread[fhir]'") from error
    try:
        return load_pem_private_key(path.expanduser().read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        expected = "expected an RSA or P-384 private key in PEM without a password"
        got = f"none: {error.strerror}" if isinstance(error, OSError) else f"another file ({type(error).__name__})"
        raise SettingsError(f"client_key {path}: {expected}, got {got}") from error


def _public(key: Any, path: Path) -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from jwt.algorithms import ECAlgorithm, RSAAlgorithm

    if isinstance(key, RSAPrivateKey):
        made: dict[str, Any] = dict(RSAAlgorithm.to_jwk(key.public_key(), as_dict=True))
    elif isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP384R1):
        made = dict(ECAlgorithm.to_jwk(key.public_key(), as_dict=True))
    else:
        raise SettingsError(f"client_key {path}: expected an RSA or P-384 key, got another kind")
    parts = {name: made[name] for name in _PARTS[made["kty"]]}
    text = json.dumps(parts, separators=(",", ":"), sort_keys=True)
    kid = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    return {**parts, "kid": kid, "use": "sig", "alg": _ALGORITHMS[made["kty"]]}
