"""The work items of a node: who wants what done, who does it, and how far it is.

Each method is one transaction; as an index has one writer at a time, of many who claim a step one wins.

References
----------
PS3.4 Annex CC (Unified Procedure Step); the table of states and answers is `wetread.wire.ups.TRANSITIONS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, insert, select, update

from wetread.errors import BadInput
from wetread.jobs.index import Index
from wetread.jobs.subscriptions import Subscriptions
from wetread.jobs.tables import subscriptions, workitems
from wetread.jobs.tasks import Tasks
from wetread.uids import new_uid
from wetread.wire import upsevents, workitem
from wetread.wire.dicomjson import DataSet, tag, text, values
from wetread.wire.match import Wanted, matches
from wetread.wire.ups import FINAL, TO_STATE, Action, StepState, StepStatus, judged

BATCH = 200  # rows that a search has in memory
_STREAMED = {"yield_per": BATCH}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request: its status, and what its sender should know beside."""

    status: StepStatus
    lacking: tuple[str, ...] = field(default=())  # keywords: what was filled in, or what a final state needs


class Worklist:
    """The work items in a store.

    Parameters
    ----------
    subscribed
        Who is told.
    tasks
        Those that this node performs itself.
    """

    def __init__(self, index: Index, subscribed: Subscriptions, tasks: Tasks) -> None:
        self._index = index
        self._subscribed = subscribed
        self._tasks = tasks
        self.told: list[Callable[[], None]] = []  # called when something was created, changed or asked for

    def create(self, uid: str, given: DataSet, base: str = "") -> Answer:
        """Put a work item on the list.

        Parameters
        ----------
        base
            URL under which its creator knows this service.

        Raises
        ------
        BadInput
            It lacks what it must have (PS3.4 Table CC.2.5-3).
        StoreError
            It is not on the list.
        """
        data, filled = workitem.created(given, uid, self._index.now())
        if (state := text(data, "ProcedureStepState")) != StepState.SCHEDULED:
            return Answer(StepStatus.NOT_SCHEDULED, (state,))
        with self._index.writing() as connection:
            known = self._row(connection, uid)
            status = judged(Action.CREATE, None if known is None else StepState(known.state))
            if status is not StepStatus.SUCCESS:
                return Answer(status)
            at = self._index.now()
            row = {"uid": uid, "state": StepState.SCHEDULED.value, "content": json.dumps(data), "base": base}
            connection.execute(insert(workitems).values(**row, created_at=at, changed_at=at))
            self._subscribed.created(connection, uid, data)
        self._changed()
        return Answer(StepStatus.SUCCESS, tuple(filled))

    def item(self, uid: str) -> DataSet | None:
        """Return a work item, or None if there is no such one."""
        with self._index.reading() as connection:
            row = self._row(connection, uid)
        return None if row is None else _data(row)

    def base(self, uid: str) -> str:
        """Return the URL under which the creator of a work item knows us, or ""."""
        with self._index.reading() as connection:
            row = self._row(connection, uid)
        return "" if row is None else str(row.base)

    def search(self, wanted: Wanted, most: int, also: Callable[[DataSet], bool] = lambda _: True) -> list[DataSet]:
        """Return at most so many of the work items that match, and of which `also` is true, the oldest first."""
        rows = select(workitems.c.content).order_by(workitems.c.id)
        if state := wanted.value("ProcedureStepState"):
            rows = rows.where(workitems.c.state == state)
        if uid := wanted.value("SOPInstanceUID"):
            rows = rows.where(workitems.c.uid == uid)
        found: list[DataSet] = []
        with self._index.reading() as connection, connection.execute(rows, execution_options=_STREAMED) as contents:
            for content in contents.scalars():
                data = json.loads(content)
                if matches(data, wanted.keys) and also(data):
                    found.append(data)
                    if len(found) == wanted.offset + most:
                        break
        return found[wanted.offset :]

    def update(self, uid: str, given: DataSet, transaction_uid: str = "") -> Answer:
        """Change attributes of a work item.

        Raises
        ------
        BadInput
            They may not be changed so.
        StoreError
            Nothing was changed.
        """
        with self._index.writing() as connection:
            row = self._row(connection, uid)
            status = self._judged(Action.SET, row, transaction_uid)
            if row is None or status is not StepStatus.SUCCESS:
                return Answer(status)
            before = _data(row)
            data = workitem.changed(before, given, self._index.now())
            self._write(connection, uid, data)
            self._subscribed.updated(connection, uid, before, data)
        self._changed()
        return Answer(StepStatus.SUCCESS)

    def change(self, uid: str, state: StepState, transaction_uid: str = "") -> Answer:
        """Claim, complete or cancel a step.

        Raises
        ------
        StoreError
            Nothing was changed.
        """
        action = TO_STATE[state]
        with self._index.reading() as connection:  # who comes too late waits for no writer: no step goes back
            row = self._row(connection, uid)
        status = self._judged(action, row, transaction_uid)
        if status is not StepStatus.SUCCESS:
            return Answer(status)
        with self._index.writing() as connection:
            answer = self._change(connection, uid, state, transaction_uid)
        if answer.status is StepStatus.SUCCESS:
            self._changed()
        return answer

    def _change(self, connection: Connection, uid: str, state: StepState, transaction_uid: str) -> Answer:
        row = self._row(connection, uid)
        status = self._judged(TO_STATE[state], row, transaction_uid)
        if row is None or status is not StepStatus.SUCCESS:
            return Answer(status)
        data = _data(row)
        if state is StepState.CANCELED:
            data |= workitem.canceled_because(data)
        if state in FINAL and (lacking := workitem.lacks(data, state)):
            return Answer(StepStatus.NOT_MET, tuple(lacking))
        self._move(connection, uid, data, state, transaction_uid)
        return Answer(StepStatus.SUCCESS)

    def request_cancel(self, uid: str, given: DataSet, requesting_ae: str) -> Answer:
        """Cancel a step that nobody performs yet, or tell its performer that somebody wants it canceled.

        Raises
        ------
        StoreError
            Nothing was changed.
        """
        with self._index.writing() as connection:
            row = self._row(connection, uid)
            status = self._judged(Action.REQUEST_CANCEL, row, "")
            if row is None or status is not StepStatus.SUCCESS:
                return Answer(status)
            told = upsevents.cancel_requested(uid, requesting_ae, given)
            heard = self._subscribed.tell(connection, uid, told)
            if row.state == StepState.SCHEDULED:
                self._cancel(connection, uid, _data(row), given)
            elif not self._tasks.ask_to_cancel(connection, "", uid, given) and not heard:
                return Answer(StepStatus.NO_PERFORMER)
        self._changed()
        return Answer(StepStatus.SUCCESS)

    def _cancel(self, connection: Connection, uid: str, data: DataSet, given: DataSet) -> None:
        """First IN PROGRESS, then CANCELED (PS3.4 Section CC.2.2.3)."""
        transaction = new_uid()
        data = self._move(connection, uid, data, StepState.IN_PROGRESS, transaction)
        reason = {keyword: values(given, keyword) for keyword in upsevents.REASON[:2]}
        data |= workitem.canceled_because(data, reason)
        self._move(connection, uid, data, StepState.CANCELED, transaction)

    def subscribe(
        self, ae_title: str, uid: str, locked: bool, filtered: Iterable[tuple[str, str]] | None = None
    ) -> Answer:
        """Let an AE know of one work item; of all, now and later, where `uid` is ""; or of those that match a filter.

        Raises
        ------
        BadInput
            The filter cannot be understood.
        StoreError
            Nothing was changed.
        """
        with self._index.writing() as connection:
            row = self._row(connection, uid) if uid else None
            if uid and row is None:
                return Answer(StepStatus.UNKNOWN)
            if row is not None:
                self._subscribed.to_one(connection, ae_title, uid, _data(row), locked)
            else:
                self._subscribed.to_all(connection, ae_title, locked, filtered)
        self._changed()
        return Answer(StepStatus.SUCCESS)

    def forget(self, age_s: float) -> int:
        """Forget steps that ended so long ago, s, and that nobody holds by a deletion lock; return how many."""
        held = exists().where(subscriptions.c.workitem == workitems.c.uid, subscriptions.c.locked == 1)
        ended = workitems.c.state.in_(FINAL) & (workitems.c.changed_at <= self._index.now() - age_s)
        with self._index.reading() as connection:  # mostly there is none
            uids = list(connection.scalars(select(workitems.c.uid).where(ended, ~held).limit(BATCH)))
        if not uids:
            return 0
        with self._index.writing() as connection:
            gone = connection.execute(delete(workitems).where(workitems.c.uid.in_(uids), ended, ~held)).rowcount
            kept = select(workitems.c.uid)
            of_none = subscriptions.c.workitem.in_(uids) & subscriptions.c.workitem.not_in(kept)
            connection.execute(delete(subscriptions).where(of_none))
        return gone

    def depths(self) -> dict[str, int]:
        """Return how many steps are in each state."""
        with self._index.reading() as connection:
            rows = connection.execute(select(workitems.c.state, func.count()).group_by(workitems.c.state)).all()
        return {state.value: 0 for state in StepState} | {row[0]: row[1] for row in rows}

    def _changed(self) -> None:
        for tell in self.told:
            tell()

    def _row(self, connection: Connection, uid: str) -> Row[Any] | None:
        return connection.execute(select(workitems).where(workitems.c.uid == uid)).first()

    def _judged(self, action: Action, row: Row[Any] | None, transaction_uid: str) -> StepStatus:
        if row is None:
            return judged(action, None)
        return judged(action, StepState(row.state), transaction_uid, row.transaction_uid)

    def _move(self, connection: Connection, uid: str, data: DataSet, state: StepState, transaction_uid: str) -> DataSet:
        made = workitem.in_state(data, state, self._index.now())
        self._write(connection, uid, made, state=state.value, transaction_uid=transaction_uid)
        self._subscribed.tell(connection, uid, upsevents.state_report(uid, made))
        return made

    def _write(self, connection: Connection, uid: str, data: DataSet, **more: Any) -> None:
        kept = {key: one for key, one in data.items() if key != tag("TransactionUID")}
        row = {"content": json.dumps(kept), "changed_at": self._index.now(), **more}
        connection.execute(update(workitems).where(workitems.c.uid == uid).values(**row))


def _data(row: Row[Any]) -> DataSet:
    made = json.loads(row.content)
    if not isinstance(made, dict):
        raise BadInput("work item: expected a data set in the index, found something else")
    return made
