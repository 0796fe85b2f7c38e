"""Spool and index together: every durable step of a job is one method, and one commit."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from wetread.errors import StoreError
from wetread.jobs import failpoints, index
from wetread.jobs.spool import Spool
from wetread.jobs.states import MAY_FOLLOW, TERMINAL, Delivery, State
from wetread.jobs.tables import aside, audit, documents, instances, jobs, outbox
from wetread.records import Document


@dataclass(frozen=True, slots=True)
class Arrival:
    """An object that was received; its blob is in the spool."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    transfer_syntax: str
    source: str  # AE title
    digest: str
    bytes: int


class Effect(Enum):
    """What an arrival changed."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same bytes are here already
    CONFLICT = "conflict"  # other bytes are here already; the first stay
    OWN = "own"  # one of our own documents came back


@dataclass(frozen=True, slots=True)
class Job:
    """One version of one study."""

    id: int
    study_uid: str
    version: int
    state: State
    tries: int
    reason: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """One document on its way to one destination."""

    id: int
    job: int
    digest: str
    tries: int


def _job(row: Row[Any]) -> Job:
    return Job(row.id, row.study_uid, row.version, State(row.state), row.tries, row.reason)


def file_name(digest: str) -> str:
    """Return the name of an object for people: the beginning of its digest."""
    return f"{digest[:16]}.dcm"


class Store:
    """The durable memory of one node.

    Parameters
    ----------
    state
        The folder of spool and index.
    now
        Seconds since the epoch.
    failpoint
        See `wetread.jobs.failpoints`.

    Raises
    ------
    StoreError
        The folder cannot be used, is in use, or holds an index and a spool that do not match.
    """

    def __init__(
        self,
        state: Path,
        now: Callable[[], float] = time.time,
        failpoint: failpoints.Failpoint = failpoints.none,
    ) -> None:
        self.failpoint = failpoint
        self._now = now
        self._write = threading.Lock()
        self._closed = False
        try:
            state.mkdir(parents=True, exist_ok=True)
            self._lock = index.Lock(state)
        except OSError as error:
            raise StoreError(f"store: {state} cannot be used: {error.strerror}") from error
        try:
            self.spool = Spool(state / "spool", failpoint)
            self._engine = index.open_engine(state)
            with self._writing() as connection:
                index.match(connection, self.spool)
            self.removed = self._remove_orphans()
        except OSError as error:
            self._lock.release()
            raise StoreError(f"store: {state} cannot be used: {error.strerror}") from error
        except StoreError:
            self._engine.dispose()
            self._lock.release()
            raise

    def close(self) -> None:
        """Close the index and let other processes in; a thread that was cut off can write no more."""
        with self._write:
            self._closed = True
            self._engine.dispose()
            self._lock.release()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One transaction; when the block ends it is on disk."""
        try:
            with self._write:
                if self._closed:
                    raise StoreError("store: is closed")
                with self._engine.begin() as connection:
                    yield connection
        except DBAPIError as error:
            raise index.translated(error) from error

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except DBAPIError as error:
            raise index.translated(error) from error

    def _remove_orphans(self) -> int:
        """Remove blobs that were written but never referred to: nobody was told that we keep them."""
        with self._reading() as connection:
            known = set(connection.scalars(select(instances.c.digest)))
            known.update(connection.scalars(select(documents.c.digest)))
        orphans = [digest for digest in self.spool.digests() if digest not in known]
        for digest in orphans:
            self.spool.remove(digest)
        return len(orphans)

    # ---- arrivals -------------------------------------------------------------------------

    def admit(self, arrivals: Sequence[Arrival]) -> list[Effect]:
        """Index objects whose blobs are written; afterwards they may be acknowledged.

        One fsync of each folder and one commit for all of them.
        """
        self.spool.sync(arrival.digest for arrival in arrivals)
        self.failpoint("folder-synced")
        with self._writing() as connection:
            effects = [self._admit(connection, arrival) for arrival in arrivals]
        self.failpoint("indexed")
        for arrival, effect in zip(arrivals, effects, strict=True):
            if effect in (Effect.CONFLICT, Effect.OWN):
                self._discard(arrival.digest)
        return effects

    def _admit(self, connection: Connection, arrival: Arrival) -> Effect:
        known = connection.execute(
            select(instances.c.digest, instances.c.job).where(instances.c.sop_instance_uid == arrival.sop_instance_uid)
        ).first()
        if known is not None:
            if known.digest == arrival.digest:
                return Effect.DUPLICATE
            detail = {"kept": known.digest, "refused": arrival.digest, "source": arrival.source}
            self._audit(connection, "conflicting-instance", known.job, detail)
            return Effect.CONFLICT
        own = select(documents.c.id).where(documents.c.sop_instance_uid == arrival.sop_instance_uid)
        if connection.execute(own).first() is not None:
            return Effect.OWN
        values = {
            "sop_instance_uid": arrival.sop_instance_uid,
            "sop_class_uid": arrival.sop_class_uid,
            "transfer_syntax": arrival.transfer_syntax,
            "digest": arrival.digest,
            "bytes": arrival.bytes,
            "source": arrival.source,
        }
        job = self._job_for(connection, arrival.study_uid)
        connection.execute(insert(instances).values(job=job, received_at=self._now(), **values))
        return Effect.NEW

    def _job_for(self, connection: Connection, study_uid: str) -> int:
        """The version of the study that still takes objects, or a new one."""
        latest = connection.execute(
            select(jobs.c.id, jobs.c.state, jobs.c.version)
            .where(jobs.c.study_uid == study_uid)
            .order_by(jobs.c.version.desc())
            .limit(1)
        ).first()
        if latest is not None and latest.state == State.RECEIVED:
            return int(latest.id)
        if latest is not None and latest.state == State.COMPLETE:
            self._move(connection, latest.id, State.RECEIVED)
            return int(latest.id)
        version = 1 if latest is None else latest.version + 1
        made = connection.execute(
            insert(jobs).values(
                study_uid=study_uid,
                version=version,
                state=State.RECEIVED,
                created_at=self._now(),
                changed_at=self._now(),
            )
        )
        assert made.inserted_primary_key is not None
        return int(made.inserted_primary_key[0])

    def _discard(self, digest: str) -> None:
        """Remove a blob if nothing refers to it."""
        with self._write, self._reading() as connection:
            for table in (instances, documents):
                if connection.execute(select(table.c.digest).where(table.c.digest == digest)).first() is not None:
                    return
            self.spool.remove(digest)

    # ---- jobs -----------------------------------------------------------------------------

    def _move(self, connection: Connection, job: int, new: State, **values: Any) -> None:
        """Change a job's state; every change goes through here.

        Raises
        ------
        StoreError
            The transition is not declared in `wetread.jobs.states`.
        """
        allowed = [state.value for state in MAY_FOLLOW[new]]
        changed = connection.execute(
            update(jobs)
            .where(jobs.c.id == job, jobs.c.state.in_(allowed))
            .values(state=new, changed_at=self._now(), **values)
        )
        if changed.rowcount != 1:
            raise StoreError(f"job {job}: cannot become {new}; only {', '.join(allowed)} can")

    def complete(self, study_uid: str) -> int | None:
        """Declare the objects of a study complete; return its job, if one was waiting for that."""
        with self._writing() as connection:
            job = connection.scalar(
                select(jobs.c.id).where(jobs.c.study_uid == study_uid, jobs.c.state == State.RECEIVED)
            )
            if job is not None:
                self._move(connection, job, State.COMPLETE)
        if job is not None:
            self.failpoint("completed")
        return job

    def incomplete(self) -> list[str]:
        """Return the studies that still take objects."""
        with self._reading() as connection:
            return list(connection.scalars(select(jobs.c.study_uid).where(jobs.c.state == State.RECEIVED)))

    def take(self, but: frozenset[int] = frozenset()) -> Job | None:
        """Begin to read the oldest complete job, if there is one, and count the try.

        Parameters
        ----------
        but
            Jobs whose time for another try has not come.
        """
        with self._writing() as connection:
            row = connection.execute(
                select(jobs)
                .where(jobs.c.state == State.COMPLETE, jobs.c.id.not_in(but))
                .order_by(jobs.c.tries, jobs.c.id)
                .limit(1)
            ).first()
            if row is None:
                return None
            self._move(connection, row.id, State.READING, tries=row.tries + 1)
        self.failpoint("reading")
        return Job(row.id, row.study_uid, row.version, State.READING, row.tries + 1, row.reason)

    def files(self, job: int) -> list[tuple[str, bytes]]:
        """Return the objects of a job as named files, in the order of their SOP Instance UIDs.

        Raises
        ------
        StoreError
            A blob cannot be read or has changed.
        """
        return [(file_name(digest), self.spool.get(digest)) for digest in self.digests(job)]

    def digests(self, job: int) -> list[str]:
        """Return the digests of the objects of a job, in the order of their SOP Instance UIDs."""
        with self._reading() as connection:
            return list(
                connection.scalars(
                    select(instances.c.digest).where(instances.c.job == job).order_by(instances.c.sop_instance_uid)
                )
            )

    def finish(
        self, job: int, made: Sequence[Document], destinations: Mapping[str, tuple[str, ...]], refusal: str
    ) -> State:
        """Store the documents of a job, queue them for every destination, and record its state.

        Parameters
        ----------
        made
            Everything that was made.
        destinations
            Name of a destination -> the kinds of documents that it gets.
        refusal
            The refusal code if nothing was read, else "".

        Returns
        -------
        State
            READ, or the terminal state if there is nothing to deliver.
        """
        digests = self._spooled(made)
        with self._writing() as connection:
            self._move(connection, job, State.READ, reason=refusal)
            for document, digest in zip(made, digests, strict=True):
                self._enclose(connection, job, document, digest, destinations)
            state = self._settle(connection, job)
        self.failpoint("documents-stored")
        return state

    def _spooled(self, made: Sequence[Document]) -> list[str]:
        """Make the blobs of documents durable; return their digests."""
        digests = [self.spool.put(document.data) for document in made]
        self.spool.sync(digests)
        self.failpoint("documents-spooled")
        return digests

    def _enclose(
        self,
        connection: Connection,
        job: int,
        document: Document,
        digest: str,
        destinations: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Index one document and queue it for whoever gets its kind and has not been given it."""
        queued = (
            select(outbox.c.destination)
            .join(documents)
            .where(documents.c.sop_instance_uid == document.sop_instance_uid)
        )
        known = set(connection.scalars(queued)) if document.sop_class_uid else set(destinations)
        made = connection.execute(
            insert(documents).values(
                job=job,
                kind=document.kind,
                name=document.name,
                sop_instance_uid=document.sop_instance_uid,
                digest=digest,
            )
        )
        assert made.inserted_primary_key is not None
        for destination, kinds in destinations.items():
            if document.kind in kinds and destination not in known:
                connection.execute(
                    insert(outbox).values(
                        document=made.inserted_primary_key[0],
                        job=job,
                        destination=destination,
                        state=Delivery.QUEUED,
                        queued_at=self._now(),
                    )
                )

    def _settle(self, connection: Connection, job: int) -> State:
        """Move a job that was read to its terminal state when nothing of it waits any more."""
        now = connection.execute(select(jobs.c.state, jobs.c.reason).where(jobs.c.id == job)).one()
        waits = select(outbox.c.id).where(outbox.c.job == job, outbox.c.state == Delivery.QUEUED).limit(1)
        if now.state != State.READ or connection.execute(waits).first() is not None:
            return State(now.state)
        state = State.REFUSED if now.reason else State.DELIVERED
        self._move(connection, job, state)
        return state

    def fail(self, job: Job, reason: str, max_tries: int) -> State:
        """Record that a reading crashed: another try, or FAILED after `max_tries`."""
        new = State.FAILED if job.tries >= max_tries else State.COMPLETE
        with self._writing() as connection:
            self._move(connection, job.id, new, reason=reason)
            if new is State.FAILED:
                self._audit(connection, "reading-failed", job.id, {"tries": job.tries, "reason": reason})
                connection.execute(insert(aside).values(job=job.id))
        return new

    def state(self, job: int) -> State:
        """Return the state of a job."""
        with self._reading() as connection:
            return State(connection.execute(select(jobs.c.state).where(jobs.c.id == job)).scalar_one())

    def put_back(self, job: int) -> None:
        """Return a job that was read but could not be stored; the try does not count."""
        with self._writing() as connection:
            self._move(connection, job, State.COMPLETE, tries=jobs.c.tries - 1)

    def recover(self, max_tries: int) -> list[tuple[Job, State]]:
        """After a start: give up or take up again what was being read when the process ended."""
        with self._reading() as connection:
            rows = connection.execute(select(jobs).where(jobs.c.state == State.READING)).all()
        return [(job, self.fail(job, "process ended while reading", max_tries)) for job in map(_job, rows)]

    # ---- jobs that were given up ----------------------------------------------------------

    def given_up(self, but: frozenset[int] = frozenset()) -> Job | None:
        """Return the oldest FAILED job whose refusals are not made yet, except those in `but`."""
        with self._reading() as connection:
            waits = select(jobs).join(aside).where(jobs.c.id.not_in(but)).order_by(jobs.c.id).limit(1)
            row = connection.execute(waits).first()
        return None if row is None else _job(row)

    def begin_aside(self, job: int) -> int:
        """Count that this process begins to make the refusals of a job; return how many did."""
        with self._writing() as connection:
            connection.execute(update(aside).where(aside.c.job == job).values(begun=aside.c.begun + 1))
            begun = int(connection.execute(select(aside.c.begun).where(aside.c.job == job)).scalar_one())
        self.failpoint("set-aside")
        return begun

    def answer(self, job: int, made: Sequence[Document], destinations: Mapping[str, tuple[str, ...]]) -> None:
        """Store and queue the refusals of a job that was given up, as `finish` does; it stays FAILED."""
        digests = self._spooled(made)
        with self._writing() as connection:
            connection.execute(delete(aside).where(aside.c.job == job))
            for document, digest in zip(made, digests, strict=True):
                self._enclose(connection, job, document, digest, destinations)
        self.failpoint("documents-stored")

    # ---- outbox ---------------------------------------------------------------------------

    def parcels(self, destination: str, but: frozenset[int], limit: int) -> list[Parcel]:
        """Return the oldest documents that wait for a destination, except those in `but`."""
        with self._reading() as connection:
            rows = connection.execute(
                select(outbox.c.id, outbox.c.job, outbox.c.tries, documents.c.digest)
                .join(documents)
                .where(outbox.c.destination == destination, outbox.c.state == Delivery.QUEUED, outbox.c.id.not_in(but))
                .order_by(outbox.c.id)
                .limit(limit)
            ).all()
        return [Parcel(row.id, row.job, row.digest, row.tries) for row in rows]

    def delivered(self, parcel: Parcel) -> State:
        """Record that the destination confirmed a document; return the state of its job."""
        with self._writing() as connection:
            connection.execute(
                update(outbox).where(outbox.c.id == parcel.id).values(state=Delivery.SENT, sent_at=self._now())
            )
            state = self._settle(connection, parcel.job)
        self.failpoint("recorded")
        return state

    def rejected(self, parcel: Parcel, status: int) -> None:
        """Record that the destination answered with a failure; the document keeps waiting."""
        with self._writing() as connection:
            connection.execute(
                update(outbox).where(outbox.c.id == parcel.id).values(tries=outbox.c.tries + 1, status=status)
            )

    def waiting_destinations(self) -> list[str]:
        """Return the destinations that something waits for."""
        with self._reading() as connection:
            waits = select(outbox.c.destination).where(outbox.c.state == Delivery.QUEUED).distinct()
            return list(connection.scalars(waits))

    # ---- for people and metrics -----------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        with self._reading() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        return {state.value: 0 for state in State} | {row[0]: row[1] for row in rows}

    def depths(self) -> dict[str, tuple[int, float]]:
        """Return for each destination how many documents wait and the age of the oldest, s."""
        with self._reading() as connection:
            rows = connection.execute(
                select(outbox.c.destination, func.count(), func.min(outbox.c.queued_at))
                .where(outbox.c.state == Delivery.QUEUED)
                .group_by(outbox.c.destination)
            ).all()
        return {row[0]: (row[1], max(0.0, self._now() - row[2])) for row in rows}

    def oldest_s(self) -> float:
        """Return the age of the oldest job that has not ended, s; 0 if there is none."""
        with self._reading() as connection:
            ended = [state.value for state in TERMINAL]
            since = connection.scalar(select(func.min(jobs.c.created_at)).where(jobs.c.state.not_in(ended)))
        return 0.0 if since is None else max(0.0, self._now() - float(since))

    def versions(self, study_uid: str) -> list[Job]:
        """Return all versions of a study, the first first."""
        with self._reading() as connection:
            rows = connection.execute(select(jobs).where(jobs.c.study_uid == study_uid).order_by(jobs.c.version)).all()
        return [_job(row) for row in rows]

    def audits(self) -> list[tuple[str, int | None, dict[str, Any]]]:
        """Return the audit rows: event, job, detail."""
        with self._reading() as connection:
            rows = connection.execute(select(audit.c.event, audit.c.job, audit.c.detail).order_by(audit.c.id)).all()
        return [(row.event, row.job, json.loads(row.detail)) for row in rows]

    def _audit(self, connection: Connection, event: str, job: int | None, detail: dict[str, Any]) -> None:
        connection.execute(
            insert(audit).values(at=self._now(), event=event, job=job, detail=json.dumps(detail, sort_keys=True))
        )
