"""Jobs on their way to a result: complete, being read, read, given up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from wetread.errors import StoreError
from wetread.jobs import alerts, failpoints
from wetread.jobs.index import Index
from wetread.jobs.lanes import Lane, due, local
from wetread.jobs.leases import Leases
from wetread.jobs.moves import Job, job_of, move, note, settle
from wetread.jobs.parcels import Addressed, Destinations, Images, enclose, enclose_images, present
from wetread.jobs.spool import Spool
from wetread.jobs.states import TERMINAL, Delivery, State
from wetread.jobs.tables import aside, documents, instances, jobs, outbox, removed
from wetread.jobs.withholding import KEPT_BACK, Withholding
from wetread.records import Alarm, Document, Sender
from wetread.settings import Destination
from wetread.wire.command import Status

NO_IMAGES: Images = {}


def lease_of(job: int) -> str:
    """Return the name of the lease of who reads a job."""
    return f"job/{job}"


def objects_of(job: int) -> ColumnElement[bool]:
    """The objects to read for a job: those that came for it, and what is left of its series from earlier versions."""
    return or_(instances.c.job == job, and_(_earlier(job), instances.c.job.not_in(select(removed.c.job))))


def _earlier(job: int) -> ColumnElement[bool]:
    """The objects of earlier versions that belong to a series of which some came for this one."""
    series = select(instances.c.series_uid).where(instances.c.job == job, instances.c.series_uid != "")
    study = select(jobs.c.study_uid).where(jobs.c.id == job).scalar_subquery()
    before = select(jobs.c.id).where(jobs.c.study_uid == study, jobs.c.id < job)
    return and_(instances.c.job.in_(before), instances.c.series_uid.in_(series))


def sender_of(row: Row[Any]) -> Sender:
    """Return who sent the object of a row of `instances`."""
    return Sender(row.source, row.called, local(row.received_at))


class Studies:
    """The jobs of a store.

    Parameters
    ----------
    made
        Holds the blobs of documents.
    deadlines
        Seconds from the first object of a study to its result, by lane.
    withholding
        Says whose documents must not leave.
    failpoint
        See `wetread.jobs.failpoints`.
    """

    def __init__(
        self,
        index: Index,
        made: Spool,
        leases: Leases,
        deadlines: Mapping[Lane, float],
        withholding: Withholding,
        failpoint: failpoints.Failpoint,
    ) -> None:
        self._withholding = withholding
        self._index = index
        self._made = made
        self._leases = leases
        self._in_hand: set[int] = set()  # jobs that this process took, and knows it
        self._first = cache(partial(_first, due(deadlines)))  # making the query takes longer than asking it
        self._failpoint = failpoint

    def complete(self, study_uid: str, lacking: Mapping[str, object] | None = None) -> int | None:
        """Declare the objects of a study complete; return its job, if one was waiting for that.

        Parameters
        ----------
        lacking
            What was announced and did not come, for the audit table.
        """
        with self._index.writing() as connection:
            job = connection.scalar(
                select(jobs.c.id).where(jobs.c.study_uid == study_uid, jobs.c.state == State.RECEIVED)
            )
            if job is not None:
                move(connection, job, State.COMPLETE, self._index.now())
                if lacking:
                    note(connection, self._index.now(), "incomplete-study", job, dict(lacking))
        if job is not None:
            self._failpoint("completed")
        return job

    def hasten(self, study_uid: str, lane: Lane, priors: bool = False) -> bool:
        """Put what has not ended of a study into a lane, if that is faster than its own; return whether it was.

        What the node pulled as a prior stays one, but for who wants `priors` read.
        """
        mine = (jobs.c.study_uid == study_uid) & jobs.c.state.not_in(TERMINAL)
        slowest = Lane.PRIOR if priors else Lane.ROUTINE
        slower = jobs.c.lane.between(lane + 1, slowest)
        with self._index.writing() as connection:
            faster = update(jobs).where(mine, slower).values(lane=lane.value)
            return bool(connection.execute(faster).rowcount)

    def trace_id(self, job: int) -> str:
        """Return the trace of a job."""
        with self._index.reading() as connection:
            return str(connection.execute(select(jobs.c.trace_id).where(jobs.c.id == job)).scalar_one())

    def incomplete(self) -> list[str]:
        """Return the studies that still take objects."""
        with self._index.reading() as connection:
            return list(connection.scalars(select(jobs.c.study_uid).where(jobs.c.state == State.RECEIVED)))

    def unread(self) -> list[tuple[str, str, Lane]]:
        """Return the studies that wait to be read, each with the accession number of its objects and its lane.

        Without those that nobody but the node wanted.
        """
        told = select(jobs.c.study_uid, func.max(instances.c.accession), jobs.c.lane).join(instances)
        waits = jobs.c.state.in_((State.RECEIVED, State.COMPLETE)) & (jobs.c.lane < Lane.PRIOR)
        with self._index.reading() as connection:
            rows = connection.execute(told.where(waits).group_by(jobs.c.id, jobs.c.study_uid, jobs.c.lane)).all()
        return [(row[0], row[1], Lane(row[2])) for row in rows]

    def silent_s(self, study_uid: str) -> float | None:
        """Return how long ago the newest object of a study came that still takes objects; None: there is none.

        It is below 0 where the clock of the process that received it is ahead.
        """
        newest = select(func.max(instances.c.received_at)).join(jobs)
        newest = newest.where(jobs.c.study_uid == study_uid, jobs.c.state == State.RECEIVED)
        with self._index.reading() as connection:
            came = connection.scalar(newest)
            return None if came is None else self._index.clock(connection) - came

    def due(self, but: frozenset[int], slowest: Lane, fresh: bool, routine_last: bool) -> Job | None:
        """Return the job that `take` would begin to read, if there is one; it waits for no writer."""
        with self._index.reading() as connection:
            row = self._due(connection, but, slowest, fresh, routine_last)
            return None if row is None else job_of(row)

    def _due(self, connection: Connection, but: frozenset[int], *asked: Any) -> Row[Any] | None:
        return connection.execute(self._first(*asked), {"but": [*but, *_held_back(connection)]}).first()

    def take(
        self,
        but: frozenset[int] = frozenset(),
        slowest: Lane = Lane.PRIOR,
        fresh: bool = False,
        routine_last: bool = False,
    ) -> Job | None:
        """Begin to read the complete job that is due first, if there is one, and count the try.

        Of several processes that share the store, one gets it.

        Parameters
        ----------
        but
            Jobs whose time for another try has not come.
        slowest
            Leave less urgent lanes than this to others.
        fresh
            Only jobs of which no reading was begun yet.
        routine_last
            Leave routine studies until nothing more urgent waits, however old they are.
        """
        row = None
        try:
            with self._index.writing() as connection:
                row = self._due(connection, but, slowest, fresh, routine_last)
                if row is None:
                    return None
                self._leases.forget(connection, lease_of(row.id))  # nobody reads what is complete
                self._leases.take(connection, lease_of(row.id))
                move(connection, row.id, State.READING, self._index.now(), tries=row.tries + 1)
                self._in_hand.add(row.id)
        except StoreError:
            if row is not None:
                self._in_hand.discard(row.id)  # the commit may have happened, and its answer been lost
            raise
        self._failpoint("reading")
        return replace(job_of(row), state=State.READING, tries=row.tries + 1)

    def digests(self, job: int) -> list[str]:
        """Return the digests of the objects to read for a job, in the order of their SOP Instance UIDs.

        They are those that came for it and, of a series of which some came late, those of earlier versions too:
        a series is read whole or not at all.
        """
        mine = select(instances.c.digest).where(objects_of(job)).order_by(instances.c.sop_instance_uid)
        with self._index.reading() as connection:
            return list(connection.scalars(mine))

    def lost(self, job: Job) -> frozenset[str]:
        """Return the series of a job of which objects came before and were deleted since: Series Instance UIDs."""
        if job.version == 1:
            return frozenset()
        gone = select(instances.c.series_uid).where(_earlier(job.id), instances.c.job.in_(select(removed.c.job)))
        with self._index.reading() as connection:
            return frozenset(connection.scalars(gone))

    def earlier(self, job: Job) -> list[str]:
        """Return the digests of the SR and PDF that are here of earlier versions of a study, and may leave."""
        before = select(jobs.c.id).where(jobs.c.study_uid == job.study_uid, jobs.c.version < job.version)
        made = select(documents.c.digest).distinct().where(documents.c.job.in_(before), documents.c.digest != "")
        made = made.where(documents.c.sop_instance_uid != "", documents.c.kind.in_(("SR", "PDF")))
        made = made.where(documents.c.job.not_in(KEPT_BACK))
        with self._index.reading() as connection:
            return sorted(connection.scalars(made))

    def arrived(self, job: int) -> list[tuple[str, str, Sender]]:
        """Return SOP Instance UID, digest and sender of the objects that came for a job."""
        came = select(instances).where(instances.c.job == job).order_by(instances.c.sop_instance_uid)
        with self._index.reading() as connection:
            return [(row.sop_instance_uid, row.digest, sender_of(row)) for row in connection.execute(came)]

    def senders(self, job: int) -> dict[str, Sender]:
        """Return who sent each of the objects to read for a job, by SOP Instance UID."""
        with self._index.reading() as connection:
            rows = connection.execute(select(instances).where(objects_of(job))).all()
        return {row.sop_instance_uid: sender_of(row) for row in rows}

    def finish(
        self,
        job: int,
        made: Sequence[Addressed],
        refusal: str,
        critical: bool = False,
        alarms: Sequence[Alarm] = (),
        images: Images = NO_IMAGES,
    ) -> State:
        """Store the documents of a job, queue them for their destinations, and record its state.

        Parameters
        ----------
        made
            Everything that was made, and for whom.
        refusal
            The refusal code if nothing was read, else "".
        critical
            Something was found that makes the study STAT from here on.
        alarms
            What somebody is told of; what was told of the study before is not told again.
        images
            The received objects that go on, with the documents.

        Returns
        -------
        State
            READ, or the terminal state if there is nothing to deliver; FAILED if the documents are withheld.

        Raises
        ------
        StoreError
            It is not stored, or the lease of the job ran out and another process took it.
        """
        digests = self._spooled(made)
        with self._index.writing() as connection:
            if not self._leases.drop(connection, lease_of(job)):
                raise StoreError(f"job {job}: its lease ran out and another process took it; this reading is dropped")
            now = self._index.now()
            prior = _is_prior(connection, job)
            faster = {"lane": Lane.STAT.value} if critical and not prior else {}
            move(connection, job, State.READ, now, reason=refusal, **faster)
            leaves = self._enclosed(connection, job, made, digests, images)
            if alarms and not prior:
                # Where it is in doubt who it is, the webhook names nobody, and a message would.
                told = alarms if leaves else [replace(one, message=b"", bundle=b"") for one in alarms]
                alerts.file(connection, job, told, now)
            if leaves:
                state = settle(connection, job, now)
            else:
                state = State.FAILED
                move(connection, job, state, now)
        self._in_hand.discard(job)
        self._failpoint("documents-stored")
        return state or State.READ

    def _enclosed(
        self,
        connection: Connection,
        job: int,
        made: Sequence[Addressed],
        digests: Sequence[str],
        images: Images = NO_IMAGES,
    ) -> bool:
        """Index the documents of a job, and what goes on with them; return whether they may leave."""
        now = self._index.now()
        stays = self._withholding.check(connection, job, now)
        state, prior = Delivery.WITHHELD if stays else Delivery.QUEUED, _is_prior(connection, job)
        for (document, destinations), digest in zip(made, digests, strict=True):
            enclose(connection, job, document, digest, {} if prior else destinations, now, state)
        enclose_images(connection, job, NO_IMAGES if prior else images, now, state)
        return not stays

    def _spooled(self, made: Sequence[Addressed]) -> list[str]:
        """Make the blobs of documents durable; return their digests."""
        digests = self._made.put_all(document.data for document, _ in made)
        self._failpoint("documents-spooled")
        return digests

    def fail(self, job: Job, reason: str, max_tries: int) -> State:
        """Record that a reading crashed: another try, or FAILED after `max_tries`."""
        with self._index.writing() as connection:
            state = self._fail(connection, job, reason, max_tries)
        self._in_hand.discard(job.id)
        return state

    def _fail(self, connection: Connection, job: Job, reason: str, max_tries: int) -> State:
        new, now = State.FAILED if job.tries >= max_tries else State.COMPLETE, self._index.now()
        move(connection, job.id, new, now, reason=reason)
        self._leases.forget(connection, lease_of(job.id))
        if new is State.FAILED:
            note(connection, now, "reading-failed", job.id, {"tries": job.tries, "reason": reason})
            connection.execute(insert(aside).values(job=job.id, begun=0))
        return new

    def reads(self, job: int) -> bool:
        """Whether this process reads a job now."""
        with self._index.reading() as connection:
            state = connection.execute(select(jobs.c.state).where(jobs.c.id == job)).scalar_one()
            return bool(state == State.READING) and self._leases.ours(connection, lease_of(job))

    def put_back(self, job: int) -> None:
        """Return a job whose try does not count: it could not be begun, or not be stored."""
        with self._index.writing() as connection:
            self._leases.drop(connection, lease_of(job))
            move(connection, job, State.COMPLETE, self._index.now(), tries=jobs.c.tries - 1)
        self._in_hand.discard(job)

    def recover(self, max_tries: int) -> list[tuple[Job, State]]:
        """Give up or take up again what is being read by nobody any more, also under a lease of this process."""
        begun = select(jobs).where(jobs.c.state == State.READING)
        with self._index.reading() as connection:
            if connection.execute(begun).first() is None:
                return []
        with self._index.writing() as connection:
            held = self._leases.held(connection)
            held -= {
                name
                for row in connection.execute(begun).all()
                if row.id not in self._in_hand and self._leases.ours(connection, name := lease_of(row.id))
            }
            left = [job_of(row) for row in connection.execute(begun) if lease_of(row.id) not in held]
            why = "process ended while reading"
            return [(job, self._fail(connection, job, why, max_tries)) for job in left]

    # ---- jobs that were given up ----------------------------------------------------------

    def given_up(self, but: frozenset[int] = frozenset()) -> Job | None:
        """Return the oldest FAILED job whose refusals are not made yet, except those in `but`."""
        with self._index.reading() as connection:
            waits = select(jobs).join(aside).where(jobs.c.id.not_in(but)).order_by(jobs.c.id).limit(1)
            row = connection.execute(waits).first()
        return None if row is None else job_of(row)

    def begin_aside(self, job: int) -> int:
        """Count that this process begins to make the refusals of a job; return how many did."""
        with self._index.writing() as connection:
            connection.execute(update(aside).where(aside.c.job == job).values(begun=aside.c.begun + 1))
            begun = int(connection.execute(select(aside.c.begun).where(aside.c.job == job)).scalar_one())
        self._failpoint("set-aside")
        return begun

    def answer(self, job: int, made: Sequence[Addressed], images: Images = NO_IMAGES) -> None:
        """Store and queue the refusals of a job that was given up, as `finish` does; it stays FAILED."""
        digests = self._spooled(made)
        with self._index.writing() as connection:
            if connection.execute(delete(aside).where(aside.c.job == job)).rowcount == 1:  # else another answered
                self._enclosed(connection, job, made, digests, images)
        self._failpoint("documents-stored")

    # ---- priors ---------------------------------------------------------------------------

    def keep_prior(self, study_uid: str, report: Document) -> None:
        """Keep a report about an earlier study with the latest version of the study that it is to stand beside."""
        digest = self._made.put(report.data)
        self._made.sync([digest])
        latest = select(jobs.c.id).where(jobs.c.study_uid == study_uid).order_by(jobs.c.version.desc()).limit(1)
        with self._index.writing() as connection:
            job = connection.scalar(latest)
            here = select(documents.c.id).where(documents.c.digest == digest)
            if job is not None and connection.execute(here).first() is None:
                enclose(connection, job, report, digest, {}, self._index.now())

    def file_returned(
        self, study_uid: str, document: Document, destinations: Destinations, named: Iterable[Destination] = ()
    ) -> Status:
        """File what others made of a copy with the latest version of its study, and queue it.

        It goes where results of that version went; where none went yet, to all of the destinations.

        Parameters
        ----------
        named
            Destinations of the settings: who moved gets it at the new address.

        Returns
        -------
        Status
            SUCCESS, also if it is here; COERCED if its instance is here with other bytes, which stay;
            DATA_SET_MISMATCH if the study is not.
        """
        digest = self._made.put(document.data)
        self._made.sync([digest])
        latest = select(jobs.c.id).where(jobs.c.study_uid == study_uid).order_by(jobs.c.version.desc()).limit(1)
        here = select(documents.c.digest).where(documents.c.sop_instance_uid == document.sop_instance_uid)
        with self._index.writing() as connection:
            job = connection.scalar(latest)
            if job is None:
                return Status.DATA_SET_MISMATCH
            if known := set(connection.scalars(here)):
                return Status.SUCCESS if digest in known else Status.COERCED
            went_to = connection.scalars(select(outbox.c.destination).where(outbox.c.job == job)).unique()
            went = destinations.keys() & present(went_to, named)
            ways = {name: kinds for name, kinds in destinations.items() if not went or name in went}
            now = self._index.now()
            state = self._withholding.returned(connection, job, now)
            enclose(connection, job, document, digest, {} if _is_prior(connection, job) else ways, now, state)
            note(connection, now, "returned", job, {"kind": document.kind})
        return Status.SUCCESS

    def has(self, study_uid: str) -> bool:
        """Whether objects of a study were ever received."""
        with self._index.reading() as connection:
            return connection.execute(select(jobs.c.id).where(jobs.c.study_uid == study_uid)).first() is not None


def _first(by: ColumnElement[float], slowest: Lane, fresh: bool, routine_last: bool) -> Select[Any]:
    """Ask for the complete job that is due first, but for those in `but`; for the rest see `Studies.take`.

    It is the first of one of the lanes, and within a lane the oldest is due first: the index `jobs_next` has them in
    that order, so that nothing that waits is sorted, however much it is.
    """
    lanes = (jobs.c.lane >= Lane.ROUTINE,) if routine_last else ()
    firsts = union_all(*(_first_of(lane, fresh) for lane in Lane if lane <= slowest))
    return select(jobs).where(jobs.c.id.in_(firsts)).order_by(jobs.c.tries, *lanes, by, jobs.c.id).limit(1)


def _first_of(lane: Lane, fresh: bool) -> Select[Any]:
    waits = select(jobs.c.id).where(jobs.c.state == State.COMPLETE, jobs.c.lane == lane.value)
    waits = waits.where(jobs.c.tries == 0) if fresh else waits
    waits = waits.where(jobs.c.id.not_in(bindparam("but", expanding=True)))
    return select(waits.order_by(jobs.c.tries, jobs.c.created_at, jobs.c.id).limit(1).subquery())


def _held_back(connection: Connection) -> Sequence[int]:
    """Return the complete jobs of studies of which another version is being read: they refer to what comes of that."""
    read = jobs.alias()
    same = (jobs.c.study_uid == read.c.study_uid, jobs.c.state == State.COMPLETE)
    return connection.scalars(select(jobs.c.id).join(read, and_(*same)).where(read.c.state == State.READING)).all()


def _is_prior(connection: Connection, job: int) -> bool:
    """Whether nobody but the node itself wanted a job: its documents stay here."""
    return bool(connection.execute(select(jobs.c.lane).where(jobs.c.id == job)).scalar_one() == Lane.PRIOR)
