"""Studies whose blobs may go, and how they go: the index forgets them first, then the files are removed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, insert, or_, select, update

from wetread.jobs import failpoints
from wetread.jobs.commitments import Promise
from wetread.jobs.index import Index
from wetread.jobs.lanes import Lane
from wetread.jobs.moves import note
from wetread.jobs.spool import Spool
from wetread.jobs.states import TERMINAL, Delivery, State
from wetread.jobs.tables import (
    commitments,
    described,
    documents,
    instances,
    jobs,
    notices,
    outbox,
    removed,
    requests,
    resources,
)

BATCH = 100  # files in one turn at the write lock
#: What nobody goes on with; a FAILED version waits for a person, who may have it read again.
ENDED = TERMINAL - {State.FAILED}
#: What may still leave.
WAITING = (Delivery.QUEUED, Delivery.DEAD, Delivery.WITHHELD)

_versions = jobs.alias()


def _released(committing: Collection[str]) -> ColumnElement[bool]:
    """What must be true of a job before its blobs may go, however old it is or full the disk.

    It ended, and not as FAILED; no other version of its study is on its way, or FAILED; nothing of it waits for a
    destination or for a person; a destination confirmed something of the study, unless there was nothing to
    confirm, the node had pulled it as a prior, or a rule of the site let no model read it; and those in
    `committing` committed themselves to all that they confirmed.
    """
    of_study = _versions.c.study_uid == jobs.c.study_uid
    open_version = exists().where(of_study, _versions.c.state.not_in(ENDED))
    waits = exists().where(outbox.c.job == jobs.c.id, outbox.c.state.in_(WAITING))
    sent = exists().where(outbox.c.job == _versions.c.id, of_study, outbox.c.state == Delivery.SENT)
    kept = exists().where(commitments.c.parcel == outbox.c.id, commitments.c.state == Promise.KEPT)
    sent_here = exists().where(outbox.c.job == jobs.c.id, outbox.c.state == Delivery.SENT)
    uncommitted = sent_here.where(outbox.c.destination.in_(committing), ~kept)
    by_rule = jobs.c.reason == "NOT-ROUTED"
    to_confirm = exists().where(documents.c.job == jobs.c.id, documents.c.sop_instance_uid != "")
    return (
        jobs.c.state.in_(ENDED)
        & jobs.c.id.not_in(select(removed.c.job))
        & ~open_version
        & ~waits
        & ~uncommitted
        & or_(jobs.c.state == State.CANCELED, jobs.c.lane == Lane.PRIOR, by_rule, sent, ~to_confirm)
    )


class Removals:
    """The blobs of a store that may go.

    Parameters
    ----------
    spool, made
        The blobs of objects and of documents.
    failpoint
        See `wetread.jobs.failpoints`.
    """

    def __init__(self, index: Index, spool: Spool, made: Spool, failpoint: failpoints.Failpoint) -> None:
        self._index = index
        self._spool = spool
        self._made = made
        self._failpoint = failpoint

    def due(self, ended_s: float = 0.0, committing: Collection[str] = ()) -> int | None:
        """Return the job that ended first of those that may go and ended at least so long ago, s.

        Parameters
        ----------
        committing
            Destinations that must commit themselves first.
        """
        first = select(jobs.c.id).where(_released(committing)).order_by(jobs.c.changed_at, jobs.c.id).limit(1)
        if ended_s:
            first = first.where(jobs.c.changed_at <= self._index.now() - ended_s)
        with self._index.reading() as connection:
            found = connection.scalar(first)
        return None if found is None else int(found)

    def remove(self, job: int, why: str, committing: Collection[str] = ()) -> int:
        """Remove the blobs of a job; return how many files went.

        Parameters
        ----------
        why
            For the audit row.
        committing
            As for `due`.
        """
        with self._index.writing() as connection:
            if connection.scalar(select(jobs.c.id).where(jobs.c.id == job, _released(committing))) is None:
                return 0  # meanwhile a person or a peer wanted something of it
            objects = _of(connection, instances, job)
            papers = [digest for digest in _of(connection, documents, job) if digest]
            connection.execute(insert(removed).values(job=job, at=self._index.now()))
            connection.execute(update(documents).where(documents.c.job == job).values(digest=""))
            connection.execute(delete(resources).where(resources.c.digest.in_(papers)))  # they name patients
            detail = {"why": why, "objects": len(objects), "documents": len(papers)}
            note(connection, self._index.now(), "removed", job, detail)
        self._failpoint("forgotten")
        return self._unlink(self._spool, objects, job) + self._unlink(self._made, papers, job)

    def forget(self, age_s: float) -> int:
        """Forget what is so old, s: notices whose study is not on its way, requests that nobody took a report on.

        Returns
        -------
        int
            How many there were.
        """
        return self._forget_requests(age_s) + self._forget_notices(age_s)

    def _forget_requests(self, age_s: float) -> int:
        """Requests for commitment: their peer is gone, and so are most of their objects."""
        with self._index.reading() as connection:
            old = select(requests.c.id, requests.c.ae_title).where(requests.c.at <= self._index.now() - age_s)
            rows = connection.execute(old).all()
        if rows:
            with self._index.writing() as connection:
                connection.execute(delete(requests).where(requests.c.id.in_([row.id for row in rows])))
                for row in rows:
                    note(connection, self._index.now(), "commitment-not-reported", None, {"to": row.ae_title})
        return len(rows)

    def _forget_notices(self, age_s: float) -> int:
        on_its_way = select(jobs.c.study_uid).where(jobs.c.state.not_in(TERMINAL))
        old = (notices.c.at <= self._index.now() - age_s) & notices.c.study_uid.not_in(on_its_way)
        with self._index.reading() as connection:  # mostly there is none
            if connection.scalar(select(notices.c.sop_instance_uid).where(old).limit(1)) is None:
                return 0
        with self._index.writing() as connection:
            return connection.execute(delete(notices).where(old)).rowcount

    def _unlink(self, blobs: Spool, digests: Sequence[str], job: int) -> int:
        """Remove files to which nothing refers, as nobody may refer to them while the write lock is held."""
        gone = 0
        for start in range(0, len(digests), BATCH):
            batch = digests[start : start + BATCH]
            with self._index.writing() as connection:
                kept = living(connection, batch) | (set(batch) if _open(connection, job) else set())
                unneeded = set(batch) - kept
                connection.execute(delete(described).where(described.c.digest.in_(unneeded)))
                for digest in unneeded:
                    blobs.remove(digest)
                    gone += 1
        return gone


def _of(connection: Connection, table: Table, job: int) -> list[str]:
    """Return the digests of the rows of a job."""
    return list(connection.scalars(select(table.c.digest).where(table.c.job == job)))


def _open(connection: Connection, job: int) -> bool:
    """Whether a version of the job's study is on its way, or FAILED: it may make one of these documents again."""
    study = select(jobs.c.study_uid).where(jobs.c.id == job).scalar_subquery()
    unended = select(jobs.c.id).where(jobs.c.study_uid == study, jobs.c.state.not_in(ENDED))
    return connection.scalar(unended) is not None


def living(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Return which of some blobs an object or a document still needs."""
    needed = select(instances.c.digest).where(
        instances.c.digest.in_(digests), instances.c.job.not_in(select(removed.c.job))
    )
    written = select(documents.c.digest).where(documents.c.digest.in_(digests))
    return set(connection.scalars(needed)) | set(connection.scalars(written))
