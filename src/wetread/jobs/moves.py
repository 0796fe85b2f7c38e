"""How a job changes its state: every change, from whatever room of the store, goes through here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from wetread.errors import StoreError
from wetread.jobs.lanes import Lane
from wetread.jobs.states import MAY_FOLLOW, Delivery, State
from wetread.jobs.tables import audit, jobs, outbox


@dataclass(frozen=True, slots=True)
class Job:
    """One version of one study."""

    id: int
    study_uid: str
    version: int
    state: State
    tries: int
    reason: str
    lane: Lane = Lane.ROUTINE
    created_at: float = 0.0  # when its first object came, seconds since the epoch
    changed_at: float = 0.0  # when it got its state
    trace_id: str = ""


def job_of(row: Row[Any]) -> Job:
    """Return a row of `jobs` as a record."""
    known = (row.id, row.study_uid, row.version, State(row.state), row.tries, row.reason, Lane(row.lane))
    return Job(*known, row.created_at, row.changed_at, row.trace_id)


def move(connection: Connection, job: int, new: State, now: float, **values: Any) -> None:
    """Change a job's state.

    Raises
    ------
    StoreError
        The transition is not declared in `wetread.jobs.states`.
    """
    allowed = [state.value for state in MAY_FOLLOW[new]]
    changed = connection.execute(
        update(jobs)
        .where(jobs.c.id == job, jobs.c.state.in_(allowed))
        .values(state=new.value, changed_at=now, **values)
    )
    if changed.rowcount != 1:
        raise StoreError(f"job {job}: cannot become {new}; only {', '.join(sorted(allowed))} can")


def settle(connection: Connection, job: int, now: float) -> State | None:
    """Move a job that was read to its terminal state when nothing of it waits any more.

    Returns
    -------
    State or None
        The state that it reached just now.
    """
    found = connection.execute(select(jobs.c.state, jobs.c.reason).where(jobs.c.id == job)).one()
    states = set(connection.scalars(select(outbox.c.state).where(outbox.c.job == job).distinct()))
    if found.state != State.READ or Delivery.QUEUED in states:
        return None
    if Delivery.DEAD in states:
        note(connection, now, "delivery-failed", job, {})
        state = State.FAILED
    else:
        state = State.REFUSED if found.reason else State.DELIVERED
    move(connection, job, state, now)
    return state


def note(connection: Connection, now: float, event: str, job: int | None, detail: dict[str, Any]) -> None:
    """Write an audit row."""
    text = json.dumps(detail, sort_keys=True)
    connection.execute(insert(audit).values(at=now, event=event, job=job, detail=text))
