"""The work items that this node performs: noted before they are claimed, so that a claim outlives the process.

References
----------
PS3.4 Section CC.2.1.2, note 1 (a performer records its Transaction UID in non-volatile storage).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, insert, select, update

from wetread.jobs.index import Index
from wetread.jobs.moves import Job, job_of
from wetread.jobs.parcels import present
from wetread.jobs.states import Delivery
from wetread.jobs.tables import aside, documents, jobs, outbox, performing
from wetread.jobs.withholding import KEPT_BACK
from wetread.settings import Destination
from wetread.uids import new_uid
from wetread.wire.dicomjson import DataSet
from wetread.wire.performing import Output


@dataclass(frozen=True, slots=True)
class Task:
    """One work item that is performed, or is to be."""

    manager: str  # "": our own list
    uid: str  # SOP Instance UID
    transaction_uid: str
    content: DataSet  # as it was when it was found
    claimed: bool
    canceling: DataSet | None  # why somebody wants it canceled
    told: str  # the progress that was told last
    begun_at: float


class Tasks:
    """The tasks in a store."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def all(self) -> list[Task]:
        """Return every task, the oldest first."""
        with self._index.reading() as connection:
            return [_task(row) for row in connection.execute(select(performing).order_by(performing.c.id))]

    def begin(self, manager: str, uid: str, content: DataSet) -> bool:
        """Note that a work item is about to be claimed; return whether it was not noted yet."""
        with self._index.writing() as connection:
            if connection.scalar(select(performing.c.id).where(_is(manager, uid))) is not None:
                return False
            row = {"manager": manager, "workitem": uid, "transaction_uid": new_uid(), "content": json.dumps(content)}
            connection.execute(insert(performing).values(**row, begun_at=self._index.now()))
        return True

    def claimed(self, task: Task, content: DataSet) -> None:
        """The claim was granted; this is the item since when nobody else changes it."""
        self._set(task, claimed=1, content=json.dumps(content))

    def tell(self, task: Task, told: str) -> None:
        """Note the progress that was told last."""
        self._set(task, told=told)

    def drop(self, task: Task) -> None:
        """It is over: ended, or somebody else's."""
        with self._index.writing() as connection:
            connection.execute(delete(performing).where(_is(task.manager, task.uid)))

    def ask_to_cancel(self, connection: Connection, manager: str, uid: str, reason: DataSet) -> bool:
        """Note that somebody wants a task canceled; return whether it is one of ours."""
        row = {"canceling": json.dumps(reason)}
        return connection.execute(update(performing).where(_is(manager, uid)).values(**row)).rowcount == 1

    def cancel(self, manager: str, uid: str, reason: DataSet) -> bool:
        """Note in a transaction of its own that somebody wants a task canceled; return whether it is one of ours."""
        with self._index.writing() as connection:
            return self.ask_to_cancel(connection, manager, uid, reason)

    def follow(self, managers: Sequence[Destination]) -> None:
        """Take what is noted of a manager that moved for that of where it is now.

        Parameters
        ----------
        managers
            Those of the settings.
        """
        with self._index.writing() as connection:
            for name in connection.scalars(
                select(performing.c.manager).where(performing.c.manager != "").distinct()
            ).all():
                (now,) = present([name], managers)
                if now == name:
                    continue
                there = select(performing.c.workitem).where(performing.c.manager == now)
                mine = (performing.c.manager == name) & performing.c.workitem.not_in(there)
                connection.execute(update(performing).where(mine).values(manager=now))

    def _set(self, task: Task, **row: Any) -> None:
        with self._index.writing() as connection:
            connection.execute(update(performing).where(_is(task.manager, task.uid)).values(**row))

    # ---- what became of the study ---------------------------------------------------------

    def latest(self, study_uid: str) -> Job | None:
        """Return the newest version of a study, or None if nothing of it is here."""
        newest = select(jobs).where(jobs.c.study_uid == study_uid).order_by(jobs.c.version.desc()).limit(1)
        with self._index.reading() as connection:
            row = connection.execute(newest).first()
        return None if row is None else job_of(row)

    def unanswered(self, job: Job) -> bool:
        """Whether the refusals of a job that was given up are still to come, or on their way."""
        with self._index.reading() as connection:
            waits = exists().where(outbox.c.job == job.id, outbox.c.state == Delivery.QUEUED)
            to_come = exists().where(aside.c.job == job.id)
            return bool(connection.scalar(select(waits | to_come)))

    def outputs(self, study_uid: str) -> list[tuple[Output, tuple[str, ...]]]:
        """Return the DICOM documents of a study that no newer one replaces, and which destinations confirmed each.

        None that is withheld is among them.
        """
        of_study = select(documents, jobs.c.version).join(jobs, jobs.c.id == documents.c.job)
        of_study = of_study.where(
            jobs.c.study_uid == study_uid, documents.c.series_uid != "", jobs.c.id.not_in(KEPT_BACK)
        )
        sent = select(documents.c.sop_instance_uid, outbox.c.destination).join(outbox)
        with self._index.reading() as connection:
            newest: dict[tuple[str, str], Sequence[Row[Any]]] = {}
            for row in connection.execute(of_study.order_by(jobs.c.version, documents.c.id)):
                before = newest.get((row.kind, row.series_uid), ())
                same = [one for one in before if one.version == row.version]
                newest[row.kind, row.series_uid] = [*same, row]
            found = [row for rows in newest.values() for row in rows]
            uids = [row.sop_instance_uid for row in found]
            confirmed = sent.where(documents.c.sop_instance_uid.in_(uids), outbox.c.state == Delivery.SENT)
            pairs = {(row.sop_instance_uid, row.destination) for row in connection.execute(confirmed)}
        return [
            (
                Output(row.series_uid, row.sop_class_uid, row.sop_instance_uid),
                tuple(sorted(name for uid, name in pairs if uid == row.sop_instance_uid)),
            )
            for row in found
        ]


def _is(manager: str, uid: str) -> Any:
    return (performing.c.manager == manager) & (performing.c.workitem == uid)


def _task(row: Row[Any]) -> Task:
    canceling = json.loads(row.canceling) if row.canceling else None
    content = json.loads(row.content)
    known = (row.manager, row.workitem, row.transaction_uid, content, bool(row.claimed))
    return Task(*known, canceling, row.told, row.begun_at)
