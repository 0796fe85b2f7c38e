"""Documents and images on their way to destinations: queued with the result, confirmed one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, literal, or_, select, update

from wetread.errors import BadInput
from wetread.jobs import failpoints
from wetread.jobs.index import Index
from wetread.jobs.lanes import Lane, due
from wetread.jobs.moves import note, settle
from wetread.jobs.states import Delivery, State
from wetread.jobs.tables import documents, instances, jobs, outbox
from wetread.records import Document, Filed
from wetread.settings import IMAGE, Destination, parse_destination
from wetread.wire.glance import glance, series_of
from wetread.wire.part10 import meta

#: Name of a destination -> the kinds of documents that it gets.
Destinations = Mapping[str, tuple[str, ...]]
#: Name of a destination -> SOP Instance UIDs of the received objects that go on to it.
Images = Mapping[str, Sequence[str]]
#: A document with the destinations that are to get it, if they get its kind.
Addressed = tuple[Document, Destinations]
#: How the names of documents begin that others made of copies; a reading makes none of them again.
RETURNED = "returned-"


@dataclass(frozen=True, slots=True)
class Parcel:
    """One document, or received object, on its way to one destination."""

    id: int
    job: int
    digest: str
    tries: int
    kind: str
    trace_id: str
    instance: str = ""  # SOP Instance UID of a received object; "" of a document
    lane: Lane = Lane.ROUTINE
    study_uid: str = ""


def moved(name: str, destinations: Iterable[Destination]) -> Destination | None:
    """Return what the settings name in place of a destination that they name no more, by its name in the outbox.

    That is the one with its title, else the one at its address; None if there is none, or more than one.
    """
    was = parse_destination(name)
    alike = [one for one in destinations if {*one.carries} & {*was.carries}]
    titled = [one for one in alike if one.ae_title == was.ae_title]
    found = titled or [one for one in alike if (one.host, one.port, one.url) == (was.host, was.port, was.url)]
    return found[0] if len(found) == 1 else None


def present(names: Iterable[str], named: Iterable[Destination]) -> set[str]:
    """Return the names by which the outbox knows destinations now; of one that is gone without a trace the old one."""
    known = {one.names[0]: one for one in named}
    places = {name: None if name in known else moved(name, known.values()) for name in names}
    return {name if place is None else place.names[0] for name, place in places.items()}


def enclose(
    connection: Connection,
    job: int,
    document: Document,
    digest: str,
    destinations: Destinations,
    now: float,
    state: Delivery = Delivery.QUEUED,
) -> None:
    """Index one document; queue or withhold it for who gets its kind, was not given it, and has nothing better."""
    same = _same(document)
    queued = select(outbox.c.destination).join(documents, outbox.c.document == documents.c.id)
    known = set(destinations) if same is None else set(connection.scalars(queued.where(same)))
    filed = document.filed or Filed("", "", "")
    values = {"identity": filed.identity, "about": filed.about, "signed": int(filed.signed)}
    values |= {"sop_class_uid": document.sop_class_uid, "sop_instance_uid": document.sop_instance_uid}
    values |= {"kind": document.kind, "name": document.name, "series_uid": _series_of(document)}
    made = connection.execute(insert(documents).values(job=job, digest=digest, **values))
    assert made.inserted_primary_key is not None
    rows = [
        {
            "document": made.inserted_primary_key[0],
            "job": job,
            "destination": destination,
            "state": state.value,
            "queued_at": now,
            "patient": filed.patient,
        }
        for destination, kinds in destinations.items()
        if document.kind in kinds and destination not in known
    ]
    if rows:
        connection.execute(insert(outbox), rows)


def enclose_images(
    connection: Connection, job: int, images: Images, now: float, state: Delivery = Delivery.QUEUED
) -> None:
    """Queue or withhold received objects of a job for who was not given them."""
    given = select(outbox.c.instance, outbox.c.destination).where(outbox.c.job == job, outbox.c.instance.is_not(None))
    known = {(row.instance, row.destination) for row in connection.execute(given)} if images else set()
    rows = [
        {"instance": uid, "job": job, "destination": destination, "state": state.value, "queued_at": now}
        for destination, uids in images.items()
        for uid in uids
        if (uid, destination) not in known
    ]
    if rows:
        connection.execute(insert(outbox), rows)


def _same(document: Document) -> ColumnElement[bool] | None:
    """The documents that stand in the way of this one at a destination; None: it goes nowhere.

    What was sent before, and of what records file, what a person signed: it is not followed by what nobody did.
    """
    if document.sop_class_uid:
        return documents.c.sop_instance_uid == document.sop_instance_uid
    if document.filed is None:
        return None
    filed = document.filed
    better = and_(documents.c.about == filed.about, documents.c.signed > int(filed.signed))
    return or_(documents.c.identity == filed.identity, better)


def _series_of(document: Document) -> str:
    """Series Instance UID; "" of what is no DICOM object."""
    try:
        head = meta(document.data)
        return series_of(glance(memoryview(document.data)[head.offset :], head.transfer_syntax))
    except BadInput:
        return ""


def _row_of(parcel: Parcel) -> ColumnElement[bool]:
    """The row of what was under way; SQLite gives its number to another one when it was deleted meanwhile."""
    same = select(documents.c.id).where(documents.c.digest == parcel.digest)
    return (outbox.c.id == parcel.id) & or_(outbox.c.instance == parcel.instance, outbox.c.document.in_(same))


class Parcels:
    """The outboxes of a store.

    Parameters
    ----------
    deadlines
        Seconds from the first object of a study to its result, by lane.
    failpoint
        See `wetread.jobs.failpoints`.
    """

    def __init__(self, index: Index, deadlines: Mapping[Lane, float], failpoint: failpoints.Failpoint) -> None:
        self._index = index
        self._due = due(deadlines)
        self._failpoint = failpoint

    def waiting(self, destination: str, but: frozenset[int], limit: int) -> list[Parcel]:
        """Return what waits for a destination, the least rejected and first due first, except `but`.

        Of what arrives in order only the first of each patient.
        """
        first = outbox.alias()
        before = exists().where(
            first.c.patient == outbox.c.patient,
            first.c.destination == destination,
            first.c.state == Delivery.QUEUED,
            first.c.id < outbox.c.id,
        )
        in_turn = or_(outbox.c.patient == "", ~before)
        order = (outbox.c.tries, self._due, outbox.c.id)  # what was never rejected goes first
        # What all of them are sorted by comes first; all else is looked up for the few that are wanted.
        wanted = (
            select(outbox.c.id)
            .join(jobs, outbox.c.job == jobs.c.id)
            .where(outbox.c.destination == destination, outbox.c.state == Delivery.QUEUED)
            .where(in_turn)
            .order_by(*order)
            .limit(limit + len(but))  # a statement takes 65,535 parameters: those in `but` may be more
        )
        digest = func.coalesce(documents.c.digest, instances.c.digest).label("digest")
        kind = func.coalesce(documents.c.kind, literal(IMAGE)).label("kind")
        with self._index.reading() as connection:
            found = connection.execute(
                select(outbox.c.id, outbox.c.job, digest, outbox.c.tries, kind)
                .add_columns(jobs.c.trace_id, outbox.c.instance, jobs.c.lane, jobs.c.study_uid)
                .outerjoin(documents, outbox.c.document == documents.c.id)
                .outerjoin(instances, outbox.c.instance == instances.c.sop_instance_uid)
                .join(jobs, outbox.c.job == jobs.c.id)
                .where(outbox.c.id.in_(select(wanted.subquery())))
                .order_by(*order)
            )
            rows = list(islice((row for row in found if row.id not in but), limit))
        return [
            Parcel(
                row.id,
                row.job,
                row.digest,
                row.tries,
                row.kind,
                row.trace_id,
                row.instance or "",
                Lane(row.lane),
                row.study_uid,
            )
            for row in rows
        ]

    def delivered(self, parcel: Parcel) -> State | None:
        """Record that the destination confirmed a document; return how its job ended, if it did by that."""
        with self._index.writing() as connection:
            now = self._index.now()
            connection.execute(update(outbox).where(_row_of(parcel)).values(state=Delivery.SENT, sent_at=now))
            state = settle(connection, parcel.job, now)
        self._failpoint("recorded")
        return state

    def rejected(self, parcel: Parcel, status: int, dead: bool = False, reason: str = "") -> State | None:
        """Record that the destination answered with a failure; return how the job ended, if it did by that.

        Parameters
        ----------
        dead
            It was the last time: the document waits for a person.
        reason
            A key of `wetread.errors.BLOCKED` where no destination had a say.
        """
        state = Delivery.DEAD if dead else Delivery.QUEUED
        with self._index.writing() as connection:
            connection.execute(
                update(outbox)
                .where(_row_of(parcel), outbox.c.state == Delivery.QUEUED)
                .values(tries=outbox.c.tries + 1, status=status, state=state, reason=reason)
            )
            return settle(connection, parcel.job, self._index.now())

    def blocked(self, parcel: Parcel, destination: str, reason: str) -> State | None:
        """Record that something may not leave for a destination; return how its job ended, if it did by that.

        Parameters
        ----------
        reason
            A key of `wetread.errors.BLOCKED`; the first of a job has an audit row.
        """
        same = select(outbox.c.id).where(outbox.c.job == parcel.job, outbox.c.destination == destination)
        with self._index.writing() as connection:
            now = self._index.now()
            if connection.execute(same.where(outbox.c.reason == reason).limit(1)).first() is None:
                note(connection, now, "not-deidentified", parcel.job, {"destination": destination, "reason": reason})
            stopped = update(outbox).where(_row_of(parcel), outbox.c.state == Delivery.QUEUED)
            connection.execute(stopped.values(state=Delivery.BLOCKED, reason=reason))
            return settle(connection, parcel.job, now)

    def destinations(self, states: Sequence[Delivery] = (Delivery.QUEUED,)) -> list[str]:
        """Return the destinations that something waits for, or that have something in some of these states."""
        with self._index.reading() as connection:
            waits = select(outbox.c.destination).where(outbox.c.state.in_(states)).distinct()
            return list(connection.scalars(waits))

    def readdress(self, destination: str, to: str, states: Sequence[Delivery]) -> int:
        """Make what is in some of these states another destination's, but for what it has already; return how much."""
        there = outbox.alias()
        same = or_(there.c.document == outbox.c.document, there.c.instance == outbox.c.instance)
        mine = (outbox.c.destination == destination) & outbox.c.state.in_(states)
        known = exists().where(there.c.destination == to, same)
        with self._index.writing() as connection:
            return connection.execute(update(outbox).where(mine, ~known).values(destination=to)).rowcount
