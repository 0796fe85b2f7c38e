"""DICOM UIDs: deterministic ones, where the same parts give the same UID on every host, and new ones."""

from __future__ import annotations

import hashlib
import uuid

#: Names this implementation in file meta information and on associations: PS3.7 Annex D.3.3.2.
IMPLEMENTATION_CLASS_UID = "2.25.288093303846140447222015229753730336023"


def derive(*parts: str) -> str:
    """Derive a UID under the root 2.25 from parts that identify what it names.

    References
    ----------
    PS3.5 Annex B.2 (UUID-derived UID): the integer is the first 128 bits of the
    parts' SHA-256, with the version and variant bits of a name-based UUID.
    """
    raw = bytearray(hashlib.sha256("\x1f".join(parts).encode()).digest()[:16])
    raw[6] = (raw[6] & 0x0F) | 0x80
    raw[8] = (raw[8] & 0x3F) | 0x80
    return f"2.25.{int.from_bytes(raw, 'big')}"


def new_uid() -> str:
    """Return a UID that nobody has used, PS3.5 Annex B.2."""
    return f"2.25.{uuid.uuid4().int}"
