"""Critical findings that somebody is told of: filed with the result, kept until somebody acknowledged or nobody did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from wetread.jobs.index import Index
from wetread.jobs.moves import note
from wetread.jobs.tables import alerts, jobs
from wetread.records import Alarm


class Told(StrEnum):
    """What became of an alert."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    UNANSWERED = "UNANSWERED"  # all were told, or could not be, and nobody acknowledged


@dataclass(frozen=True, slots=True)
class Pending:
    """One alert that nobody acknowledged yet."""

    id: int
    job: int
    rule: str
    token: str
    step: int  # whose turn it is
    begun_at: float  # since when, seconds since the epoch
    told: bool  # whether they took it
    body: bytes
    message: bytes
    bundle: bytes


def file(connection: Connection, job: int, made: Iterable[Alarm], now: float) -> None:
    """Keep what is to be told of a job, but nothing that was before of the same study."""
    study_uid = connection.execute(select(jobs.c.study_uid).where(jobs.c.id == job)).scalar_one()
    told = select(alerts.c.rule, alerts.c.tracking_uid).where(alerts.c.study_uid == study_uid)
    known = {(row.rule, row.tracking_uid) for row in connection.execute(told)}
    new = {(one.rule, one.tracking_uid): one for one in made if (one.rule, one.tracking_uid) not in known}
    for one in new.values():
        text = {"body": one.body.decode(), "message": one.message.decode("latin_1"), "bundle": one.bundle.decode()}
        about = {"rule": one.rule, "tracking_uid": one.tracking_uid, "token": one.token, **text}
        state = {"state": Told.OPEN.value, "step": 0, "begun_at": now}
        connection.execute(insert(alerts).values(job=job, study_uid=study_uid, **about, **state))


class Alerts:
    """The alerts of a store."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def pending(self) -> list[Pending]:
        """Return the alerts that nobody acknowledged, the oldest first."""
        with self._index.reading() as connection:
            rows = connection.execute(select(alerts).where(alerts.c.state == Told.OPEN).order_by(alerts.c.id))
            return [_pending(row) for row in rows]

    def told(self, alert: Pending) -> None:
        """Record that whose turn it is took it."""
        with self._index.writing() as connection:
            connection.execute(_open(alert.id).values(told_at=self._index.now()))

    def escalate(self, alert: Pending) -> None:
        """Record that it is the turn of the next."""
        with self._index.writing() as connection:
            now = self._index.now()
            connection.execute(_open(alert.id).values(step=alert.step + 1, begun_at=now, told_at=None))
            note(connection, now, "alert-escalated", alert.job, {"rule": alert.rule, "step": alert.step + 1})

    def end(self, alert: Pending, state: Told) -> bool:
        """Record what became of an alert; return whether that was not known before."""
        with self._index.writing() as connection:
            return self._end(connection, alert.id, alert.job, alert.rule, state)

    def _end(self, connection: Connection, alert: int, job: int, rule: str, state: Told) -> bool:
        now = self._index.now()
        names_no_patient = {"body": "", "message": "", "bundle": ""}
        values = {"state": state.value, "ended_at": now, **names_no_patient}
        if connection.execute(_open(alert).values(**values)).rowcount != 1:
            return False
        note(connection, now, f"alert-{state.lower()}", job, {"rule": rule})
        return True

    def acknowledge(self, token: str) -> bool:
        """Record that a person knows; return False where no alert has such a token.

        One that ended stays as it was, but for one that nobody had answered.
        """
        with self._index.writing() as connection:
            row = connection.execute(select(alerts).where(alerts.c.token == token)).first()
            if row is None:
                return False
            if not self._end(connection, row.id, row.job, row.rule, Told.ACKNOWLEDGED) and row.state == Told.UNANSWERED:
                late = update(alerts).where(alerts.c.id == row.id)
                connection.execute(late.values(state=Told.ACKNOWLEDGED.value, ended_at=self._index.now()))
                note(connection, self._index.now(), "alert-acknowledged", row.job, {"rule": row.rule, "late": True})
            return True

    def known(self, token: str) -> tuple[str, Told] | None:
        """Return rule and state of the alert with a token, or None."""
        with self._index.reading() as connection:
            row = connection.execute(select(alerts.c.rule, alerts.c.state).where(alerts.c.token == token)).first()
        return None if row is None else (row.rule, Told(row.state))


def _open(alert: int) -> Any:
    return update(alerts).where(alerts.c.id == alert, alerts.c.state == Told.OPEN.value)


def _pending(row: Row[Any]) -> Pending:
    texts = row.body.encode(), row.message.encode("latin_1"), row.bundle.encode()
    return Pending(row.id, row.job, row.rule, row.token, row.step, row.begun_at, row.told_at is not None, *texts)
