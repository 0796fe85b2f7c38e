"""What a person asks of a store, and tells it, while the node runs: list, show, retry, cancel, release, discard.

It uses the index alone, in transactions of its own; the node looks again every few seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, delete, exists, func, select, update

from wetread.errors import REFUSALS, BadInput, StoreError
from wetread.jobs import failpoints
from wetread.jobs.index import FILE, Index
from wetread.jobs.matching import order_of
from wetread.jobs.moves import move, note, settle
from wetread.jobs.ordered import Ordered
from wetread.jobs.spool import Spool, file_name
from wetread.jobs.states import PROCEDURE_STEP, Delivery, State
from wetread.jobs.studies import objects_of, sender_of
from wetread.jobs.tables import (
    SCHEMA,
    aside,
    audit,
    documents,
    instances,
    jobs,
    orders,
    outbox,
    removed,
    store,
    withheld,
)
from wetread.jobs.withholding import Withholding
from wetread.records import Sender
from wetread.settings import IMAGE

Row = dict[str, Any]
#: The states of deliveries that a list of jobs counts.
_COUNTED = (Delivery.QUEUED, Delivery.DEAD, Delivery.BLOCKED)


class Desk:
    """Opens the index of a state folder without taking the folder from its node.

    Parameters
    ----------
    state
        The folder of blobs and index.
    url
        As `wetread.jobs.store.Store`.

    Raises
    ------
    BadInput
        No node has used this folder yet.
    StoreError
        The index cannot be opened, or is that of another release.
    """

    def __init__(self, state: Path, url: str = "") -> None:
        if not url and not (state / FILE).is_file():
            raise BadInput(f"expected the state folder of a node, found no index in {state}; name it with --state")
        self._index = Index(state, url)
        self._withholding = Withholding(self._index, Ordered(self._index, failpoints.none))
        self._state = state
        try:
            self._check_schema()
        except StoreError:
            self.close()
            raise

    def _check_schema(self) -> None:
        """Refuse an index of another release: a node alone brings up an older one, as it owns the folder."""
        with self._index.reading() as connection:
            schema = connection.scalar(select(store.c.schema))  # none while a lost index is made anew
        if schema not in (None, SCHEMA):
            do = "start the node of this release first" if schema < SCHEMA else "use the matching release"
            raise StoreError(f"store: expected schema {SCHEMA}, got {schema}; {do}")

    def close(self) -> None:
        """Close the index."""
        self._index.close()

    def jobs(self, state: State | None = None, limit: int = 50) -> list[Row]:
        """Return the newest jobs, all or those in one state, without anything that names a patient."""
        counted = (func.sum(case((outbox.c.state == state, 1), else_=0)).label(state.lower()) for state in _COUNTED)
        asked = (
            select(jobs, *counted)
            .outerjoin(outbox, outbox.c.job == jobs.c.id)
            .group_by(jobs.c.id)
            .order_by(jobs.c.id.desc())
            .limit(limit)
        )
        with self._index.reading() as connection:
            rows = connection.execute(asked if state is None else asked.where(jobs.c.state == state)).all()
        return [self._told(row) | {name: int(getattr(row, name)) for name in map(str.lower, _COUNTED)} for row in rows]

    def show(self, job: int) -> Row:
        """Return one job with what is on its way to each destination, and its audit rows.

        Of images those that fare alike are one row.

        Raises
        ------
        BadInput
            There is no such job.
        """
        ways = (
            select(outbox, documents.c.kind, documents.c.name)
            .join(documents)
            .where(outbox.c.job == job)
            .order_by(outbox.c.id)
        )
        alike = (outbox.c.destination, outbox.c.state, outbox.c.tries, outbox.c.status, outbox.c.reason)
        images = select(*alike, func.count().label("number")).where(outbox.c.job == job, outbox.c.instance.is_not(None))
        images = images.group_by(*alike).order_by(*alike)
        with self._index.reading() as connection:
            row = self._row(connection, job)
            found = connection.execute(ways).all()
            going = connection.execute(images).all()
            events = connection.execute(select(audit.c.event).where(audit.c.job == job).order_by(audit.c.id))
            told = [str(event) for event in events.scalars()]
        deliveries = [{"kind": one.kind, "name": one.name} | _way(one) for one in found]
        deliveries += [{"kind": IMAGE, "name": f"{one.number} images"} | _way(one) for one in going]
        return self._told(row) | {"deliveries": deliveries, "events": told}

    def objects(self, job: int) -> tuple[list[tuple[str, bytes]], dict[str, Sender]]:
        """Return the objects that are read for a job, as named files, and who sent each, by SOP Instance UID.

        Raises
        ------
        BadInput
            There is no such job, or its objects were deleted after their delivery.
        StoreError
            An object cannot be read or has changed.
        """
        with self._index.reading() as connection:
            self._row(connection, job)
            gone = connection.execute(select(removed.c.at).where(removed.c.job == job)).first()
            rows = connection.execute(select(instances).where(objects_of(job))).all()
        if gone is not None:
            raise BadInput(f"job {job}: expected its objects, but they were deleted, as `keep_days` says")
        spool = Spool(self._state / "spool")
        files = [(file_name(row.digest), spool.get(row.digest)) for row in rows]
        return files, {row.sop_instance_uid: sender_of(row) for row in rows}

    def retry(self, job: int) -> State:
        """Send what was given up or blocked again, and read a study again whose reading failed.

        What a record got something newer about stays given up.

        Returns
        -------
        State
            The job's new state.

        Raises
        ------
        BadInput
            There is no such job, nothing of it failed, or its documents are withheld.
        """
        with self._index.writing() as connection:
            state = State(self._row(connection, job).state)
            stays = connection.execute(_undecided(job)).first() is not None
            if not stays and state is State.FAILED:
                stays = self._withholding.stops(connection, job, self._index.now())
            if not stays:
                state = self._retried(connection, job, state)
        if stays:
            raise BadInput(f"job {job}: is withheld; look at order and images, then `wetread withheld release` it")
        return state

    def _retried(self, connection: Connection, job: int, state: State) -> State:
        again = connection.execute(
            update(outbox)
            .where(outbox.c.job == job, outbox.c.state.in_((Delivery.DEAD, Delivery.BLOCKED)))
            .where(outbox.c.job.not_in(select(removed.c.job)), ~_followed())
            .values(state=Delivery.QUEUED, tries=0, status=0, reason="")
        ).rowcount
        if state is State.FAILED:
            state = self._revived(connection, job, again)
        elif not again:
            raise BadInput(f"job {job}: expected one that failed, got {state}; there is nothing to try again")
        note(connection, self._index.now(), "retried", job, {"documents": again})
        return state

    def _revived(self, connection: Connection, job: int, documents: int) -> State:
        failures = ("reading-failed", "delivery-failed")
        last = select(audit.c.event).where(audit.c.job == job, audit.c.event.in_(failures)).order_by(audit.c.id.desc())
        if connection.scalars(last).first() == "delivery-failed":
            if not documents:
                raise BadInput(
                    f"job {job}: expected documents that were given up, got none: they were canceled or deleted, "
                    "or the destination got newer ones"
                )
            move(connection, job, State.READ, self._index.now())
            return State.READ
        connection.execute(delete(aside).where(aside.c.job == job))
        move(connection, job, State.COMPLETE, self._index.now(), tries=0, reason="")
        return State.COMPLETE

    def cancel(self, job: int) -> State:
        """End a job that waits: what is not delivered yet never will be, what was received stays.

        One that FAILED, and of which nothing waits any more, ends too: a person has seen to it.

        Returns
        -------
        State
            CANCELED, or how the job had ended when only its documents still waited.

        Raises
        ------
        BadInput
            There is no such job, it is being read just now, its documents are withheld, or nothing of it waits.
        """
        with self._index.writing() as connection:
            state, now = State(self._row(connection, job).state), self._index.now()
            if state is State.READING:
                raise BadInput(f"job {job}: expected one that waits, got READING; try again when it has been read")
            gone = connection.execute(
                update(outbox)
                .where(outbox.c.job == job, outbox.c.state.in_((Delivery.QUEUED, Delivery.DEAD)))
                .values(state=Delivery.CANCELED)
            ).rowcount
            seen_to = state is State.FAILED and not gone and not self._unanswered(connection, job)
            if state in (State.RECEIVED, State.COMPLETE, State.READ) or seen_to:
                move(connection, job, State.CANCELED, now)
                state = State.CANCELED
            elif not gone:
                raise BadInput(self._stays(connection, job, state))
            note(connection, now, "canceled", job, {"documents": gone})
        return state

    def _unanswered(self, connection: Connection, job: int) -> bool:
        """Whether the refusals of a job that FAILED are still to be made, or it is withheld."""
        to_come = connection.execute(select(aside.c.job).where(aside.c.job == job)).first()
        return to_come is not None or connection.execute(_undecided(job)).first() is not None

    def _stays(self, connection: Connection, job: int, state: State) -> str:
        if connection.execute(_undecided(job)).first() is not None:
            return f"job {job}: is withheld; look at order and images, then `wetread withheld discard` or `release` it"
        if state is State.FAILED:
            return f"job {job}: expected one that waits, got FAILED; end it when its refusals are made"
        return f"job {job}: expected one that waits, got {state}"

    def withheld(self) -> list[Row]:
        """Return the jobs whose documents wait for a person to look, the oldest first, without naming a patient."""
        waits = func.sum(case((outbox.c.state == Delivery.WITHHELD, 1), else_=0)).label("documents")
        asked = (
            select(withheld, jobs.c.study_uid, orders.c.detail, waits)
            .join(jobs, jobs.c.id == withheld.c.job)
            .outerjoin(orders, orders.c.id == withheld.c.order_id)
            .outerjoin(outbox, outbox.c.job == jobs.c.id)
            .where(withheld.c.decided == "")
            .group_by(withheld.c.job, jobs.c.study_uid, orders.c.detail)
            .order_by(withheld.c.job)
        )
        with self._index.reading() as connection:
            rows = connection.execute(asked).all()
        return [self._withheld(row) for row in rows]

    def _withheld(self, row: Any) -> Row:
        order = order_of(row.detail) if row.detail else None
        return {
            "job": row.job,
            "reason": row.reason,
            "study_uid": row.study_uid,
            "accession": order.accession.value if order else "",
            "placer": order.placer.value if order else "",
            "documents": int(row.documents),
            "age_s": round(max(0.0, self._index.now() - row.at), 1),
        }

    def release(self, job: int) -> State:
        """Let withheld documents leave: a person has looked, and the study is right as it is.

        They leave without the order, on which they do not rest.

        Returns
        -------
        State
            The job's new state.

        Raises
        ------
        BadInput
            There is no such job, or nothing of it is withheld.
        """
        with self._index.writing() as connection:
            row, now = self._decide(connection, job, "released"), self._index.now()
            waits = (outbox.c.job == job) & (outbox.c.state == Delivery.WITHHELD)
            connection.execute(update(outbox).where(waits).values(state=Delivery.QUEUED, queued_at=now))
            if row.state != State.FAILED:  # only what came back was withheld
                return State(row.state)
            if row.reason and row.reason not in REFUSALS:  # its reading had failed: the documents only say so
                return State.FAILED
            move(connection, job, State.READ, now)
            return settle(connection, job, now) or State.READ

    def discard(self, job: int) -> State:
        """Give up withheld documents: a person has looked, and they must not leave; what was received stays.

        Returns
        -------
        State
            CANCELED; as it was, where only what others made of a copy was withheld.

        Raises
        ------
        BadInput
            As `release`.
        """
        with self._index.writing() as connection:
            row = self._decide(connection, job, "discarded")
            waits = (outbox.c.job == job) & (outbox.c.state == Delivery.WITHHELD)
            connection.execute(update(outbox).where(waits).values(state=Delivery.CANCELED))
            if row.state != State.FAILED:
                return State(row.state)
            move(connection, job, State.CANCELED, self._index.now())
        return State.CANCELED

    def _decide(self, connection: Connection, job: int, decision: str) -> Any:
        row = self._row(connection, job)
        if connection.execute(_undecided(job)).first() is None:
            raise BadInput(f"job {job}: expected one that is withheld; `wetread withheld list` shows them")
        connection.execute(update(withheld).where(withheld.c.job == job).values(decided=decision))
        note(connection, self._index.now(), decision, job, {})
        return row

    def _row(self, connection: Connection, job: int) -> Any:
        row = connection.execute(select(jobs).where(jobs.c.id == job)).first()
        if row is None:
            raise BadInput(f"job {job}: there is none; `wetread jobs list` shows them")
        return row

    def _told(self, row: Any) -> Row:
        return {
            "job": row.id,
            "version": row.version,
            "state": row.state,
            "procedure_step": PROCEDURE_STEP[State(row.state)],
            "tries": row.tries,
            "reason": row.reason,
            "age_s": round(max(0.0, self._index.now() - row.created_at), 1),
        }


def _way(row: Any) -> Row:
    """How something fares on its way to a destination."""
    told = {key: getattr(row, key) for key in ("destination", "state", "tries", "reason")}
    answered = row.status or row.state == Delivery.SENT  # 0 is success, and stands where nobody has answered
    return told | {"status": f"0x{row.status:04X}" if answered else ""}


def _followed() -> ColumnElement[bool]:
    """What a record got something newer about since: it would take it for the last word."""
    mine, newer, way = documents.alias(), documents.alias(), outbox.alias()
    same = (newer.c.about == mine.c.about) & (newer.c.about != "") & (newer.c.kind == mine.c.kind)
    later = (newer.c.id > mine.c.id) & (newer.c.signed >= mine.c.signed)
    sent = (way.c.destination == outbox.c.destination) & (way.c.state == Delivery.SENT)
    return exists().where(mine.c.id == outbox.c.document, same, later, way.c.document == newer.c.id, sent)


def _undecided(job: int) -> Select[Any]:
    return select(withheld.c.job).where(withheld.c.job == job, withheld.c.decided == "")
