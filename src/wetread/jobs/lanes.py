"""The lane of a study: how soon it is read, and how soon its documents leave.

Of what a study's objects ask for, what the site's rules say and what its last version found, the most urgent
decides.  Within a store, what waits is served by its deadline: the time of its first object, plus the seconds
that its lane allows.  So a routine study ages: it lets only those urgent ones pass that came within the
difference of the two lanes' seconds after it, and goes before all that come later.

References
----------
PS3.3 Table C.4-11: Requested Procedure Priority (0040,1003), with the terms STAT, HIGH, ROUTINE, MEDIUM, LOW.
PS3.3 Table C.30.1-1: Scheduled Procedure Step Priority (0074,1200), with the terms HIGH, MEDIUM, LOW.
Liu and Layland, Scheduling algorithms for multiprogramming in a hard-real-time environment, Journal of the
ACM 20 (1973), Section 7: the earliest deadline first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum

from sqlalchemy import ColumnElement, case

from wetread.jobs.tables import jobs
from wetread.records import Sender
from wetread.routes import Facts, Route, decide
from wetread.settings import Settings
from wetread.wire.glance import Tag


class Lane(IntEnum):
    """How urgent a study is; the smaller, the more."""

    STAT = 0
    URGENT = 1
    ROUTINE = 2
    PRIOR = 3  # the node pulled it to stand beside a newer study: read when nothing else waits, sent nowhere


#: So long others pause after a hand that had a STAT study, until the next one has it, s: received, read, sent.
LINGER_S = 0.1
#: From here on, s, a STAT study is one that comes bit by bit: between its objects others pause for `SHORTLY_S` only.
STREAMS_S = 2.0
SHORTLY_S = 0.02
#: The deadline of what is never late, s.
NEVER_S = 1e9
#: The standard's term -> our lane; any other, or none, is routine.
PRIORITIES = {"STAT": Lane.STAT, "HIGH": Lane.URGENT}


def facts_of(seen: Mapping[int, str], sender: Sender) -> Facts:
    """Return what rules may look at, of an object of which `seen` holds attributes by tag."""

    def first(tag: Tag) -> str:
        return seen.get(tag, "").partition("\\")[0].strip()

    priorities = (first(tag) for tag in (Tag.REQUESTED_PRIORITY, Tag.STEP_PRIORITY))
    return Facts(
        sender.calling_ae,
        sender.called_ae,
        first(Tag.MODALITY),
        first(Tag.BODY_PART),
        first(Tag.STUDY_DESCRIPTION),
        first(Tag.SERIES_DESCRIPTION),
        first(Tag.STATION_NAME),
        tuple(term for term in priorities if term),
        sender.at,
    )


def local(at: float) -> datetime:
    """Return a time, seconds since the epoch, in the node's own time zone: that of its rules."""
    return datetime.fromtimestamp(at, UTC).astimezone()


def requested(terms: Iterable[str]) -> Lane:
    """Return the lane that an object asks for by the terms of its priorities."""
    return min((PRIORITIES.get(term.upper(), Lane.ROUTINE) for term in terms), default=Lane.ROUTINE)


def lane_of(facts: Facts, rules: Sequence[Route]) -> Lane:
    """Return the lane of an object: what it asks for, or what the rules say if that is more urgent."""
    ruled = decide(rules, facts).lane
    return min(requested(facts.priority), Lane[ruled] if ruled else Lane.ROUTINE)


def deadlines_s(settings: Settings) -> dict[Lane, float]:
    """Return the seconds from the first object of a study to its result, by lane."""
    return {
        Lane.STAT: settings.stat_deadline_s,
        Lane.URGENT: settings.urgent_deadline_s,
        Lane.ROUTINE: settings.routine_deadline_s,
        Lane.PRIOR: NEVER_S,
    }


def due(deadlines: Mapping[Lane, float]) -> ColumnElement[float]:
    """Return what to order jobs by: the time at which each is due, seconds since the epoch."""
    return jobs.c.created_at + case({lane.value: s for lane, s in deadlines.items()}, value=jobs.c.lane)
