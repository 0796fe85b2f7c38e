"""What happens when a store is opened: its halves are compared, and what is lost is rebuilt, never silently.

The objects in `spool` are the truth.  An index that is gone or damaged is made anew from them: every study is
then read and sent again, under the same UIDs.  Blobs that the index does not know, because the power went or
a write-ahead log lost its end, are taken in; documents that it does not know are made again, so they go.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, delete, exists, insert, select, update

from wetread.errors import BadInput, StoreError
from wetread.jobs import tables
from wetread.jobs.index import FILE, CorruptIndex, Index
from wetread.jobs.instances import Arrival, Effect, Instances
from wetread.jobs.lanes import facts_of, lane_of
from wetread.jobs.matching import identity_of
from wetread.jobs.moves import note
from wetread.jobs.spool import DamagedBlob, Spool, UnreadableBlob, sync_folder
from wetread.jobs.tables import described, documents, instances, jobs, removed
from wetread.records import Sender
from wetread.wire.glance import glance, series_of
from wetread.wire.part10 import identify, meta

log = logging.getLogger("wetread.jobs")

BATCH = 256  # objects that are taken in together
#: What brings a schema to the next one.
_ADDED: dict[int, tuple[str, ...]] = {
    1: (),
    2: (  # knew no lanes and no series: what waits is routine, and late objects of what is here are read alone
        "ALTER TABLE jobs ADD COLUMN lane INTEGER NOT NULL DEFAULT 2",
        "ALTER TABLE instances ADD COLUMN series_uid VARCHAR(64) NOT NULL DEFAULT ''",
    ),
    3: ("ALTER TABLE jobs ADD COLUMN trace_id VARCHAR(32) NOT NULL DEFAULT ''",),  # what is here has no trace
    4: ("ALTER TABLE instances ADD COLUMN called VARCHAR(16) NOT NULL DEFAULT ''",),  # what senders had called us
    5: (  # sent nothing but DICOM
        "ALTER TABLE documents ADD COLUMN identity VARCHAR(64) NOT NULL DEFAULT ''",
        "ALTER TABLE documents ADD COLUMN about VARCHAR(64) NOT NULL DEFAULT ''",
        "ALTER TABLE documents ADD COLUMN signed INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE outbox ADD COLUMN patient VARCHAR(64) NOT NULL DEFAULT ''",
        "CREATE INDEX ix_documents_identity ON documents (identity)",
        "CREATE INDEX ix_documents_about ON documents (about)",
        "CREATE INDEX outbox_patient ON outbox (patient, destination, state, id)",
    ),
    6: (),  # knew no work items
    7: (  # knew no orders: what is here answers none
        *(f"ALTER TABLE instances ADD COLUMN {name} VARCHAR NOT NULL DEFAULT ''" for name in ("accession", "patient")),
        "ALTER TABLE instances ADD COLUMN authority VARCHAR NOT NULL DEFAULT ''",
        "CREATE INDEX ix_instances_accession ON instances (accession)",
    ),
    8: (  # did not know of what series its documents are
        "ALTER TABLE documents ADD COLUMN sop_class_uid VARCHAR(64) NOT NULL DEFAULT ''",
        "ALTER TABLE documents ADD COLUMN series_uid VARCHAR(64) NOT NULL DEFAULT ''",
    ),
    9: (),  # looked into no bundles
    10: (),  # told nobody of critical findings
    11: (),  # knew no reviews
    12: (  # sorted what waits
        "DROP INDEX ix_jobs_state",
        "CREATE INDEX jobs_next ON jobs (state, lane, tries, created_at, id)",
    ),
    13: (  # sent on nothing that it had received
        "ALTER TABLE outbox ALTER COLUMN document DROP NOT NULL",
        "ALTER TABLE outbox ADD COLUMN instance VARCHAR(64) REFERENCES instances (sop_instance_uid)",
        "ALTER TABLE outbox ADD COLUMN reason VARCHAR(16) NOT NULL DEFAULT ''",
        "ALTER TABLE outbox ADD UNIQUE (instance, destination)",
    ),
}
#: The same where SQLite cannot alter a table: it is made anew, while nothing refers to it.
_MADE_ANEW: dict[int, tuple[str, ...]] = {
    13: (
        "CREATE TABLE parked AS SELECT * FROM commitments",
        "DELETE FROM commitments",
        "CREATE TABLE outbox_14 (id INTEGER NOT NULL PRIMARY KEY, document INTEGER REFERENCES documents (id), "
        "instance VARCHAR(64) REFERENCES instances (sop_instance_uid), job INTEGER NOT NULL REFERENCES jobs (id), "
        "destination VARCHAR NOT NULL, state VARCHAR(8) NOT NULL, tries INTEGER NOT NULL, status INTEGER NOT NULL, "
        "reason VARCHAR(16) DEFAULT '' NOT NULL, queued_at FLOAT NOT NULL, sent_at FLOAT, "
        "patient VARCHAR(64) DEFAULT '' NOT NULL, UNIQUE (document, destination), UNIQUE (instance, destination))",
        "INSERT INTO outbox_14 (id, document, job, destination, state, tries, status, queued_at, sent_at, patient) "
        "SELECT id, document, job, destination, state, tries, status, queued_at, sent_at, patient FROM outbox",
        "DROP TABLE outbox",
        "ALTER TABLE outbox_14 RENAME TO outbox",
        "CREATE INDEX ix_outbox_job ON outbox (job)",
        "CREATE INDEX outbox_due ON outbox (destination, state, id)",
        "CREATE INDEX outbox_patient ON outbox (patient, destination, state, id)",
        "INSERT INTO commitments SELECT * FROM parked",
        "DROP TABLE parked",
    )
}


@dataclass(slots=True)
class Found:
    """What was found when a store was opened."""

    rebuilt: bool = False  # the index was lost or damaged
    adopted: int = 0  # objects that the index did not know
    removed: int = 0  # documents that the index did not know, made again; objects that it had forgotten
    damaged: int = 0  # blobs whose bytes have changed, that are no objects, or that the disk does not give
    missing: int = 0  # blobs that the index knows and that are gone


def match(index: Index, spool: Spool, made: Spool, alone: bool) -> bool:
    """Make the tables, and make sure that index and spool belong together.

    Parameters
    ----------
    alone
        No other process has the store open: only then an index of an older release becomes one of this.

    Returns
    -------
    bool
        The index knows nothing of the objects in the spool: it must be rebuilt.

    Raises
    ------
    CorruptIndex
        The index is damaged.
    StoreError
        Index and spool belong to different nodes, or to another release.
    """
    with index.writing() as connection:
        if not index.shared and connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() != "ok":
            raise CorruptIndex("index: is corrupt")
        tables.metadata.create_all(connection)
        row = connection.execute(select(tables.store)).first()
        name = spool.root / "STORE"
        mark = name.read_text() if name.exists() else ""
        empty = next(spool.digests(), None) is None
        if row is None and not mark and empty:
            mark = _new_mark(name)
        if row is None and mark:
            if not empty and index.shared:
                raise StoreError("store: the database is empty, the spool is not; restore it, or name the right one")
            if not alone:
                raise StoreError(
                    "store: expected the database of the nodes that use this folder now, got another database; name "
                    "the same index_url for all, or another folder"
                )
            if empty:
                connection.execute(insert(tables.store).values(id=mark, schema=tables.SCHEMA))
            return not empty
        if row is None or row.id != mark:
            raise StoreError("store: index and spool do not belong together; nothing was changed; restore both")
        if not 1 <= row.schema <= tables.SCHEMA:
            raise StoreError(f"store: expected schema {tables.SCHEMA}, got {row.schema}; use the matching release")
        if row.schema < tables.SCHEMA and not alone:
            raise StoreError(
                f"store: expected schema {tables.SCHEMA}, got {row.schema}, with which nodes of an older release still "
                "run; stop all of them, then start this one"
            )
        if row.schema == 1:
            _part(connection, spool, made)
        anew = {} if index.shared else _MADE_ANEW
        for schema in range(row.schema, tables.SCHEMA):
            for statement in anew.get(schema, _ADDED[schema]):
                connection.exec_driver_sql(statement)
        if row.schema < tables.SCHEMA:
            connection.execute(update(tables.store).values(schema=tables.SCHEMA))
    return False


def _new_mark(name: Path) -> str:
    mark = str(uuid.uuid4())
    with name.open("w") as file:
        file.write(mark)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(name.parent)
    return mark


def _part(connection: Connection, spool: Spool, made: Spool) -> None:
    """Schema 1 kept documents among the objects: move them to where they are now."""
    objects = set(connection.scalars(select(instances.c.digest)))
    for digest in set(connection.scalars(select(documents.c.digest))) - objects:
        if spool.path(digest).exists():
            spool.path(digest).rename(made.path(digest))
            made.sync((digest,))


def put_by(state: Path) -> None:
    """Move a damaged index out of the way; nothing of it is deleted."""
    number = next(n for n in range(1, 1000) if not (state / f"{FILE}.damaged-{n}").exists())
    for ending in ("-wal", "-shm", ""):  # the last one is what makes the next start find it missing
        if (state / f"{FILE}{ending}").exists():
            (state / f"{FILE}{ending}").rename(state / f"{FILE}.damaged-{number}{ending}")
    sync_folder(state)


def compare(index: Index, spool: Spool, made: Spool, admitting: Instances, rebuild: bool) -> Found:
    """Bring index and blobs together; the caller owns the folder alone.

    Raises
    ------
    CorruptIndex
        The index contradicts the blobs.
    """
    found = Found(rebuilt=rebuild)
    with index.reading() as connection:
        gone = instances.c.job.in_(select(removed.c.job))
        objects = set(connection.scalars(select(instances.c.digest).where(~gone)))
        forgotten = set(connection.scalars(select(instances.c.digest).where(gone))) - objects
        papers = set(connection.scalars(select(documents.c.digest).where(documents.c.digest != "")))
    here = set(spool.digests())
    for digest in here & forgotten:  # the process ended between the two steps of their removal
        spool.remove(digest)
        found.removed += 1
    here -= forgotten
    _undescribe(index)
    found.missing = len(objects - here)
    for batch in _batches(_arrivals(spool, sorted(here - objects), found)):
        _adopt(index, spool, admitting, batch, found)
    written = set(made.digests())
    found.missing += len(papers - written)
    if rebuild:
        papers |= _own(index, made, written - papers)
        with index.writing() as connection:  # now it is whole: a start that was cut off begins again
            mark = (spool.root / "STORE").read_text()
            connection.execute(insert(tables.store).values(id=mark, schema=tables.SCHEMA))
    for digest in written - papers:
        made.remove(digest)
        found.removed += 1
    _say(index, found)
    return found


def _undescribe(index: Index) -> None:
    """What is deleted is described no more: that names patients."""
    of_it = instances.c.digest == described.c.digest
    gone = exists().where(of_it, instances.c.job.in_(select(removed.c.job)))
    kept = exists().where(of_it, instances.c.job.not_in(select(removed.c.job)))
    with index.writing() as connection:
        connection.execute(delete(described).where(gone, ~kept))


def _arrivals(spool: Spool, digests: Iterable[str], found: Found) -> Iterator[Arrival]:
    """Yield what objects of the spool are, without decoding them."""
    for digest in digests:
        try:
            data = spool.get(digest)
            head = meta(data)
            body = memoryview(data)[head.offset :]
            known = identify(body, head.transfer_syntax)
        except (DamagedBlob, BadInput) as error:
            log.error("blob set aside", extra={"reason": str(error)})
            spool.set_aside(digest)
            found.damaged += 1
            continue
        except UnreadableBlob as error:  # it stays where it is, and the next start takes it in
            log.error("blob unreadable", extra={"reason": str(error)})
            found.damaged += 1
            continue
        uids = (known.sop_class_uid, known.sop_instance_uid, known.study_uid)
        seen = glance(body, head.transfer_syntax)
        lane = lane_of(facts_of(seen, Sender()), ())  # who sent it is not known any more
        series, identity = series_of(seen), identity_of(seen)
        yield Arrival(*uids, head.transfer_syntax, "", digest, len(data), lane, series, identity=identity)


def _batches(arrivals: Iterator[Arrival]) -> Iterator[list[Arrival]]:
    batch: list[Arrival] = []
    for arrival in arrivals:
        batch.append(arrival)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _adopt(index: Index, spool: Spool, admitting: Instances, batch: list[Arrival], found: Found) -> None:
    """Index objects that were written and are not known; one that contradicts another goes."""
    with index.writing() as connection:
        effects = admitting.file(connection, batch)
        for arrival, effect in zip(batch, effects, strict=True):
            if effect is Effect.CONFLICT:
                known = select(instances.c.digest).where(instances.c.sop_instance_uid == arrival.sop_instance_uid)
                kept = connection.scalar(known.where(instances.c.job.not_in(select(removed.c.job))))
                if kept is not None and not spool.path(kept).exists():
                    raise CorruptIndex("index: names a blob that is not there, beside one that it does not name")
    for arrival, effect in zip(batch, effects, strict=True):
        if effect is Effect.NEW:
            found.adopted += 1
        else:
            admitting.discard(arrival.digest)


def _own(index: Index, made: Spool, written: set[str]) -> set[str]:
    """Let a new index know our own documents, so that none that comes back starts a study."""
    known = set()
    with index.writing() as connection:
        of_study = {row.study_uid: row.id for row in connection.execute(select(jobs.c.study_uid, jobs.c.id))}
        for digest in sorted(written):
            try:
                data = made.get(digest)
                head = meta(data)
                study = identify(memoryview(data)[head.offset :], head.transfer_syntax).study_uid
            except (DamagedBlob, UnreadableBlob, BadInput):  # damaged, or no DICOM object: it is made again
                continue
            if study in of_study:
                values = {"kind": "OLD", "name": "", "sop_instance_uid": head.sop_instance_uid, "digest": digest}
                connection.execute(insert(documents).values(job=of_study[study], **values))
                known.add(digest)
    return known


def _say(index: Index, found: Found) -> None:
    """Nothing of this happens silently."""
    if not (found.rebuilt or found.damaged or found.missing):
        return
    detail = {"adopted": found.adopted, "damaged": found.damaged, "missing": found.missing}
    event = "index-rebuilt" if found.rebuilt else "blobs-amiss"
    with index.writing() as connection:
        note(connection, index.now(), event, None, detail)
    log.error(event.replace("-", " "), extra={"count": found.adopted or found.damaged + found.missing})
