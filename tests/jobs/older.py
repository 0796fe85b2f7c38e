"""How an index of today becomes one of an older schema: the tests bring those up again."""

from __future__ import annotations

from collections.abc import Iterator

from wetread.jobs.tables import SCHEMA

#: Schema -> what takes an index of the next one back to it.
_BACK: dict[int, tuple[str, ...]] = {
    1: (),
    2: ("ALTER TABLE jobs DROP COLUMN lane", "ALTER TABLE instances DROP COLUMN series_uid"),
    3: ("ALTER TABLE jobs DROP COLUMN trace_id",),
    4: ("ALTER TABLE instances DROP COLUMN called",),
    5: (
        "DROP INDEX outbox_patient",
        "DROP INDEX ix_documents_identity",
        "DROP INDEX ix_documents_about",
        "ALTER TABLE outbox DROP COLUMN patient",
        *(f"ALTER TABLE documents DROP COLUMN {name}" for name in ("identity", "about", "signed")),
    ),
    6: tuple(f"DROP TABLE {name}" for name in ("workitems", "subscriptions", "events")),
    7: (
        "DROP INDEX ix_instances_accession",
        *(f"ALTER TABLE instances DROP COLUMN {name}" for name in ("accession", "patient", "authority")),
    ),
    8: (
        "DROP TABLE performing",
        *(f"ALTER TABLE documents DROP COLUMN {name}" for name in ("sop_class_uid", "series_uid")),
    ),
    9: ("DROP TABLE resources",),
    10: ("DROP TABLE alerts",),
    11: ("DROP TABLE reviews",),
    12: ("DROP INDEX jobs_next", "CREATE INDEX ix_jobs_state ON jobs (state)"),
    13: (
        "CREATE TABLE outbox_13 (id INTEGER NOT NULL PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id), "
        "job INTEGER NOT NULL REFERENCES jobs (id), destination VARCHAR NOT NULL, state VARCHAR(8) NOT NULL, "
        "tries INTEGER NOT NULL, status INTEGER NOT NULL, queued_at FLOAT NOT NULL, sent_at FLOAT, "
        "patient VARCHAR(64) DEFAULT '' NOT NULL, UNIQUE (document, destination))",
        "INSERT INTO outbox_13 "
        "SELECT id, document, job, destination, state, tries, status, queued_at, sent_at, patient FROM outbox",
        "DROP TABLE outbox",
        "ALTER TABLE outbox_13 RENAME TO outbox",
        "CREATE INDEX ix_outbox_job ON outbox (job)",
        "CREATE INDEX outbox_due ON outbox (destination, state, id)",
        "CREATE INDEX outbox_patient ON outbox (patient, destination, state, id)",
    ),
}


#: The same where PostgreSQL has another word.
_SHARED: dict[int, tuple[str, ...]] = {
    13: (
        "ALTER TABLE outbox DROP COLUMN instance",
        "ALTER TABLE outbox DROP COLUMN reason",
        "ALTER TABLE outbox ALTER COLUMN document SET NOT NULL",
    ),
}


def back_to(schema: int, shared: bool = False) -> Iterator[str]:
    """Yield the statements that make an index of today one of an older schema; `shared`: of PostgreSQL."""
    for number in reversed(range(schema, SCHEMA)):
        yield from (_SHARED if shared else _BACK).get(number, _BACK[number])
    yield f"UPDATE store SET schema = {schema}"
