"""Objects that arrive: which are new, which are here already, and to which job they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import BindParameter, Connection, bindparam, delete, insert, literal, select, update

from wetread.errors import StoreError
from wetread.jobs import failpoints
from wetread.jobs.index import Index
from wetread.jobs.lanes import Lane
from wetread.jobs.matching import Identity
from wetread.jobs.moves import move, note
from wetread.jobs.spool import Spool
from wetread.jobs.states import State
from wetread.jobs.tables import aside, documents, instances, jobs, removed, withheld
from wetread.trace import new_trace_id


@dataclass(frozen=True, slots=True)
class Arrival:
    """An object that was received; its blob is in the spool."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    transfer_syntax: str
    source: str  # AE title, "" when an index that was lost knew it
    digest: str
    bytes: int
    lane: Lane = Lane.ROUTINE
    series_uid: str = ""
    trace_id: str = ""  # of its association, "" when an index that was lost knew it
    called: str = ""  # AE title that the source called us by
    identity: Identity = Identity()


# Built once, as every object that arrives asks these.
_UIDS: BindParameter[Sequence[str]] = bindparam("uids", expanding=True)
_HERE = (
    select(instances.c.sop_instance_uid, instances.c.digest, instances.c.job)
    .where(instances.c.sop_instance_uid.in_(_UIDS))
    .union_all(
        select(documents.c.sop_instance_uid, literal(""), documents.c.job).where(
            documents.c.sop_instance_uid.in_(_UIDS)
        )
    )
)
_LATEST = (
    select(jobs.c.id, jobs.c.state, jobs.c.version, jobs.c.lane)
    .where(jobs.c.study_uid == bindparam("study_uid"))
    .order_by(jobs.c.version.desc())
    .limit(1)
)
_INSERT = insert(instances)


class Effect(Enum):
    """What an arrival changed."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same bytes are here already
    CONFLICT = "conflict"  # other bytes are here already; the first stay
    OWN = "own"  # one of our own documents came back


class Instances:
    """The objects of a store.

    Parameters
    ----------
    spool
        Holds their blobs.
    failpoint
        See `wetread.jobs.failpoints`.
    """

    def __init__(self, index: Index, spool: Spool, failpoint: failpoints.Failpoint) -> None:
        self._index = index
        self._spool = spool
        self._failpoint = failpoint

    def settle(self, arrival: Arrival) -> None:
        """Make the name of a blob that is written durable.

        Whoever brings the object does it: the file system makes those of several durable together where they ask at
        the same time, and one after the other where one thread asks for all.

        Raises
        ------
        OSError
            It is not durable.
        """
        self._spool.sync((arrival.digest,))
        self._failpoint("folder-synced")

    def admit(self, arrivals: Sequence[Arrival]) -> list[Effect]:
        """Index objects whose blobs are durable, see `settle`; afterwards they may be acknowledged: one commit for all.

        Raises
        ------
        StoreError
            Nothing was indexed; one of them may be to blame.
        """
        with self._index.writing() as connection:
            effects = self.file(connection, arrivals)
        self._failpoint("indexed")
        for arrival, effect in zip(arrivals, effects, strict=True):
            if effect is not Effect.NEW:
                self.discard(arrival.digest)
        return effects

    def file(self, connection: Connection, arrivals: Sequence[Arrival]) -> list[Effect]:
        """Index arrivals inside a transaction."""
        batch = _Batch(connection, arrivals, self._index.now())
        effects = [self._effect(batch, arrival) for arrival in arrivals]
        if batch.rows:
            connection.execute(_INSERT, batch.rows)
        return effects

    def _effect(self, batch: _Batch, arrival: Arrival) -> Effect:
        known = batch.known.get(arrival.sop_instance_uid)
        if known is not None and arrival.lane < Lane.PRIOR and _claim(batch.connection, known[1], arrival, batch.now):
            known = None
        if known is not None:
            digest, job = known
            if digest == arrival.digest:
                return Effect.DUPLICATE
            detail = {"kept": digest, "refused": arrival.digest, "source": arrival.source}
            note(batch.connection, batch.now, "conflicting-instance", job, detail)
            return Effect.CONFLICT
        if arrival.sop_instance_uid in batch.own:
            return Effect.OWN
        if not self._spool.path(arrival.digest).exists():  # deleted since, with a study that was kept long enough
            raise StoreError(f"spool: blob {arrival.digest[:12]} is gone; send the object again")
        batch.add(arrival)
        return Effect.NEW

    def discard(self, digest: str) -> None:
        """Remove a blob if nothing refers to it."""
        with self._index.writing() as connection:
            needed = select(instances.c.digest).where(instances.c.digest == digest)
            if connection.execute(needed.where(instances.c.job.not_in(select(removed.c.job)))).first() is None:
                self._spool.remove(digest)


class _Batch:
    """What the index knows of some arrivals, and the rows that they become."""

    def __init__(self, connection: Connection, arrivals: Sequence[Arrival], now: float) -> None:
        self.connection = connection
        self.now = now
        self.known: dict[str, tuple[str, int]] = {}
        self.own: set[str] = set()
        for uid, digest, job in connection.execute(_HERE, {"uids": [arrival.sop_instance_uid for arrival in arrivals]}):
            if digest:
                self.known[uid] = (digest, job)
            else:
                self.own.add(uid)
        self.rows: list[dict[str, object]] = []
        self._jobs: dict[str, int] = {}
        self._lanes: dict[int, Lane] = {}  # of jobs, as far as this batch knows

    def add(self, arrival: Arrival) -> None:
        if arrival.study_uid not in self._jobs:
            job, lane = _job_for(self.connection, arrival, self.now)
            self._jobs[arrival.study_uid], self._lanes[job] = job, lane
        job = self._jobs[arrival.study_uid]
        self._hasten(job, arrival.lane)
        self.known[arrival.sop_instance_uid] = (arrival.digest, job)
        self.rows.append(
            {
                "sop_instance_uid": arrival.sop_instance_uid,
                "sop_class_uid": arrival.sop_class_uid,
                "transfer_syntax": arrival.transfer_syntax,
                "digest": arrival.digest,
                "bytes": arrival.bytes,
                "series_uid": arrival.series_uid,
                "source": arrival.source,
                "called": arrival.called,
                "accession": arrival.identity.accession,
                "patient": arrival.identity.patient,
                "authority": arrival.identity.authority,
                "job": job,
                "received_at": self.now,
            }
        )

    def _hasten(self, job: int, lane: Lane) -> None:
        """The most urgent object of a study decides for all of it."""
        if lane < self._lanes[job]:
            self._lanes[job] = lane
            faster = update(jobs).where(jobs.c.id == job, jobs.c.lane > lane).values(lane=lane.value)
            self.connection.execute(faster)


def _claim(connection: Connection, job: int, arrival: Arrival, now: float) -> bool:
    """Somebody sends what the node had pulled as a prior: it is theirs now, and is read anew if that ended.

    Returns
    -------
    bool
        The object is gone, as `keep_days` were over: the index forgets it, and it is new.
    """
    prior = (jobs.c.id == job) & (jobs.c.lane == Lane.PRIOR)
    if connection.execute(select(jobs.c.id).join(removed).where(prior)).first() is not None:
        connection.execute(delete(instances).where(instances.c.sop_instance_uid == arrival.sop_instance_uid))
        return True
    if connection.execute(update(jobs).where(prior).values(lane=arrival.lane.value)).rowcount:
        ended = (jobs.c.id == job) & jobs.c.state.in_((State.DELIVERED, State.REFUSED, State.FAILED))
        if connection.execute(select(jobs.c.id).where(ended)).first() is not None:
            connection.execute(delete(aside).where(aside.c.job == job))
            undecided = (withheld.c.job == job) & (withheld.c.decided == "")  # it is held against its order anew
            connection.execute(delete(withheld).where(undecided))
            move(connection, job, State.COMPLETE, now, tries=0, reason="")
    return False


def _job_for(connection: Connection, arrival: Arrival, now: float) -> tuple[int, Lane]:
    """The version of the study that still takes objects, or a new one with the trace of this one; and its lane."""
    study_uid = arrival.study_uid
    latest = connection.execute(_LATEST, {"study_uid": study_uid}).first()
    if latest is not None and latest.state == State.RECEIVED:
        return int(latest.id), Lane(latest.lane)
    if latest is not None and latest.state == State.COMPLETE:
        move(connection, latest.id, State.RECEIVED, now)
        return int(latest.id), Lane(latest.lane)
    version = 1 if latest is None else latest.version + 1
    lane = arrival.lane if latest is None else min(arrival.lane, Lane(latest.lane))  # what is urgent stays so
    values = {"study_uid": study_uid, "version": version, "state": State.RECEIVED.value, "lane": lane.value}
    values["trace_id"] = arrival.trace_id or new_trace_id()
    made = connection.execute(insert(jobs).values(created_at=now, changed_at=now, tries=0, reason="", **values))
    assert made.inserted_primary_key is not None
    return int(made.inserted_primary_key[0]), lane
