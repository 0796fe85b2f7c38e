"""Times of day and days of the week, as rules write them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DAY_MIN = 24 * 60


@lru_cache(maxsize=256)
def minutes_of(spans: tuple[str, ...]) -> frozenset[int]:
    """Return the minutes of a day in spans such as "18:00-07:00"; without any, all of them.

    Raises
    ------
    ValueError
        A span has another form.
    """
    if not spans:
        return frozenset(range(DAY_MIN))
    return frozenset(minute for span in spans for minute in _span(span))


def _span(text: str) -> Iterator[int]:
    try:
        first, last = (datetime.strptime(part.strip(), "%H:%M") for part in text.split("-"))
    except ValueError:
        raise ValueError(f'time: expected a span such as "18:00-07:00", got {text!r}') from None
    begin, end = first.hour * 60 + first.minute, last.hour * 60 + last.minute
    return (minute % DAY_MIN for minute in range(begin, end if end > begin else end + DAY_MIN))


@lru_cache(maxsize=256)
def days_of(spans: tuple[str, ...]) -> frozenset[int]:
    """Return the days, Monday 0, of spans such as "Mon-Fri" or "Sun"; without any, all of them.

    Raises
    ------
    ValueError
        There is no such day.
    """
    if not spans:
        return frozenset(range(7))
    found: set[int] = set()
    for span in spans:
        first, _, last = span.upper().replace(" ", "").partition("-")
        if first not in WEEKDAYS or (last or first) not in WEEKDAYS:
            raise ValueError(f'weekday: expected a day such as "Sat" or a span such as "Mon-Fri", got {span!r}')
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        found |= {day % 7 for day in range(begin, (end if end >= begin else end + 7) + 1)}
    return frozenset(found)
