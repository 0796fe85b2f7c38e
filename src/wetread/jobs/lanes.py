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

from collections.abc import Mapping
from enum import IntEnum
from fnmatch import fnmatchcase

from sqlalchemy import ColumnElement, case

from wetread.jobs.tables import jobs
from wetread.settings import LaneRule, Settings
from wetread.wire.glance import Tag


class Lane(IntEnum):
    """How urgent a study is; the smaller, the more."""

    STAT = 0
    URGENT = 1
    ROUTINE = 2


#: The standard's term -> our lane; any other, or none, is routine.
PRIORITIES = {"STAT": Lane.STAT, "HIGH": Lane.URGENT}

#: What a rule may look at -> where that stands in an object.
RULED = {"modality": Tag.MODALITY, "body_part": Tag.BODY_PART, "study_description": Tag.STUDY_DESCRIPTION}


def requested(seen: Mapping[int, str]) -> Lane:
    """Return the lane that an object asks for, of which `seen` holds attributes by tag."""
    asked = (seen.get(tag, "").upper() for tag in (Tag.REQUESTED_PRIORITY, Tag.STEP_PRIORITY))
    return min(PRIORITIES.get(term, Lane.ROUTINE) for term in asked)


def lane_of(seen: Mapping[int, str], calling_ae: str, rules: tuple[LaneRule, ...]) -> Lane:
    """Return the lane of an object: what it asks for, or the first rule that fits if that is more urgent.

    Parameters
    ----------
    seen
        Attributes of the object by tag, as `wetread.wire.glance.glance` returns them.
    calling_ae
        Who sends it.
    rules
        The site's own.
    """
    ruled = next((Lane[rule.lane] for rule in rules if _fits(rule, seen, calling_ae)), Lane.ROUTINE)
    return min(requested(seen), ruled)


def _fits(rule: LaneRule, seen: Mapping[int, str], calling_ae: str) -> bool:
    if not fnmatchcase(calling_ae.upper(), rule.calling_ae.upper()):
        return False
    return all(fnmatchcase(seen.get(tag, "").upper(), getattr(rule, name).upper()) for name, tag in RULED.items())


def deadlines_s(settings: Settings) -> dict[Lane, float]:
    """Return the seconds from the first object of a study to its result, by lane."""
    return {
        Lane.STAT: settings.stat_deadline_s,
        Lane.URGENT: settings.urgent_deadline_s,
        Lane.ROUTINE: settings.routine_deadline_s,
    }


def due(deadlines: Mapping[Lane, float]) -> ColumnElement[float]:
    """Return what to order jobs by: the time at which each is due, seconds since the epoch."""
    return jobs.c.created_at + case({lane.value: s for lane, s in deadlines.items()}, value=jobs.c.lane)
