"""Leases: what one process has taken for itself, until it gives it back or is heard of no more.

With SQLite one process owns the store, so nothing else can take a lease and none runs out: a clock that
jumps changes nothing.  With PostgreSQL all go by the database's clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection

from sqlalchemy import Connection, delete, func, insert, or_, select, update

from wetread.jobs.index import Index
from wetread.jobs.tables import leases


class Leases:
    """The leases as one process sees them.

    Parameters
    ----------
    index
        The index.
    duration_s
        After so long without `renew` a lease is free for others, s.
    """

    def __init__(self, index: Index, duration_s: float) -> None:
        self.holder = str(uuid.uuid4())
        self.duration_s = duration_s
        self._index = index

    def take(self, connection: Connection, name: str) -> bool:
        """Take a lease that is free, run out or ours; return whether it is ours now."""
        now = self._index.clock(connection)
        row = connection.execute(select(leases).where(leases.c.name == name)).first()
        until = now + self.duration_s
        if row is None:
            connection.execute(insert(leases).values(name=name, holder=self.holder, until=until))
            return True
        if row.holder != self.holder and (row.until > now or not self._index.shared):
            return False
        connection.execute(update(leases).where(leases.c.name == name).values(holder=self.holder, until=until))
        return True

    def drop(self, connection: Connection, name: str) -> bool:
        """Give a lease back; return whether it was still ours."""
        ours = connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == self.holder))
        return ours.rowcount == 1

    def ours(self, connection: Connection, name: str) -> bool:
        """Whether a lease is ours."""
        holder = connection.scalar(select(leases.c.holder).where(leases.c.name == name))
        return bool(holder == self.holder)

    def held(self, connection: Connection) -> set[str]:
        """Return the names of all leases that somebody holds."""
        rows = connection.execute(select(leases.c.name, leases.c.until)).all()
        now = self._index.clock(connection)
        return {row.name for row in rows if row.until > now or not self._index.shared}

    def forget(self, connection: Connection, name: str) -> None:
        """Remove a lease whose holder is gone."""
        connection.execute(delete(leases).where(leases.c.name == name))

    def acquire(self, name: str) -> bool:
        """Take a lease by itself; return whether it is ours now."""
        with self._index.writing() as connection:
            return self.take(connection, name)

    def give_back(self, names: Collection[str], kind: str) -> None:
        """Give some leases back, by themselves; with them go those that ran out and whose names begin like theirs."""
        with self._index.writing() as connection:
            ours = (leases.c.holder == self.holder) & leases.c.name.in_(names)
            over = leases.c.name.startswith(kind, autoescape=True) & (leases.c.until <= self._index.clock(connection))
            connection.execute(delete(leases).where(or_(ours, over)))

    def others(self, prefix: str) -> bool:
        """Whether another process holds a lease whose name begins so."""
        named = leases.c.name.startswith(prefix, autoescape=True)
        last = select(func.max(leases.c.until)).where(named, leases.c.holder != self.holder)
        with self._index.reading() as connection:
            until = connection.scalar(last)
            return until is not None and until > self._index.clock(connection)

    def renew(self) -> None:
        """Hold what is ours for another `duration_s`."""
        with self._index.writing() as connection:
            until = self._index.clock(connection) + self.duration_s
            connection.execute(update(leases).where(leases.c.holder == self.holder).values(until=until))

    def release(self) -> None:
        """Give back everything but jobs that are being read: those count as cut off."""
        with self._index.writing() as connection:
            ours = leases.c.holder == self.holder
            connection.execute(delete(leases).where(ours, leases.c.name.not_like("job/%")))

    def void(self) -> None:
        """Remove all leases: whoever holds the state folder alone knows that their holders are gone."""
        with self._index.writing() as connection:
            connection.execute(delete(leases))
