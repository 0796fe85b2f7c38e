"""The secret that makes pseudonyms, and the book that leads back from them; both stay in the hospital."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from wetread.acquire.deidentify.names import SEPARATOR
from wetread.errors import BadInput, StoreError

__all__ = ["Ledger"]

SECRET_BYTES = 32
BUSY_S = 30.0  # how long another process may write
#: Days by which the dates of a patient move into the past, at least and at most.
SHIFT_DAYS = (30, 3650)
SCHEMA = (
    "create table if not exists secret (value blob not null)",
    "create table if not exists names (kind text, new text, old text not null, primary key (kind, new))",
)
REMEMBER = (
    "insert into names values (?, ?, ?)"
    " on conflict (kind, new) do update set old = excluded.old where old <> excluded.old"
)


class Ledger:
    """Pseudonyms of UIDs and identifiers: the same input gives the same output, and only this file leads back.

    Parameters
    ----------
    path
        A SQLite file; it is made, readable by its owner alone, if it is not there.

    Raises
    ------
    BadInput
        The file cannot be opened, or is something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._book = sqlite3.connect(path, timeout=BUSY_S)
            for statement in SCHEMA:
                self._book.execute(statement)
            # In one statement: of two processes that open a new ledger only one gives it its secret.
            new = "insert into secret select ? where not exists (select 1 from secret)"
            if self._book.execute("select value from secret").fetchone() is None:
                self._book.execute(new, (secrets.token_bytes(SECRET_BYTES),))
            self._book.commit()
            row = self._book.execute("select value from secret").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"ledger {path.name}: expected a file that can be written, got {error}") from error
        self._secret: bytes = row[0]
        self._name = path.name

    def __enter__(self) -> Ledger:
        """Return the ledger."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Keep what was written, unless something failed, and close."""
        try:
            if kind is None:
                self.keep()
        finally:
            self._book.close()

    def keep(self) -> None:
        """Make what was written durable, and let others write: before a copy leaves.

        Raises
        ------
        StoreError
            It is not durable.
        """
        with self._writing():
            self._book.commit()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"ledger {self._name}: expected a file that can be written, got {error}") from error

    def _digest(self, kind: str, value: str) -> int:
        return int.from_bytes(hmac.digest(self._secret, f"{kind}\x1f{value}".encode(), hashlib.sha256)[:16], "big")

    def uid(self, old: str) -> str:
        """Return the UID that stands for another one."""
        return self.remember("uid", f"2.25.{self._digest('uid', old)}", old)

    def pseudonym(self, kind: str, old: str) -> str:
        """Return a name of 16 characters that stands for a patient."""
        return self.remember(kind, self._short(kind, self._made_of(old)), old)

    def shift_days(self, patient: str) -> int:
        """Return by how many days the dates of a patient move: below zero."""
        least, most = SHIFT_DAYS
        return -(least + self._digest("shift", self._made_of(patient)) % (most - least + 1))

    def _short(self, kind: str, value: str) -> str:
        return f"{self._digest(kind, value):032X}"[:16]

    def _made_of(self, patient: str) -> str:
        """Return what pseudonym and days of a patient are made of: the identifier alone for whoever had it first.

        Ledgers were once kept without issuers.  There the first is the issuer that their studies tell; where they
        tell several, one pseudonym stood for different patients, and none of them keeps it.
        """
        identifier, _, issuer = patient.partition(SEPARATOR)
        if not identifier:
            return patient
        new = self._short("patient", identifier)
        with self._writing():
            # The first statement writes, so that no other process comes between.
            self._book.execute("insert or ignore into names values ('patient', ?, ?)", (new, patient))
            first = self.original("patient", new)
            if first == identifier:
                first = SEPARATOR.join((identifier, *(self._issuers(identifier) or (issuer,))))
                self.remember("patient", new, first)
        return identifier if first == patient else patient

    def _issuers(self, identifier: str) -> list[str]:
        """Return who issued an identifier, by the studies that are known."""
        told = "select old from names where kind = 'study' and instr(old, ?)"
        rows = self._book.execute(told, (f'"PatientID": {json.dumps(identifier)}',))
        return sorted({str(json.loads(old).get("IssuerOfPatientID", "")).strip(" \0") for (old,) in rows})

    def remember(self, kind: str, new: str, old: str) -> str:
        """Keep what a pseudonym stands for now, and return it."""
        with self._writing():
            self._book.execute(REMEMBER, (kind, new, old))
        return new

    def original(self, kind: str, new: str) -> str | None:
        """Return what a pseudonym stands for, None if this ledger did not make it."""
        with self._writing():
            row = self._book.execute("select old from names where kind = ? and new = ?", (kind, new)).fetchone()
        return None if row is None else str(row[0])
