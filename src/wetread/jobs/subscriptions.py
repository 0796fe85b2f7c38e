"""Who is told of which work items, and what is to be told: a log that open channels read on from where they began.

References
----------
PS3.4 Section CC.2.3 with Table CC.2.3-2 (states of a subscription), CC.2.4.3 (when what is told).
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import Connection, delete, func, insert, select, update

from wetread.jobs.index import Index
from wetread.jobs.tables import events, subscriptions, workitems
from wetread.wire import upsevents
from wetread.wire.dicomjson import DataSet, tag, values
from wetread.wire.match import key, matches

KEPT_S = 600.0  # events, for channels that are slow
ALL = ""  # stands in place of a work item for those to come


class Subscriptions:
    """The subscriptions in a store, and the log of their events."""

    def __init__(self, index: Index) -> None:
        self._index = index

    # ---- within a transaction of the worklist ----------------------------------------------

    def created(self, connection: Connection, uid: str, data: DataSet) -> None:
        """Subscribe whoever wants to know of new work items like this one, and tell them."""
        everybody = select(subscriptions).where(subscriptions.c.workitem == ALL)
        rows = [row for row in connection.execute(everybody) if _wants(row.filter, data)]
        for row in rows:
            self._set(connection, row.ae_title, uid, bool(row.locked))
        self._log(connection, [row.ae_title for row in rows], upsevents.state_report(uid, data))
        if any(values(data, keyword) for keyword in upsevents.ASSIGNMENT):
            self._log(connection, [row.ae_title for row in rows], upsevents.assigned(uid, data))

    def updated(self, connection: Connection, uid: str, before: DataSet, data: DataSet) -> None:
        """Tell what changed that subscribers are told of."""

        def differ(*keywords: str) -> bool:
            return any(before.get(tag(one)) != data.get(tag(one)) for one in keywords)

        if differ("InputReadinessState"):
            self.tell(connection, uid, upsevents.state_report(uid, data))
        if differ(*upsevents.ASSIGNMENT):
            self.tell(connection, uid, upsevents.assigned(uid, data))
        if differ("ProcedureStepProgressInformationSequence"):
            self.tell(connection, uid, upsevents.progress_report(uid, data))

    def tell(self, connection: Connection, uid: str, report: DataSet) -> int:
        """Tell all subscribers of a work item; return how many there are."""
        of_it = select(subscriptions.c.ae_title).where(subscriptions.c.workitem == uid)
        ae_titles = list(connection.scalars(of_it))
        self._log(connection, ae_titles, report)
        return len(ae_titles)

    def to_one(self, connection: Connection, ae_title: str, uid: str, data: DataSet, locked: bool) -> None:
        """Subscribe to one work item; its state is told at once."""
        self._set(connection, ae_title, uid, locked)
        self._log(connection, [ae_title], upsevents.state_report(uid, data))

    def to_all(
        self, connection: Connection, ae_title: str, locked: bool, filtered: Iterable[tuple[str, str]] | None
    ) -> None:
        """Subscribe to all work items, or those that match, now and later; what was subscribed before stays as it is.

        With a deletion lock the state of each is told at once.
        """
        pairs = list(filtered or ())
        keys = [key(name, value) for name, value in pairs]
        self._set(connection, ae_title, ALL, locked, json.dumps(pairs) if pairs else "")
        mine = select(subscriptions.c.workitem).where(subscriptions.c.ae_title == ae_title)
        known = set(connection.scalars(mine))
        rows = connection.execute(select(workitems.c.uid, workitems.c.content)).all()
        meant = {row.uid: data for row in rows if matches(data := json.loads(row.content), keys)}
        fresh = {"ae_title": ae_title, "locked": int(locked), "filter": ""}
        if new := [{**fresh, "workitem": uid} for uid in meant if uid not in known]:
            connection.execute(insert(subscriptions), new)
        for uid, data in meant.items() if locked else ():
            self._log(connection, [ae_title], upsevents.state_report(uid, data))

    # ---- transactions of their own --------------------------------------------------------

    def unsubscribe(self, ae_title: str, uid: str) -> bool:
        """End the subscription to one work item, or all of an AE where `uid` is ""; return whether there was any."""
        mine = subscriptions.c.ae_title == ae_title
        with self._index.writing() as connection:
            gone = delete(subscriptions).where(mine, *([subscriptions.c.workitem == uid] if uid else []))
            return connection.execute(gone).rowcount > 0

    def suspend(self, ae_title: str) -> bool:
        """Subscribe an AE to no more new work items; return whether it was."""
        all_new = delete(subscriptions).where(subscriptions.c.ae_title == ae_title, subscriptions.c.workitem == ALL)
        with self._index.writing() as connection:
            return connection.execute(all_new).rowcount > 0

    def any_of(self, ae_title: str) -> bool:
        """Whether an AE has any subscription."""
        with self._index.reading() as connection:
            mine = select(subscriptions.c.ae_title).where(subscriptions.c.ae_title == ae_title).limit(1)
            return connection.scalar(mine) is not None

    def last(self) -> int:
        """Return the number of the newest event; 0 if there is none."""
        with self._index.reading() as connection:
            return int(connection.scalar(select(func.max(events.c.id))) or 0)

    def since(self, ae_title: str, number: int) -> list[tuple[int, str]]:
        """Return number and text of the events for an AE after one, the oldest first."""
        mine = select(events.c.id, events.c.report).where(events.c.ae_title == ae_title, events.c.id > number)
        with self._index.reading() as connection:
            return [(row.id, row.report) for row in connection.execute(mine.order_by(events.c.id))]

    def _set(self, connection: Connection, ae_title: str, uid: str, locked: bool, filtered: str = "") -> None:
        mine = (subscriptions.c.ae_title == ae_title) & (subscriptions.c.workitem == uid)
        row = {"locked": int(locked), "filter": filtered}
        if not connection.execute(update(subscriptions).where(mine).values(**row)).rowcount:
            connection.execute(insert(subscriptions).values(ae_title=ae_title, workitem=uid, **row))

    def _log(self, connection: Connection, ae_titles: Iterable[str], report: DataSet) -> None:
        at, text = self._index.now(), json.dumps(report)
        rows = [{"ae_title": one, "report": text, "at": at} for one in ae_titles]
        if rows:
            connection.execute(delete(events).where(events.c.at < at - KEPT_S))
            connection.execute(insert(events), rows)


def _wants(filtered: str, data: DataSet) -> bool:
    """Whether a subscription to all, or to those that match a filter, means a work item."""
    return matches(data, [key(name, value) for name, value in json.loads(filtered or "[]")])
