"""What destinations commit themselves to keep: asked for, answered, and until then nothing is deleted.

References
----------
PS3.4 Annex J (Storage Commitment Push Model); Table J.3-2 (what the answer holds).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from wetread.jobs.index import Index
from wetread.jobs.moves import note
from wetread.jobs.states import Delivery
from wetread.jobs.tables import commitments, documents, instances, outbox, removed
from wetread.wire.command import Status
from wetread.wire.notices import Commitment

log = logging.getLogger("wetread.jobs")

AGAIN_S = 3600.0  # an answer that has not come by then is asked for again
#: Failure reasons that say nothing of the object (PS3.3 Section C.14.1.1): to send it once more would not help.
LATER = (Status.PROCESSING_FAILURE, Status.RESOURCE_LIMITATION)


class Promise(StrEnum):
    """Of one document at one destination."""

    ASKED = "ASKED"
    KEPT = "KEPT"


@dataclass(frozen=True, slots=True)
class Stored:
    """One document or image that a destination confirmed, and has not committed itself to."""

    parcel: int
    digest: str
    received: bool = False  # an object that goes on, not one of our documents


class Commitments:
    """The promises in a store."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def due(self, destination: str, but: frozenset[int], limit: int) -> list[Stored]:
        """Return what a destination is to be asked for now, the oldest first, except parcels in `but`."""
        now = self._index.now()
        waits = commitments.c.at.between(now - AGAIN_S, now + AGAIN_S)  # else the clock jumped
        asked = commitments.c.state == Promise.ASKED
        due = or_(commitments.c.parcel.is_(None), asked & ~waits)
        digest = func.coalesce(documents.c.digest, instances.c.digest)
        here = select(outbox.c.id, digest.label("digest"), outbox.c.instance)
        here = here.outerjoin(documents, documents.c.id == outbox.c.document)
        here = here.outerjoin(instances, instances.c.sop_instance_uid == outbox.c.instance)
        here = here.outerjoin(commitments, commitments.c.parcel == outbox.c.id)
        here = here.where(outbox.c.destination == destination, outbox.c.state == Delivery.SENT, due)
        gone = outbox.c.instance.is_not(None) & outbox.c.job.in_(select(removed.c.job))  # before anybody asked
        here = here.where(~gone)
        here = here.where(digest != "", outbox.c.id.not_in(but)).order_by(outbox.c.id).limit(limit)
        with self._index.reading() as connection:
            return [Stored(row.id, row.digest, row.instance is not None) for row in connection.execute(here)]

    def ask(self, transaction_uid: str, stored: Sequence[Stored]) -> None:
        """Record what is asked for, before it is: the answer may come at once."""
        rows = [
            {
                "parcel": one.parcel,
                "transaction_uid": transaction_uid,
                "state": Promise.ASKED.value,
                "at": self._index.now(),
            }
            for one in stored
        ]
        with self._index.writing() as connection:
            connection.execute(delete(commitments).where(commitments.c.parcel.in_([one.parcel for one in stored])))
            connection.execute(insert(commitments), rows)

    def withdraw(self, transaction_uid: str) -> None:
        """Nobody was asked."""
        with self._index.writing() as connection:
            mine = commitments.c.transaction_uid == transaction_uid
            connection.execute(delete(commitments).where(mine, commitments.c.state == Promise.ASKED))

    def pausing(self, destination: str) -> dict[int, float]:
        """Return what a destination took and would not keep, and for how long that is not sent again, s.

        After the first refusal it goes at once, then after pauses that double, up to `AGAIN_S`.  A pause begins when
        the parcel was sent last: that is on the disk, and all who share the index know it.
        """
        waits = (outbox.c.destination == destination) & (outbox.c.state == Delivery.QUEUED)
        refused = select(outbox.c.id, outbox.c.tries, outbox.c.sent_at).where(waits, outbox.c.sent_at.is_not(None))
        with self._index.reading() as connection:
            rows = connection.execute(refused).all()
        pauses = {row.id: min(AGAIN_S, 2.0 ** min(row.tries, 60) - 2.0) for row in rows}
        left = {row.id: row.sent_at + pauses[row.id] - self._index.now() for row in rows}
        return {parcel: wait for parcel, wait in left.items() if 0.0 < wait <= pauses[parcel]}  # else the clock jumped

    def hear(self, answer: Commitment, max_rejections: int = 0) -> Status:
        """Record an answer; what is not kept is queued again, or asked for again later, as its reason says.

        Parameters
        ----------
        max_rejections
            After so many refusals a parcel waits for a person; 0: never.

        Returns
        -------
        Status
            SUCCESS, also for an answer that comes twice, or INVALID_ARGUMENT for one that nobody asked for.

        Raises
        ------
        StoreError
            It is not recorded; the destination must say it again.
        """
        uid = func.coalesce(documents.c.sop_instance_uid, outbox.c.instance).label("sop_instance_uid")
        here = (
            select(commitments.c.parcel, commitments.c.state, uid, outbox.c.job, outbox.c.destination, outbox.c.tries)
            .join(outbox, outbox.c.id == commitments.c.parcel)
            .outerjoin(documents, documents.c.id == outbox.c.document)
            .where(commitments.c.transaction_uid == answer.transaction_uid)
        )
        with self._index.writing() as connection:
            rows = connection.execute(here).all()
            asked = [row for row in rows if row.state == Promise.ASKED]
            kept = [row.parcel for row in asked if row.sop_instance_uid in answer.kept - answer.failed.keys()]
            failed = [row for row in asked if row.sop_instance_uid in answer.failed]
            connection.execute(update(commitments).where(commitments.c.parcel.in_(kept)).values(state=Promise.KEPT))
            for row in failed:
                self._refused(connection, row, answer.failed[row.sop_instance_uid], max_rejections)
        return Status.SUCCESS if rows else Status.INVALID_ARGUMENT

    def _refused(self, connection: Connection, row: Row[*tuple[Any, ...]], reason: int, max_rejections: int) -> None:
        note(connection, self._index.now(), "commitment-failed", row.job, {"reason": f"0x{reason:04X}"})
        if reason in LATER:
            return  # it counts as asked, so that it is asked for again
        dead = 0 < max_rejections <= row.tries + 1
        state = Delivery.DEAD if dead else Delivery.QUEUED
        told = {"state": state, "tries": row.tries + 1, "status": reason}
        connection.execute(delete(commitments).where(commitments.c.parcel == row.parcel))
        connection.execute(update(outbox).where(outbox.c.id == row.parcel).values(**told))
        if dead:
            about = {"job": row.job, "destination": row.destination, "status": f"0x{reason:04X}"}
            log.error("document given up", extra=about)
