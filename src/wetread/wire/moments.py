"""Dates and times, each as the span that it leaves open: 1015 is from 10:15:00.000000 to 10:15:59.999999.

References
----------
PS3.5 Section 6.2 (DA, DT, TM); PS3.4 Section C.2.2.2.5 (range matching: inclusive, with offsets from UTC).
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import datetime, timedelta

#: What a value ends with at the latest, where it says less.
LATEST = {"DA": "99991231", "TM": "235959.999999", "DT": "99991231235959.999999"}
_EARLIEST = {"DA": "00010101", "TM": "000000.000000", "DT": "00010101000000.000000"}
_FORMS = {
    "DA": re.compile(r"(\d{8})()"),
    "TM": re.compile(r"(\d\d|\d{4}|\d{6}(?:\.\d{1,6})?)()"),
    "DT": re.compile(r"(\d{4}|\d{6}|\d{8}|\d{10}|\d{12}|\d{14}(?:\.\d{1,6})?)([+-]\d\d[0-5]\d)?"),
}
_ZONE = r"(?:\+(?:0\d|1[0-4])[0-5]\d|-(?:0\d|1[0-2])[0-5]\d)(?!\d)"
_ONE = rf"\s*[\d.]+(?:{_ZONE})?\s*"
_SINGLE, _RANGE = re.compile(_ONE), re.compile(rf"({_ONE})?-({_ONE})?")
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def span(vr: str, value: str) -> tuple[int, int] | None:
    """Return the first and the last moment that a value may mean; None where it is none of its VR.

    Parameters
    ----------
    vr
        DA, TM or DT.

    Returns
    -------
    tuple of int
        To be compared within a VR: of DT microseconds since the epoch, by this machine's zone where it tells no offset.
    """
    found = _FORMS[vr].fullmatch(value.strip())
    if found is None:
        return None
    said, zone = found.groups()
    first, last = (said + rest[vr][len(said) :] for rest in (_EARLIEST, LATEST))
    if vr != "DT":
        return int(first.replace(".", "")), int(last.replace(".", ""))
    try:
        if len(said) < 8:
            last = f"{last[:6]}{monthrange(int(last[:4]), int(last[4:6]))[1]}{last[8:]}"
        return _microseconds(first, zone), _microseconds(last, zone)
    except ValueError:  # no such day
        return None


def _microseconds(moment: str, zone: str | None) -> int:
    if moment[12:14] == "60":  # a leap second
        moment = f"{moment[:12]}59{moment[14:]}"
    at = datetime.strptime(moment, "%Y%m%d%H%M%S.%f")
    if zone:
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:])) * (-1 if zone[0] == "-" else 1)
    else:
        try:
            offset = at.astimezone().utcoffset() or timedelta()
        except (OverflowError, ValueError):  # the first and the last year
            offset = timedelta()
    return (at - _EPOCH - offset) // _MICROSECOND


def fits(vr: str, known: str, asked: str) -> bool:
    """Whether a value is the one that was asked for, or may lie in the range that was.

    Parameters
    ----------
    vr
        DA, TM or DT.
    asked
        A value, or a range with one end open or none.
    """
    there = span(vr, known)
    ends = _ends(vr, asked)
    if there is None or ends is None:
        return known == asked or (there is not None and there == span(vr, asked))
    low, high = (span(vr, end) if end else there for end in ends)
    return low is not None and high is not None and low[0] <= there[1] and there[0] <= high[1]


def _ends(vr: str, asked: str) -> tuple[str, str] | None:
    """Both ends of a range, "" for an open one; None of a single value.  A hyphen of DT may begin an offset."""
    found = _RANGE.fullmatch(asked) if vr != "DT" or not _SINGLE.fullmatch(asked) else None
    return None if found is None else (found[1] or "", found[2] or "")
