"""What the index knows of orders and of patients who were merged, and what a message changes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select, update

from wetread.jobs import failpoints
from wetread.jobs.index import Index
from wetread.jobs.matching import Candidate, Verdict, joined, order_of, order_text, same_authority, verdict
from wetread.jobs.tables import instances, jobs, merges, messages, orders, subjects
from wetread.records import Code, Identifier, Order
from wetread.wire.hl7 import BadMessage, Condition
from wetread.wire.ordering import Change, Ended, Known, Merged, Placed, Prioritised

BATCH = 64  # orders that studies are held against in one turn
MOST_MERGES = 20  # that are followed from one identifier

#: A later word of the same order counts less.
URGENCY = ("STAT", "URGENT", "ROUTINE", "")
#: What an ordering system sends by itself counts more than what is asked for.
SOURCES = ("", "hl7", "fhir", "worklist")
#: What tells one requested procedure of an order from another: names of fields of `Order`.
PROCEDURE = ("study_uid", "procedure_id", "reference")
_HINTS = ("filler", "accession", "procedure")


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that was understood."""

    sender: str  # MSH-3 and MSH-4
    control_id: str  # MSH-10
    digest: str  # SHA-256 of its bytes, hex
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Fresh:
    """An order against which studies that are here must be held."""

    id: int
    order: Order
    at: float


class Ordered:
    """The orders of a store.

    Parameters
    ----------
    failpoint
        See `wetread.jobs.failpoints`.
    """

    def __init__(self, index: Index, failpoint: failpoints.Failpoint) -> None:
        self._index = index
        self._failpoint = failpoint

    def keep(self, taken: Taken) -> bool:
        """Keep what a message says; afterwards it may be acknowledged.

        Returns
        -------
        bool
            Whether it is new: one that was acknowledged before changes nothing.

        Raises
        ------
        BadMessage
            It may mean one of several orders: their number is without its authority.  Nothing of it is kept.
        StoreError
            Nothing of it is kept.
        """
        named = {"sender": taken.sender, "control_id": taken.control_id}
        with self._index.writing() as connection:
            known = connection.scalar(select(messages.c.digest).filter_by(**named))
            if known == taken.digest:
                return False
            now = self._index.now()
            for change in taken.changes:
                apply(connection, change, now)
            connection.execute(delete(messages).filter_by(**named))
            connection.execute(insert(messages).values(digest=taken.digest, at=now, **named))
        self._failpoint("order-kept")
        return True

    def learn(self, found: Iterable[Order]) -> None:
        """Keep orders that a worklist told when it was asked; what an ordering system sent by itself stays.

        Raises
        ------
        StoreError
            They are not kept.
        """
        with self._index.writing() as connection:
            for order in found:
                rows = _meant(_find(connection, order), order)
                if not rows or order_of(rows[0].detail).source == order.source:
                    apply(connection, Placed(order, new=True), self._index.now())

    # ---- for whoever matches --------------------------------------------------------------

    def candidates(self, connection: Connection, study_uid: str, accessions: Iterable[str]) -> list[Candidate]:
        """Return the orders that may be a study's: those that name it first, then the most urgent.

        Where one names it, those that name another study are about that one, also under the same accession number.
        """
        numbers = [one for one in accessions if one]
        named = or_(orders.c.study_uid == study_uid, orders.c.accession.in_(numbers))
        rows = connection.execute(select(orders).where(named).order_by(orders.c.id)).all()
        found = [(row.id, order_of(row.detail)) for row in rows]
        if any(order.study_uid == study_uid for _, order in found):
            found = [one for one in found if one[1].study_uid in ("", study_uid)]
        found.sort(
            key=lambda one: (
                one[1].study_uid != study_uid,
                SOURCES.index(one[1].source),
                URGENCY.index(one[1].priority),
            )
        )
        return [Candidate(number, order, followed(connection, order.patient)) for number, order in found]

    def of(self, study_uid: str, accession: str) -> list[Order]:
        """Return the orders that may be a study's, whoever the patient is: how urgent it is, a mistake may decide."""
        with self._index.reading() as connection:
            return [one.order for one in self.candidates(connection, study_uid, [accession])]

    def any(self, connection: Connection) -> bool:
        """Whether any order is known."""
        return connection.scalar(select(orders.c.id).limit(1)) is not None

    def fresh(self) -> list[Fresh]:
        """Return some orders against which studies that are here must be held."""
        with self._index.reading() as connection:
            rows = connection.execute(select(orders).where(orders.c.fresh == 1).order_by(orders.c.id).limit(BATCH))
            return [Fresh(row.id, order_of(row.detail), row.at) for row in rows]

    def studies(self, order: Order) -> list[str]:
        """Return the studies that are here and may answer an order; see `candidates`."""
        by_number = select(jobs.c.study_uid).join(instances).where(instances.c.accession == order.accession.value)
        found: list[str] = []
        with self._index.reading() as connection:
            if order.accession.value:
                found += connection.scalars(by_number.distinct())
            if order.study_uid:
                others = select(orders.c.study_uid).where(orders.c.study_uid.in_(found))
                taken = set(connection.scalars(others)) - {order.study_uid}
                found = [one for one in found if one not in taken]
                found += connection.scalars(
                    select(jobs.c.study_uid).where(jobs.c.study_uid == order.study_uid).distinct()
                )
        return list(dict.fromkeys(found))

    def held_against(self, some: Iterable[Fresh]) -> None:
        """Remember that studies were held against orders, but for those that have changed meanwhile."""
        with self._index.writing() as connection:
            for one in some:
                same = (orders.c.id == one.id) & (orders.c.at == one.at)
                connection.execute(update(orders).where(same).values(fresh=0))

    def forget(self, age_s: float) -> int:
        """Forget orders, merges and messages of which nothing was heard for so long, s; return how many orders."""
        with self._index.writing() as connection:
            until = self._index.now() - age_s
            old = (orders.c.at <= until) & (orders.c.fresh == 0)
            connection.execute(delete(subjects).where(subjects.c.order_id.in_(select(orders.c.id).where(old))))
            number = connection.execute(delete(orders).where(old)).rowcount
            for table in (merges, messages):
                connection.execute(delete(table).where(table.c.at <= until))
        return number


# ---- inside a transaction -----------------------------------------------------------------


def apply(connection: Connection, change: Change, now: float) -> None:
    """Let one thing that a message says be so from now on."""
    match change:
        case Placed():
            _place(connection, change, now)
        case Ended():
            _end(connection, change)
        case Prioritised():
            for row in _meant(_find(connection, change.order, sure=False), change.order):
                _write(connection, row.id, replace(order_of(row.detail), priority=change.order.priority), now)
        case Known():
            _know(connection, change, now)
        case Merged():
            _merge(connection, change, now)


def _place(connection: Connection, change: Placed, now: float) -> None:
    """A new order takes the place of one row at most; a change holds for all that it may mean.

    A procedure that is not known yet is put beside the others of its order; what a change does not name it has of them.
    """
    known = _find(connection, change.order, sure=change.new)
    meant = _meant(known, change.order)[: 1 if change.new else None]
    told: list[tuple[int | None, Order | None]] = [(row.id, order_of(row.detail)) for row in meant]
    if not told:
        told = [(None, _unnamed(order_of(row.detail))) for row in known[:1]] or [(None, None)]
    for number, before in told:
        order = _changed(None if change.new else before, change)
        _write(connection, number, replace(order, patient=_surviving(connection, order.patient)), now)
    patient = _surviving(connection, change.order.patient)
    for row in known if patient and not change.new else ():
        order = order_of(row.detail)
        if row not in meant and order.patient != patient:  # all procedures of an order are about one patient
            _write(connection, row.id, replace(order, patient=patient), now)


def _unnamed(order: Order) -> Order:
    """An order without what names one of its procedures."""
    return replace(order, study_uid="", procedure_id="", reference="")


def _end(connection: Connection, change: Ended) -> None:
    ended = [row.id for row in _meant(_find(connection, change.order, sure=False), change.order)]
    connection.execute(delete(subjects).where(subjects.c.order_id.in_(ended)))
    connection.execute(delete(orders).where(orders.c.id.in_(ended)))


def _know(connection: Connection, change: Known, now: float) -> None:
    """Further identifiers of a patient whose order is here; whose they are, only an authority's number tells."""
    for row in _of_patient(connection, change.patient):
        order = order_of(row.detail)
        patient = tuple(dict.fromkeys((*order.patient, *_surviving(connection, change.patient))))
        if patient != order.patient:
            _write(connection, row.id, replace(order, patient=patient), now)


def _merge(connection: Connection, change: Merged, now: float) -> None:
    for prior in change.prior:
        into = next((one for one in change.patient if same_authority(one, prior)), change.patient[0])
        if into == prior:
            continue
        connection.execute(delete(merges).where(_named(prior)))
        connection.execute(delete(merges).where(_named(into)))  # it is in use, whatever was said before
        told = {"survivor": json.dumps(asdict(into), ensure_ascii=False), "at": now}
        connection.execute(insert(merges).values(value=prior.value, authority=joined(prior), **told))
    for row in _of_patient(connection, (*change.prior, *change.patient), sure=False):
        order = order_of(row.detail)
        _write(connection, row.id, replace(order, patient=_surviving(connection, order.patient)), now)


def _number(one: Identifier) -> str:
    """An order's number with who gave it, as one text."""
    return f"{one.value}^{joined(one)}".rstrip("^") if one.value else ""


def _find(connection: Connection, order: Order, sure: bool = True) -> list[Row[Any]]:
    """The rows of an order that is known already, one for each of its procedures.

    It is known by its placer's number, else its filler's; without them by others.  A filler's number under another
    number of the placer is another order: one of the two numbers is a mistake.

    Parameters
    ----------
    sure
        The same authority gave the number; else also one that a side does not name, where only one order may be meant.

    Raises
    ------
    BadMessage
        Several orders may be meant.
    """
    keys = ((orders.c.placer, _number(order.placer)), (orders.c.filler, _number(order.filler)))
    if not order.placer.value and not order.filler.value:
        keys = ((orders.c.accession, order.accession.value), (orders.c.study_uid, order.study_uid))
    for column, number in keys:
        found = connection.execute(select(orders).where(column == number).order_by(orders.c.id)) if number else ()
        rows = [row for row in found if row.placer in ("", _number(order.placer)) or not order.placer.value]
        if rows:
            return [row for row in rows if _own(row) == _own(rows[0])]
    return [] if sure else _unsure(connection, order)


def _unsure(connection: Connection, order: Order) -> list[Row[Any]]:
    """The rows of the only order that has the same number, where a side names no authority of it."""
    patient = followed(connection, order.patient)
    for name in ("placer", "filler"):
        number, column = getattr(order, name), orders.c[name]
        alike = or_(column == number.value, column.startswith(f"{number.value}^", autoescape=True))
        found = connection.execute(select(orders).where(alike).order_by(orders.c.id)) if number.value else ()
        rows = []
        for row in found:
            known = order_of(row.detail)
            other = getattr(known, name)
            if name == "filler" and row.placer and order.placer.value:
                continue
            if other.value != number.value or same_authority(other, number) is False:
                continue
            if verdict(followed(connection, known.patient), patient) is not Verdict.CONTRADICT:
                rows.append(row)
        if len({_own(row) for row in rows}) > 1:
            expected = "expected an order number (ORC-2, ORC-3, SCH-26, SCH-27) with its authority"
            raise BadMessage(Condition.UNKNOWN_KEY_IDENTIFIER, f"{expected}, as several orders have it; got none")
        if rows:
            return rows
    return []


def _own(row: Row[Any]) -> str:
    """The number that all rows of an order have."""
    return str(row.placer or row.filler)


def _meant(rows: Iterable[Row[Any]], order: Order) -> list[Row[Any]]:
    """Of the rows of an order those of the procedure that is told; all, where nothing tells which.

    A procedure is told by what names it, else by what else it has in common.
    """
    fits: dict[int, list[Row[Any]]] = {}
    for row in rows:
        known = order_of(row.detail)
        pairs = {name: (_text(known, name), _text(order, name)) for name in (*PROCEDURE, *_HINTS)}
        same = {name: one == other for name, (one, other) in pairs.items() if one and other}
        if all(same.get(name, True) for name in PROCEDURE):
            fits.setdefault(sum(same.values()), []).append(row)
    return fits[max(fits)] if fits else []


def _text(order: Order, name: str) -> str:
    value = getattr(order, name)
    return str(value.value if isinstance(value, (Identifier, Code)) else value or "")


def _adds(told: Any, known: Any) -> bool:
    """Whether a message names something; a number without the authority that is known of it says nothing."""
    if isinstance(told, Identifier):
        return bool(told.value) and (told.value != known.value or bool(joined(told)))
    return bool(told)


def _changed(before: Order | None, change: Placed) -> Order:
    """What a message does not name stays; an order without an accession number has its filler's, else its placer's."""
    order = change.order
    if before is not None:
        known = {one.name: getattr(before, one.name) for one in fields(Order) if one.name not in change.cleared}
        kept = {name: value for name, value in known.items() if not _adds(getattr(order, name), value)}
        order = replace(order, **kept)
    if not order.accession.value:
        order = replace(order, accession=order.filler if order.filler.value else order.placer)
    return order


def _write(connection: Connection, number: int | None, order: Order, now: float) -> None:
    row = {
        "placer": _number(order.placer),
        "filler": _number(order.filler),
        "accession": order.accession.value,
        "study_uid": order.study_uid,
        "detail": order_text(order),
        "fresh": 1,
        "at": now,
    }
    if number is None:
        made = connection.execute(insert(orders).values(**row))
        assert made.inserted_primary_key is not None
        number = int(made.inserted_primary_key[0])
    else:
        connection.execute(update(orders).where(orders.c.id == number).values(**row))
        connection.execute(delete(subjects).where(subjects.c.order_id == number))
    keys = dict.fromkeys((one.value, joined(one)) for one in order.patient)
    if keys:
        rows = [{"order_id": number, "value": value, "authority": authority} for value, authority in keys]
        connection.execute(insert(subjects), rows)


def _of_patient(connection: Connection, patient: Sequence[Identifier], sure: bool = True) -> list[Row[Any]]:
    """The rows of the orders of a patient.

    Parameters
    ----------
    sure
        Only those one of whose identifiers the same authority gave; else those too where nobody names one.
    """
    rows = connection.execute(select(subjects).where(subjects.c.value.in_({one.value for one in patient}))).all()
    wanted = (True,) if sure else (True, None)
    found = {
        row.order_id
        for row in rows
        for one in patient
        if row.value == one.value and same_authority(one, _prior(row.value, row.authority)) in wanted
    }
    return list(connection.execute(select(orders).where(orders.c.id.in_(found)).order_by(orders.c.id)).all())


def _named(one: Identifier) -> ColumnElement[bool]:
    return (merges.c.value == one.value) & (merges.c.authority == joined(one))


def _surviving(connection: Connection, some: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Return what identifiers were merged into at last, or themselves."""
    return tuple(dict.fromkeys(followed(connection, [one])[-1] for one in some))


def followed(connection: Connection, some: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """Return identifiers, each followed by what it was merged into."""
    found: dict[Identifier, None] = {}
    for given in some:
        one: Identifier | None = given
        for _ in range(MOST_MERGES):
            if one is None:
                break
            found[one] = None
            one = _into(connection, one)
    return tuple(found)


def _into(connection: Connection, one: Identifier) -> Identifier | None:
    """What an identifier was merged into; where the message names no authority, it is the same."""
    rows = connection.execute(select(merges).where(merges.c.value == one.value)).all()
    told = (row.survivor for row in rows if same_authority(one, _prior(row.value, row.authority)) is not False)
    into = next((Identifier(**json.loads(text)) for text in told), None)
    return replace(one, value=into.value) if into is not None and not joined(into) else into


def _prior(value: str, authority: str) -> Identifier:
    return Identifier(value, *(*authority.split("&"), "", "")[:3])
