"""What people and metrics ask of a store; nothing here changes anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, case, func, or_, select

from wetread.jobs.index import Index
from wetread.jobs.lanes import Lane, due
from wetread.jobs.moves import Job, job_of
from wetread.jobs.states import TERMINAL, Delivery, State
from wetread.jobs.tables import audit, instances, jobs, outbox

#: The states of a job that has no result yet.
WAITING = (State.RECEIVED.value, State.COMPLETE.value, State.READING.value)


class Overview:
    """Counts, ages and lists."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self._index.reading() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        return {state.value: 0 for state in State} | {row[0]: row[1] for row in rows}

    def depths(self, state: Delivery = Delivery.QUEUED) -> dict[str, tuple[int, float]]:
        """Return for each destination how many documents are in a state and the age of the oldest, s."""
        with self._index.reading() as connection:
            rows = connection.execute(
                select(outbox.c.destination, func.count(), func.min(outbox.c.queued_at))
                .where(outbox.c.state == state)
                .group_by(outbox.c.destination)
            ).all()
        return {row[0]: (row[1], max(0.0, self._index.now() - row[2])) for row in rows}

    def blocked(self) -> dict[tuple[str, str], int]:
        """Return how much may not leave de-identified, by destination and reason."""
        found = select(outbox.c.destination, outbox.c.reason, func.count()).where(outbox.c.state == Delivery.BLOCKED)
        with self._index.reading() as connection:
            rows = connection.execute(found.group_by(outbox.c.destination, outbox.c.reason)).all()
        return {(row[0], row[1]): int(row[2]) for row in rows}

    def oldest_s(self) -> float:
        """Return the age of the oldest job that has not ended, s; 0 if there is none."""
        with self._index.reading() as connection:
            ended = [state.value for state in TERMINAL]
            since = connection.scalar(select(func.min(jobs.c.created_at)).where(jobs.c.state.not_in(ended)))
        return 0.0 if since is None else max(0.0, self._index.now() - float(since))

    def age_s(self, job: Job) -> float:
        """Return how long ago the first object of a job came, s."""
        return max(0.0, self._index.now() - job.created_at)

    def late_s(self, deadlines: Mapping[Lane, float]) -> float:
        """Return for how long the study that is late longest could have been read, s; 0 if none is late.

        What failed before and waits for another try, or is tried again, does not count.

        Parameters
        ----------
        deadlines
            Seconds from the first object of a study to its result, by lane.
        """
        late_since = case((jobs.c.changed_at > due(deadlines), jobs.c.changed_at), else_=due(deadlines))
        first = or_(
            and_(jobs.c.state == State.COMPLETE, jobs.c.tries == 0),
            and_(jobs.c.state == State.READING, jobs.c.tries == 1),
        )
        with self._index.reading() as connection:
            since = connection.scalar(select(func.min(late_since)).where(first))
        return 0.0 if since is None else max(0.0, self._index.now() - float(since))

    def lanes(self) -> dict[Lane, tuple[int, float]]:
        """Return for each lane how many studies have no result yet and the age of the oldest, s."""
        with self._index.reading() as connection:
            rows = connection.execute(
                select(jobs.c.lane, func.count(), func.min(jobs.c.created_at))
                .where(jobs.c.state.in_(WAITING))
                .group_by(jobs.c.lane)
            ).all()
        found = {Lane(lane): (number, max(0.0, self._index.now() - since)) for lane, number, since in rows}
        return {lane: found.get(lane, (0, 0.0)) for lane in Lane}

    def waiting(self) -> dict[str, int]:
        """Return the studies that have no result yet, each with the bytes of its objects."""
        asked = select(jobs.c.study_uid, func.sum(instances.c.bytes)).join(instances, instances.c.job == jobs.c.id)
        with self._index.reading() as connection:
            rows = connection.execute(asked.where(jobs.c.state.in_(WAITING)).group_by(jobs.c.study_uid)).all()
        return {study_uid: int(size) for study_uid, size in rows}

    def versions(self, study_uid: str) -> list[Job]:
        """Return all versions of a study, the first first."""
        with self._index.reading() as connection:
            rows = connection.execute(select(jobs).where(jobs.c.study_uid == study_uid).order_by(jobs.c.version)).all()
        return [job_of(row) for row in rows]

    def audits(self) -> list[tuple[str, int | None, dict[str, Any]]]:
        """Return the audit rows: event, job, detail."""
        with self._index.reading() as connection:
            rows = connection.execute(select(audit.c.event, audit.c.job, audit.c.detail).order_by(audit.c.id)).all()
        return [(row.event, row.job, json.loads(row.detail)) for row in rows]
