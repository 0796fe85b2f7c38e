"""What peers asked us to commit ourselves to and do not know yet: kept until they took our report.

References
----------
PS3.4 Annex J (Storage Commitment Push Model as SCP).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from wetread.errors import StoreError
from wetread.jobs import failpoints
from wetread.jobs.index import Index
from wetread.jobs.moves import note
from wetread.jobs.spool import Spool
from wetread.jobs.tables import audit, instances, removed, requests
from wetread.wire.command import Status
from wetread.wire.commitment import Failure, Instance, Report, Request

BATCH = 500  # instances that are looked up together


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that waits for its report."""

    id: int  # SQLite gives it to another one when it is gone
    transaction_uid: str
    ae_title: str
    address: str


class Requests:
    """The requests in a store.

    Parameters
    ----------
    spool
        The blobs of what was received.
    failpoint
        See `wetread.jobs.failpoints`.
    """

    def __init__(self, index: Index, spool: Spool, failpoint: failpoints.Failpoint) -> None:
        self._index = index
        self._spool = spool
        self._failpoint = failpoint

    def hear(self, request: Request) -> Status:
        """Keep a request; afterwards it may be answered.

        Returns
        -------
        Status
            SUCCESS, also for one that comes twice, or INVALID_ARGUMENT while its transaction waits for other instances.

        Raises
        ------
        StoreError
            It is not kept.
        """
        named = {"ae_title": request.calling_ae, "transaction_uid": request.transaction_uid}
        text = " ".join(f"{sop_class}={instance}" for sop_class, instance in request.instances)
        with self._index.writing() as connection:
            known = connection.scalar(select(requests.c.instances).filter_by(**named))
            if known is None:
                values = {**named, "address": request.address, "instances": text, "at": self._index.now()}
                connection.execute(insert(requests).values(values))
        self._failpoint("commitment-asked")
        return Status.SUCCESS if known in (None, text) else Status.INVALID_ARGUMENT

    def waiting(self) -> list[Asked]:
        """Return what waits for its report, the oldest first."""
        columns = (requests.c.id, requests.c.transaction_uid, requests.c.ae_title, requests.c.address)
        with self._index.reading() as connection:
            return [Asked(*row) for row in connection.execute(select(*columns).order_by(requests.c.id))]

    def depth(self) -> tuple[int, float]:
        """Return how many wait, and the age of the oldest, s."""
        with self._index.reading() as connection:
            number, oldest = connection.execute(select(func.count(), func.min(requests.c.at))).one()
        return int(number), max(0.0, self._index.now() - oldest) if number else 0.0

    def judge(self, asked: Asked) -> Report:
        """Read every blob of a request and return what may be promised.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        with self._index.reading() as connection:
            text = connection.scalar(select(requests.c.instances).where(requests.c.id == asked.id)) or ""
        pairs: list[Instance] = [(sop_class, uid) for sop_class, _, uid in (one.partition("=") for one in text.split())]
        batches = (pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH))
        judged = [one for batch in batches for one in self._batch(asked, batch)]
        kept = tuple(instance for instance, failure in judged if failure is None)
        failed = tuple((instance, failure) for instance, failure in judged if failure is not None)
        return Report(asked.transaction_uid, kept, failed)

    def _batch(self, asked: Asked, pairs: Sequence[Instance]) -> Iterator[tuple[Instance, Failure | None]]:
        with self._index.reading() as connection:
            here = select(instances.c.sop_instance_uid, instances.c.sop_class_uid, instances.c.digest, instances.c.job)
            here = here.where(instances.c.sop_instance_uid.in_([uid for _, uid in pairs]))
            rows = connection.execute(here.where(instances.c.job.not_in(select(removed.c.job)))).all()
            refused = _refused(connection, asked.ae_title, {row.job for row in rows})
        known = {row.sop_instance_uid: row for row in rows}
        for sop_class, uid in pairs:
            row = known.get(uid)
            if row is None:
                yield (sop_class, uid), Failure.NO_SUCH_INSTANCE
            elif row.sop_class_uid != sop_class:
                yield (sop_class, uid), Failure.CLASS_INSTANCE_CONFLICT
            elif row.digest in refused or not self._whole(row.digest):
                yield (sop_class, uid), Failure.PROCESSING_FAILURE
            else:
                yield (sop_class, uid), None

    def _whole(self, digest: str) -> bool:
        try:
            self._spool.get(digest)
        except StoreError:
            return False
        return True

    def reported(self, asked: Asked, report: Report, status: int) -> None:
        """The peer took a report, or will never: forget the request.

        Raises
        ------
        StoreError
            It is not recorded; the report goes out again.
        """
        self._failpoint("commitment-reported")
        detail = {"to": asked.ae_title, "kept": len(report.kept), "failed": len(report.failed)}
        with self._index.writing() as connection:
            same = (requests.c.id == asked.id) & (requests.c.transaction_uid == asked.transaction_uid)
            connection.execute(delete(requests).where(same))
            note(connection, self._index.now(), "commitment-reported", None, {**detail, "status": f"0x{status:04X}"})


def _refused(connection: Connection, ae_title: str, jobs: Collection[int]) -> set[str]:
    """Digests of what is here in place of other bytes that this peer sent under the same UID: it means its own."""
    found: Iterable[str] = connection.scalars(
        select(audit.c.detail).where(audit.c.event == "conflicting-instance", audit.c.job.in_(jobs))
    )
    details = map(json.loads, found)
    return {detail["kept"] for detail in details if detail["source"] == ae_title}
