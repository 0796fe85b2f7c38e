"""A data set in the default transfer syntax, for peers that take no other; every value stays byte for byte.

References
----------
PS3.5 Sections 7.1.2 and 7.1.3 (elements with explicit and implicit VR), 7.5 (sequences) and 10.1 (default syntax).
"""

from __future__ import annotations

import struct

from wetread.errors import BadInput

DEEPEST = 64  # sequences within sequences
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))


def implicit(data: memoryview) -> bytes:
    """Return an Explicit VR Little Endian data set in Implicit VR Little Endian.

    Raises
    ------
    BadInput
        It is no such data set, is nested too deeply, or holds a value of undefined length that is no sequence.

    References
    ----------
    PS3.5 Section 6.2.2: a value of unknown VR and undefined length is a sequence in Implicit VR already.
    """
    try:
        return _elements(data, 0, len(data), 0)[0]
    except struct.error as error:
        raise BadInput("data set: an element ends past the end") from error


def _elements(data: memoryview, at: int, end: int, depth: int) -> tuple[bytes, int]:
    """Return what stands up to `end` or to an item's delimiter, and where it ends."""
    if depth > DEEPEST:
        raise BadInput(f"data set: expected at most {DEEPEST} sequences within each other, got more")
    parts: list[bytes | memoryview] = []
    while at < end:
        group, element, vr = struct.unpack_from("<HH2s", data, at)
        if (group, element) == (0xFFFE, _ITEM_END):
            return b"".join(parts), at + 8
        long = vr in _LONG
        (length,) = struct.unpack_from("<L" if long else "<H", data, at + (8 if long else 6))
        at += 12 if long else 8
        body: bytes | memoryview
        if vr == b"UN" and length == _UNDEFINED:
            body, at = data[at : (after := _after_items(data, at, end, depth))], after
            parts += (struct.pack("<HHL", group, element, _UNDEFINED), body)
            continue
        if vr == b"SQ":
            body, at = _items(data, at, end if length == _UNDEFINED else at + length, depth)
        elif at + length > end:
            raise BadInput("data set: a value has no length, or ends past the end")
        else:
            body, at = data[at : at + length], at + length
        parts += (struct.pack("<HHL", group, element, len(body)), body)
    return b"".join(parts), at


def _after_items(data: memoryview, at: int, end: int, depth: int) -> int:
    """Return where a sequence of undefined length in Implicit VR ends, behind its delimiter."""
    if depth > DEEPEST:
        raise BadInput(f"data set: expected at most {DEEPEST} sequences within each other, got more")
    while at < end:
        group, element, length = struct.unpack_from("<HHL", data, at)
        at += 8
        if (group, element) == (0xFFFE, _SEQUENCE_END):
            return at
        if (group, element) != (0xFFFE, _ITEM):
            raise BadInput("data set: expected an item in a sequence, got something else")
        at = _after_elements(data, at, end, depth + 1) if length == _UNDEFINED else at + length
    raise BadInput("data set: a sequence ends past the end")


def _after_elements(data: memoryview, at: int, end: int, depth: int) -> int:
    """Return where an item of undefined length in Implicit VR ends, behind its delimiter."""
    while at < end:
        group, element, length = struct.unpack_from("<HHL", data, at)
        at += 8
        if (group, element) == (0xFFFE, _ITEM_END):
            return at
        at = _after_items(data, at, end, depth) if length == _UNDEFINED else at + length
    raise BadInput("data set: an item ends past the end")


def _items(data: memoryview, at: int, end: int, depth: int) -> tuple[bytes, int]:
    """Return the items of a sequence, each with its length, and where the sequence ends."""
    parts: list[bytes] = []
    while at < end:
        group, element, length = struct.unpack_from("<HHL", data, at)
        at += 8
        if (group, element) == (0xFFFE, _SEQUENCE_END):
            break
        if (group, element) != (0xFFFE, _ITEM):
            raise BadInput("data set: expected an item in a sequence, got something else")
        body, at = _elements(data, at, end if length == _UNDEFINED else at + length, depth + 1)
        parts += (struct.pack("<HHL", 0xFFFE, _ITEM, len(body)), body)
    return b"".join(parts), at
