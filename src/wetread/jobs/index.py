"""How the index is opened, and how one process keeps it to itself.

References
----------
SQLite documentation: write-ahead logging; PRAGMA synchronous (FULL: fsync of the log at each commit).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.exc import DBAPIError

from wetread.errors import StoreError
from wetread.jobs import tables
from wetread.jobs.spool import Spool, sync_folder


def open_engine(state: Path) -> Engine:
    """Return an engine on `state`/index.sqlite whose commits survive a power cut."""
    engine = create_engine(f"sqlite:///{state / 'index.sqlite'}", connect_args={"timeout": 30})
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def translated(error: DBAPIError) -> StoreError:
    """Return the error of the index as one of ours."""
    name = type(error.orig).__name__
    if name == "DatabaseError":  # SQLITE_CORRUPT or SQLITE_NOTADB; a busy or full disk is an OperationalError
        return StoreError("index: is corrupt; nothing was changed; restore index.sqlite from a backup")
    return StoreError(f"index: cannot be used now ({name})")


def match(connection: Connection, spool: Spool) -> None:
    """Make the tables, and make sure that index and spool belong together.

    Raises
    ------
    StoreError
        One of the two is missing or belongs to another node: starting would lose objects.
    """
    tables.metadata.create_all(connection)
    row = connection.execute(select(tables.store)).first()
    name = spool.root / "STORE"
    mark = name.read_text() if name.exists() else ""
    if row is None and not mark and next(spool.digests(), None) is None:
        mark = str(uuid.uuid4())
        with name.open("w") as file:
            file.write(mark)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(spool.root)
        connection.execute(insert(tables.store).values(id=mark, schema=tables.SCHEMA))
    elif row is None and mark and next(spool.digests(), None) is None:
        connection.execute(insert(tables.store).values(id=mark, schema=tables.SCHEMA))  # cut off at the first start
    elif row is None or row.id != mark:
        raise StoreError("store: index and spool do not belong together; nothing was changed; restore both")
    elif row.schema != tables.SCHEMA:
        raise StoreError(f"store: expected schema {tables.SCHEMA}, got {row.schema}; use the matching release")


class Lock:
    """Keeps a second process out of a state folder.

    Raises
    ------
    StoreError
        Another process holds it.
    """

    def __init__(self, state: Path) -> None:
        self._file = (state / "lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise StoreError(f"store: {state} is in use by another process") from error

    def release(self) -> None:
        """Let others in."""
        self._file.close()
