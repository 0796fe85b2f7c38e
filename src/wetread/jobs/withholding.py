"""Documents that go nowhere until a person has looked, because an order is about another patient than the images.

What is decided inside the transaction that queues documents holds for all of them: either they are queued, or their
job is FAILED and they are withheld, with an alarm.  A person releases or discards them; a merge or a correction of the
order after which both sides agree has the study read again, with its order.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from wetread.jobs.index import Index
from wetread.jobs.matching import Identity, Match, match
from wetread.jobs.moves import Job, job_of, move, note
from wetread.jobs.ordered import Ordered, followed
from wetread.jobs.parcels import RETURNED
from wetread.jobs.states import Delivery, State
from wetread.jobs.tables import alerts, aside, documents, instances, jobs, outbox, withheld

MISMATCH = "PATIENT-MISMATCH"
WITHHELD = "withheld: its order is about another patient"  # for the log
#: The jobs of which nobody gets a document, by whatever door.
KEPT_BACK = select(withheld.c.job).where(withheld.c.decided.in_(("", "discarded")))
#: What may have been sent, of a study that an order contradicts afterwards.
_GONE = (State.DELIVERED.value, State.REFUSED.value)


class Withholding:
    """What of a store is withheld.

    Parameters
    ----------
    ordered
        The orders.
    """

    def __init__(self, index: Index, ordered: Ordered) -> None:
        self._index = index
        self._ordered = ordered

    def match(self, job: int) -> Match:
        """Return what the orders say of the study of a job.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        with self._index.reading() as connection:
            return self._match(connection, job)

    def _match(self, connection: Connection, job: int) -> Match:
        if not self._ordered.any(connection):
            return Match()
        told = select(instances.c.accession, instances.c.patient, instances.c.authority).distinct()
        study_uid = connection.execute(select(jobs.c.study_uid).where(jobs.c.id == job)).scalar_one()
        rows = connection.execute(told.join(jobs).where(jobs.c.study_uid == study_uid, jobs.c.id <= job)).all()
        candidates = self._ordered.candidates(connection, study_uid, {row.accession for row in rows})
        if not candidates:
            return Match()
        images = dict.fromkeys(Identity(*row).identifier for row in sorted(rows))
        return match(candidates, [followed(connection, [one]) for one in images])

    def check(self, connection: Connection, job: int, now: float) -> bool:
        """Whether the documents of a job must be withheld, which is then noted, with those of earlier versions.

        Whoever queues documents calls it in the transaction in which it does, and moves the job itself.
        """
        found = self._match(connection, job)
        if not found.contradicts or self._decided(connection, job, found.evidence):
            return False
        self._note(connection, job, found, now)
        for row in connection.execute(_versions(job).where(jobs.c.state == State.READ, jobs.c.id != job)).all():
            self._stop(connection, row.id, found, now)
        return True

    def returned(self, connection: Connection, job: int, now: float) -> Delivery:
        """Return how a result fares that others made of a copy, or a person's review, and that is filed with a job.

        It waits with what is withheld of the job; what a person discarded it follows.  Where it is the first to show
        that an order contradicts, everything that waits is withheld; the job stays as it is, if it was not READ.
        """
        decided = connection.scalar(select(withheld.c.decided).where(withheld.c.job == job))
        if decided == "":
            return Delivery.WITHHELD
        found = self._match(connection, job)
        if not found.contradicts or self._decided(connection, job, found.evidence):
            return Delivery.QUEUED
        if decided == "discarded":
            return Delivery.CANCELED
        self._stop(connection, job, found, now)
        return Delivery.WITHHELD

    def stops(self, connection: Connection, job: int, now: float) -> bool:
        """Whether an order contradicts a job that FAILED: what waits of it is withheld then."""
        found = self._match(connection, job)
        if not found.contradicts or self._decided(connection, job, found.evidence):
            return False
        self._stop(connection, job, found, now)
        return True

    def _decided(self, connection: Connection, job: int, evidence: str) -> bool:
        """Whether a person released the study already, when the same contradicted it."""
        same = select(withheld.c.job).where(withheld.c.evidence == evidence, withheld.c.decided == "released")
        return (
            connection.scalar(same.where(withheld.c.job.in_(_versions(job).with_only_columns(jobs.c.id)))) is not None
        )

    def _note(
        self, connection: Connection, job: int, found: Match, now: float, event: str = "withheld", decided: str = ""
    ) -> None:
        connection.execute(delete(withheld).where(withheld.c.job == job))
        told = {"reason": MISMATCH, "evidence": found.evidence, "order_id": found.contradicts, "decided": decided}
        connection.execute(insert(withheld).values(job=job, at=now, **told))
        note(connection, now, event, job, {"reason": MISMATCH, "order": found.contradicts})
        # Who has yet to be told of a finding is told by webhook alone, which names no patient.
        open_ones = (alerts.c.job == job) & (alerts.c.ended_at.is_(None))
        connection.execute(update(alerts).where(open_ones).values(message="", bundle=""))

    def _stop(self, connection: Connection, job: int, found: Match, now: float) -> None:
        """Withhold what still waits of a job; it is FAILED, if not all of it was delivered."""
        _hold(connection, job)
        self._note(connection, job, found, now)
        if connection.scalar(select(jobs.c.state).where(jobs.c.id == job)) == State.READ:
            move(connection, job, State.FAILED, now)

    def undecided(self) -> dict[int, str]:
        """Return the jobs whose documents are withheld, each with its reason."""
        with self._index.reading() as connection:
            rows = connection.execute(select(withheld.c.job, withheld.c.reason).where(withheld.c.decided == ""))
            return {row.job: row.reason for row in rows}

    def hold_against(self, study_uid: str) -> tuple[list[Job], list[Job], list[Job]]:
        """Hold what is here of a study against its orders, which have changed.

        Returns
        -------
        tuple of list of Job
            Those that are withheld now, those that agree now and are read again, and those whose documents are
            delivered and are contradicted.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        stopped, resolved, late = [], [], []
        of_study = select(jobs).where(jobs.c.study_uid == study_uid).order_by(jobs.c.id)
        with self._index.reading() as connection:  # mostly nothing changes
            undecided = set(connection.scalars(select(withheld.c.job).where(withheld.c.decided == "")))
            versions = [row.id for row in connection.execute(of_study).all()]
            if not undecided & set(versions) and not any(self._match(connection, one).contradicts for one in versions):
                return [], [], []
        with self._index.writing() as connection:
            now = self._index.now()
            undecided = set(connection.scalars(select(withheld.c.job).where(withheld.c.decided == "")))
            for job in map(job_of, connection.execute(of_study).all()):
                found = self._match(connection, job.id)
                if job.id in undecided and found.order is not None:
                    self._resolve(connection, job, now)
                    resolved.append(job)
                elif found.contradicts and not self._decided(connection, job.id, found.evidence):
                    if job.state is State.READ or (job.state is State.FAILED and job.id not in undecided):
                        self._stop(connection, job.id, found, now)
                        stopped.append(job)
                    elif job.state in _GONE and self._too_late(connection, job.id, found, now):
                        late.append(job)
        return stopped, resolved, late

    def _too_late(self, connection: Connection, job: int, found: Match, now: float) -> bool:
        """Note that what contradicts an order was delivered before; return whether that is news.

        A result that came back since may wait still.
        """
        row = connection.execute(select(withheld).where(withheld.c.job == job)).first()
        if row is not None and row.evidence == found.evidence:
            return False
        waits = _hold(connection, job) or (row is not None and row.decided == "")
        decided = "" if waits else "delivered"
        self._note(connection, job, found, now, "mismatch-delivered", decided)
        return True

    def _resolve(self, connection: Connection, job: Job, now: float) -> None:
        """Forget what was made without the order, and have the study read again with it; what came back may leave."""
        mine, waits = outbox.c.job == job.id, outbox.c.state == Delivery.WITHHELD
        came_back = documents.c.name.startswith(RETURNED)
        returned = outbox.c.document.in_(select(documents.c.id).where(documents.c.job == job.id, came_back))
        ended = job.state is not State.FAILED  # then only what came back, or a review, was withheld
        leaves = update(outbox).where(mine, waits, *(() if ended else (returned,)))
        connection.execute(leaves.values(state=Delivery.QUEUED, queued_at=now))
        connection.execute(update(withheld).where(withheld.c.job == job.id).values(decided="resolved"))
        note(connection, now, "mismatch-resolved", job.id, {})
        if ended:
            return
        connection.execute(delete(outbox).where(mine, waits))
        kept = select(outbox.c.document).where(mine, outbox.c.document.is_not(None))
        made = (documents.c.job == job.id) & ~came_back
        connection.execute(delete(documents).where(made, documents.c.id.not_in(kept)))
        connection.execute(delete(aside).where(aside.c.job == job.id))
        move(connection, job.id, State.COMPLETE, now, tries=0, reason="")


def _hold(connection: Connection, job: int) -> int:
    """Withhold what waits of a job, for a destination or for a person; return how much."""
    waits = (outbox.c.job == job) & outbox.c.state.in_((Delivery.QUEUED, Delivery.DEAD))
    return connection.execute(update(outbox).where(waits).values(state=Delivery.WITHHELD)).rowcount


def _versions(job: int) -> Select[Any]:
    """All versions of the study of a job."""
    study = select(jobs.c.study_uid).where(jobs.c.id == job).scalar_subquery()
    return select(jobs).where(jobs.c.study_uid == study)
