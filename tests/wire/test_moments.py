"""Dates and times of any precision, with and without an offset from UTC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from wetread.wire.moments import fits, span

#: 2026-01-01 00:00:00 UTC.
NEW_YEAR = 1_767_225_600_000_000
SECOND = 1_000_000


@pytest.mark.parametrize(
    ("value", "first_s", "last_s"),
    [
        ("20260101000000+0000", 0, 1),
        ("20260101010000+0100", 0, 1),
        ("20251231190000-0500", 0, 1),
        ("202601010000+0000", 0, 60),
        ("20260101+0000", 0, 86_400),
        ("202601+0000", 0, 31 * 86_400),
        ("202602+0000", 31 * 86_400, 59 * 86_400),
        ("2026+0000", 0, 365 * 86_400),
        ("20260101000060+0000", 59, 60),  # a leap second
    ],
)
def test_a_date_and_time_is_a_span(value: str, first_s: int, last_s: int) -> None:
    assert span("DT", value) == (NEW_YEAR + first_s * SECOND, NEW_YEAR + last_s * SECOND - 1)


@pytest.mark.parametrize(
    ("vr", "value"),
    [
        ("DT", "20261301"),
        ("DT", "202613"),
        ("DT", "20260230"),
        ("DT", "tomorrow"),
        ("DA", "2026"),
        ("TM", "1"),
        ("TM", ""),
    ],
)
def test_what_is_none(vr: str, value: str) -> None:
    assert span(vr, value) is None


@pytest.mark.parametrize(
    ("vr", "known", "asked", "expected"),
    [
        ("DT", "20260101", "20260101000000-20260101235959", True),
        ("DT", "20260102", "20260101000000-20260101235959", False),
        ("DT", "20260101233000-0500", "20260102000000+0000-20260102235959+0000", True),
        ("DT", "20260101", "2025-2026", True),
        ("DT", "2026", "2026-0500", False),  # one year, elsewhere
        ("DT", "0001", "-99991231", True),
        ("TM", "101500", "101500.000000-", True),
        ("TM", "101500", "-101500", True),
        ("TM", "101500", "1015-1130", True),
        ("TM", "1015", "101530-11", True),
        ("TM", "101500", "101501-", False),
        ("TM", "noon", "10-11", False),
        ("TM", "101500", "ten-11", False),
        ("DA", "20260101", "-", True),
    ],
)
def test_a_value_fits_what_it_may_mean(vr: str, known: str, asked: str, expected: bool) -> None:
    assert fits(vr, known, asked) is expected


@given(some.text(alphabet="019+-. x", max_size=30), some.text(alphabet="0129+-. x", max_size=40))
def test_it_never_fails(known: str, asked: str) -> None:
    for vr in ("DA", "TM", "DT"):
        fits(vr, known, asked)
