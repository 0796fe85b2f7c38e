"""A look at an encoded object on its way in: what decides about its lane, and with what it is read.

Nothing is decoded that is longer than a short value, and nothing here refuses an object: what cannot be read is
not there.

References
----------
PS3.5 Sections 7.1 and 7.5; PS3.3 Tables C.4-11, C.7-1, C.7-3 and C.30.1-1; PS3.4 Tables C.6-2 and C.6-3
(numbers of related instances, that some archives leave in what they send).
"""

from __future__ import annotations

from enum import IntEnum

from wetread.errors import BadInput
from wetread.wire.part10 import outermost


class Tag(IntEnum):
    """The attributes that are looked at."""

    MODALITY = 0x00080060
    STUDY_DESCRIPTION = 0x00081030
    BODY_PART = 0x00180015
    SERIES = 0x0020000E
    STUDY_INSTANCES = 0x00201208
    SERIES_INSTANCES = 0x00201209
    REQUESTED_PRIORITY = 0x00401003
    STEP_PRIORITY = 0x00741200


_WANTED = frozenset(map(int, Tag))


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
        Values up to 64 bytes, without padding; bytes beyond ASCII become "?", which no exact rule fits.
    """
    found: dict[int, str] = {}
    try:
        for tag, value in outermost(data, transfer_syntax):
            if tag > max(_WANTED):
                break
            if tag in _WANTED:
                found[tag] = bytes(value).decode("ascii", "replace").replace("�", "?").strip(" \0")
    except BadInput:  # filed already: what is broken behind its UIDs is the reader's business
        pass
    return found
