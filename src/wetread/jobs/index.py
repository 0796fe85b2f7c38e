"""The index's database: SQLite in the state folder by default, PostgreSQL by URL.

One writer at a time on both: SQLite by its write lock, PostgreSQL by an advisory lock that a transaction
holds to its end.  What a method checks therefore still holds when it writes, whoever else shares the store.

References
----------
SQLite documentation: write-ahead logging; PRAGMA synchronous (FULL: fsync of the log at each commit).
PostgreSQL 15 documentation: 13.3.5 (advisory locks), 20.5 (fsync, synchronous_commit).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from wetread.errors import StoreError

FILE = "index.sqlite"
WRITER_WAITS_S = 30.0  # for the one that writes; then it is told that the index is busy

#: Commits wait for the disk; a process that stops inside a transaction does not keep the others out.
_SESSION = "-c synchronous_commit=on -c lock_timeout=30s -c idle_in_transaction_session_timeout=30s"
#: A server that fell silent is given up after half a minute, also while a query waits for its answer (libpq's names).
_SILENCE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_ONE_WRITER = "SELECT pg_advisory_xact_lock(8011)"


class Index:
    """Transactions that are on disk when they end.

    Parameters
    ----------
    state
        The folder of index.sqlite.
    url
        ``postgresql://user@host/database``; empty for SQLite.
    now
        Seconds since the epoch, for people and metrics.

    Raises
    ------
    StoreError
        The URL or its driver cannot be used.
    """

    def __init__(self, state: Path, url: str = "", now: Callable[[], float] = time.time) -> None:
        self.shared = bool(url)
        self.now = now
        self._write = threading.Lock()
        self._since: float | None = None  # when the write under way began, monotonic seconds
        self._closed = False
        self.engine = _postgres(url) if url else _sqlite(state / FILE)
        self._first = _ONE_WRITER if url else "BEGIN IMMEDIATE"

    def close(self) -> None:
        """Close; a thread that was cut off can begin to write no more.

        Raises
        ------
        StoreError
            Another still writes: its connection stays open.
        """
        self._closed = True
        with self._alone():
            self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction; when the block ends it is on disk.

        Raises
        ------
        StoreError
            It is not: nothing of it happened.  Also while another thread writes for more than `WRITER_WAITS_S`.
            `UnusableIndex` where that has nothing to do with what was to be written.
        """
        try:
            with self._alone():
                if self._closed:
                    raise StoreError("store: is closed")
                with self.engine.begin() as connection:
                    connection.exec_driver_sql(self._first)
                    yield connection
        except SQLAlchemyError as error:
            raise translated(error) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for the write under way, but for one that lasts too long: then all who wait are told, at once."""
        while not self._write.acquire(timeout=max(0.0, left := self._left_s())):
            if left <= 0.0:
                raise UnusableIndex(
                    f"index: is busy; expected the write under way to end within {WRITER_WAITS_S:g} s, but it has not; "
                    "nothing was changed; see whether the database and its disk answer"
                )
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None
            self._write.release()

    def _left_s(self) -> float:
        """Return how long the write under way is still waited for, s."""
        since = self._since  # None: another thread was faster just now
        return WRITER_WAITS_S if since is None else since + WRITER_WAITS_S - time.monotonic()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Queries that wait for no writer.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise translated(error) from error

    def clock(self, connection: Connection) -> float:
        """Return the time that everyone who shares the index agrees on, seconds since the epoch."""
        if not self.shared:
            return self.now()
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())


def _sqlite(path: Path) -> Engine:
    # The connection that was used last knows most of the file; another one would have to read it again.
    # Every thread may have one: those of a search over everything must not keep an arrival waiting.
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30}, pool_use_lifo=True, max_overflow=-1)
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: sqlite3.Connection, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _postgres(url: str) -> Engine:
    """An engine whose commits survive a power cut; no message repeats the URL, which may hold a password."""
    try:
        address = make_url(url)
        if address.get_backend_name() != "postgresql":
            raise ArgumentError
        options = {"options": _SESSION, "connect_timeout": 10, **_SILENCE}
        engine = create_engine(address.set(drivername="postgresql+psycopg"), connect_args=options, pool_pre_ping=True)
    except ArgumentError as error:
        raise StoreError("index_url: expected postgresql://user@host/database, got another form") from error
    except ImportError as error:
        raise StoreError(f"index_url: {error.name} is not installed; pip install 'wetread[postgres]'") from error
    event.listen(engine, "connect", _demand_fsync)
    return engine


def _demand_fsync(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        (fsync,) = cursor.execute("SHOW fsync").fetchone()
    connection.rollback()
    if fsync != "on":
        raise StoreError("index: PostgreSQL runs with fsync off, so a power cut would lose studies; switch it on")


class UnusableIndex(StoreError):
    """The database does not answer, is busy or full, whoever asks and for whatever."""

    @property
    def told(self) -> str:
        """Nothing of where the database is, and who calls it: its own words may say so."""
        return "index: cannot be used now; nothing was changed; ask again later"


class CorruptIndex(StoreError):
    """The index's file is damaged; the blobs are not."""


def translated(error: SQLAlchemyError) -> StoreError:
    """Return the error of the index as one of ours."""
    cause = getattr(error, "orig", None) or error  # the database's own, or that no connection was free in time
    name = type(cause).__name__
    if isinstance(cause, sqlite3.DatabaseError) and name == "DatabaseError":
        # SQLITE_CORRUPT or SQLITE_NOTADB; a busy or full disk is an OperationalError
        return CorruptIndex("index: is corrupt; nothing was changed; start the node again: it is rebuilt")
    if isinstance(error, OperationalError):  # about server, lock or disk, and of no value: a person must know which
        return UnusableIndex(f"index: cannot be used now ({name}: {str(cause).partition(chr(10))[0]})")
    kind = UnusableIndex if isinstance(error, NoConnection) else StoreError
    return kind(f"index: cannot be used now ({name})")
