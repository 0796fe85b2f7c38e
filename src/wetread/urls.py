"""URLs that a person sets or a peer tells."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def split(url: str) -> SplitResult | None:
    """Take a URL apart; None where nobody can be reached by it.

    It names no host, a port that is none, or a path that is not percent-encoded: HTTP sends ASCII only.
    """
    try:
        parts = urlsplit(url)
        sent = parts.path + parts.query
        return parts if parts.hostname and parts.port != 0 and sent.isascii() else None
    except ValueError:
        return None


def is_secret(parts: SplitResult | None) -> bool:
    """Whether nobody on the way can read what is sent to a URL."""
    return parts is not None and (parts.scheme.endswith("https") or parts.hostname in ("127.0.0.1", "localhost"))
