"""A look at an encoded object on its way in: what the rules ask for to find its lane, and with what it is read.

Nothing is decoded that is longer than a short value, and nothing here refuses an object: what cannot be read is
not there.

References
----------
PS3.5 Sections 6.1.2, 7.1 and 7.5; PS3.3 Tables C.4-11, C.7-1, C.7-3 and C.30.1-1; PS3.4 Tables C.6-2 and C.6-3
(numbers of related instances, that some archives leave in what they send).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum

from pydicom.charset import decode_bytes, python_encoding
from pydicom.valuerep import TEXT_VR_DELIMS

from wetread.errors import BadInput
from wetread.wire.part10 import EXPLICIT_BIG, outermost


class Tag(IntEnum):
    """The attributes that are looked at."""

    CHARACTER_SET = 0x00080005
    ACCESSION = 0x00080050
    MODALITY = 0x00080060
    STATION_NAME = 0x00081010
    STUDY_DESCRIPTION = 0x00081030
    SERIES_DESCRIPTION = 0x0008103E
    PATIENT = 0x00100020
    AUTHORITY = 0x00100021
    BODY_PART = 0x00180015
    SERIES = 0x0020000E
    STUDY_INSTANCES = 0x00201208
    SERIES_INSTANCES = 0x00201209
    REQUESTED_PRIORITY = 0x00401003
    STEP_PRIORITY = 0x00741200


#: Invokes ISO-IR 58 within a text; pydicom takes its other escape sequences out, and leaves this one.
ESCAPE = "\x1b$)A"

_NUMBERS = {b"US": "H", b"SS": "h", b"UL": "L", b"SL": "l", b"UV": "Q", b"SV": "q"}
_WANTED = frozenset(map(int, Tag))
LAST = max(_WANTED)  # no element behind it is looked at


def glance(data: bytes | bytearray | memoryview, transfer_syntax: str) -> dict[int, str]:
    """Return the attributes of `Tag` that the outermost level of a data set holds, by tag.

    Parameters
    ----------
    data
        The data set as it was encoded, without file meta information.
    transfer_syntax
        How it is encoded.

    Returns
    -------
    dict of int to str
        Values up to 256 bytes, without padding; what cannot be decoded becomes "?", which no exact rule fits.
    """
    found: dict[int, str] = {}
    try:
        for tag, vr, value in outermost(data, transfer_syntax):
            if tag > LAST:
                break
            if tag in _WANTED:
                plain = written(vr, value, transfer_syntax)
                found[tag] = text(plain, found.get(Tag.CHARACTER_SET, "")).strip(" \0")
    except BadInput:  # filed already: what is broken behind its UIDs is the reader's business
        pass
    return found


def series_of(seen: Mapping[int, str]) -> str:
    """Return the Series Instance UID (0020,000E) of an object of which `seen` holds attributes by tag.

    "" where it has none, or none that every index can hold: one of more than 64 characters (PS3.5 Section 9), or
    with one that cannot be printed.
    """
    found = seen.get(Tag.SERIES, "")
    return found if len(found) <= 64 and found.isprintable() else ""


def written(vr: bytes, value: bytes, transfer_syntax: str) -> bytes:
    """Return the value of an attribute of text, of one that came as a number (VR US and the like) its digits."""
    form = _NUMBERS.get(vr)
    if form is None:
        return value
    order = ">" if transfer_syntax == EXPLICIT_BIG else "<"
    try:
        return b"\\".join(b"%d" % number for (number,) in struct.iter_unpack(order + form, value))
    except struct.error:
        return b""


def text(value: bytes, character_set: str) -> str:
    """Decode a value by the Specific Character Set (0008,0005) of its data set."""
    terms = character_set.split("\\")
    if (value.isascii() and b"\x1b" not in value) or any(term not in python_encoding for term in terms):
        return value.decode("ascii", "replace").replace("\ufffd", "?")
    codecs = [python_encoding[term] for term in terms]
    try:
        if b"\x1b" in value:
            return decode_bytes(value, codecs, TEXT_VR_DELIMS).replace(ESCAPE, "")
        return value.decode(codecs[0], "replace").replace("\ufffd", "?")
    except (LookupError, UnicodeError, UserWarning):
        return value.decode("ascii", "replace").replace("\ufffd", "?")
