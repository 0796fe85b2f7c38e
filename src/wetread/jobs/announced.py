"""What was announced of a study: how many objects it has, as senders and archives say, and which they are.

It is kept in the index, so that it may come before the objects or after them, and outlives the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from sqlalchemy import Connection, delete, func, insert, select, union, update

from wetread.jobs.index import Index
from wetread.jobs.lanes import Lane
from wetread.jobs.states import Delivery, State
from wetread.jobs.tables import documents, expected, instances, jobs, notices, outbox
from wetread.wire.dimse import Notice, Status
from wetread.wire.notices import IN_PROGRESS

OPEN = (State.RECEIVED.value, State.COMPLETE.value)  # a version in one of these still takes objects


class Source(StrEnum):
    """Who said a number."""

    HEADER = "header"  # the objects themselves
    QUERY = "query"  # an archive that was asked


class Outlook(Enum):
    """What is known of the objects that are still to come."""

    UNKNOWN = "unknown"
    MORE = "more"
    WHOLE = "whole"  # exactly what was announced is here


@dataclass(slots=True)
class Known:
    """One study: what is here, and what was announced."""

    have: set[str] = field(default_factory=set)  # SOP Instance UIDs
    series: Counter[str] = field(default_factory=Counter)  # Series Instance UID -> objects
    ours: int = 0  # documents of ours that a destination confirmed: an archive may count them
    lane: Lane = Lane.ROUTINE
    first: bool = True  # no version of it was read yet
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)  # series or "", source -> objects
    listed: set[str] = field(default_factory=set)  # SOP Instance UIDs that notices name
    lacks: set[str] = field(default_factory=set)  # of these, what is not here
    steps: int = 0  # performed procedure steps that are in progress

    def add(self, instance: str, series_uid: str, lane: Lane) -> None:
        """One more object is here."""
        if instance not in self.have:
            self.have.add(instance)
            self.series[series_uid] += 1
            self.lacks.discard(instance)
        self.lane = min(self.lane, lane)

    @property
    def expected(self) -> int:
        """How many objects the study has at least, by the largest of what was announced."""
        missing = sum(max(0, number - self.series[one]) for (one, _), number in self.numbers.items() if one)
        whole = [number - self.ours for (one, _), number in self.numbers.items() if not one]
        return max(len(self.have) + max(missing, len(self.lacks)), *whole, 0)

    @property
    def outlook(self) -> Outlook:
        """Whoever announced more than is here is believed; else whoever announced exactly that.

        Numbers in headers that were once too small say nothing of later versions: else each further object
        of a sender that counts along would make a version of its own.  So do lists that were once too short.
        """
        if self.steps or self.expected > len(self.have):
            return Outlook.MORE
        if self.listed and (self.first or len(self.listed) == len(self.have)):
            return Outlook.WHOLE
        trusted = [Source.QUERY, Source.HEADER] if self.first else [Source.QUERY]
        whole = {self.numbers.get(("", source)) for source in trusted}
        return Outlook.WHOLE if whole & {len(self.have), len(self.have) + self.ours} else Outlook.UNKNOWN


class Announced:
    """What a store knows of the objects that are still to come."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def number(self, study_uid: str, series_uid: str, source: Source, number: int) -> None:
        """Keep how many objects a study has, or one of its series; it replaces what the source said before.

        Raises
        ------
        StoreError
            It is not kept.
        """
        named = {"study_uid": study_uid, "series_uid": series_uid, "source": source.value}
        with self._index.writing() as connection:
            connection.execute(delete(expected).filter_by(**named))
            connection.execute(insert(expected).values(number=number, **named))

    def hear(self, notice: Notice) -> Status:
        """Keep a notice, or what changed of one; afterwards it may be answered.

        Returns
        -------
        Status
            Why it is not kept, or SUCCESS: PS3.4 Section F.7.2.

        Raises
        ------
        StoreError
            It is not kept.
        """
        with self._index.writing() as connection:
            here = select(notices).where(notices.c.sop_instance_uid == notice.sop_instance_uid)
            row = connection.execute(here).first()
            if notice.new:
                if row is not None:
                    return Status.DUPLICATE_INSTANCE
                named = {"sop_instance_uid": notice.sop_instance_uid, "sop_class_uid": notice.sop_class_uid}
                study_uid = next(iter(notice.studies)) if len(notice.studies) == 1 else ""
                made = {**named, "study_uid": study_uid, "state": notice.state, "at": self._index.now()}
                connection.execute(insert(notices).values(instances=_text(notice.instances or ()), **made))
                return Status.SUCCESS
            if row is None or row.sop_class_uid != notice.sop_class_uid:
                return Status.NO_SUCH_INSTANCE
            if row.state != IN_PROGRESS:
                return Status.PROCESSING_FAILURE
            told = row.instances if notice.instances is None else _text(notice.instances)
            changed = update(notices).where(notices.c.sop_instance_uid == notice.sop_instance_uid)
            connection.execute(changed.values(state=notice.state or row.state, instances=told))
            return Status.SUCCESS

    def study_of(self, notice: Notice) -> str:
        """Return the Study Instance UID that a notice that was kept is about; "" for several.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        with self._index.reading() as connection:
            named = select(notices.c.study_uid).where(notices.c.sop_instance_uid == notice.sop_instance_uid)
            return str(connection.execute(named).scalar_one())

    def studies(self) -> set[str]:
        """Return the studies that still take objects and of which anything was announced.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        arriving = select(jobs.c.study_uid).where(jobs.c.state == State.RECEIVED)
        told = (select(one.c.study_uid).where(one.c.study_uid.in_(arriving)) for one in (expected, notices))
        with self._index.reading() as connection:
            return set(connection.scalars(union(*told)))

    def known(self, study_uid: str) -> Known:
        """Return what is here of a study, and what was announced.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        with self._index.reading() as connection:
            known = self._here(connection, study_uid)
            for row in connection.execute(select(expected).where(expected.c.study_uid == study_uid)):
                known.numbers[row.series_uid, row.source] = row.number
            self._listed(connection, study_uid, known)
        return known

    def _listed(self, connection: Connection, study_uid: str, known: Known) -> None:
        """Take in what notices name, but for documents of ours, which are not here as objects."""
        for row in connection.execute(select(notices).where(notices.c.study_uid == study_uid)):
            known.steps += row.state == IN_PROGRESS
            known.listed.update(row.instances.split())
        if known.listed:
            own = select(documents.c.sop_instance_uid).join(jobs, jobs.c.id == documents.c.job)
            known.listed.difference_update(connection.scalars(own.where(jobs.c.study_uid == study_uid)))
        known.lacks = known.listed - known.have

    def _here(self, connection: Connection, study_uid: str) -> Known:
        latest = select(jobs.c.version, jobs.c.state, jobs.c.lane).where(jobs.c.study_uid == study_uid)
        job = connection.execute(latest.order_by(jobs.c.version.desc()).limit(1)).first()
        known = Known()
        if job is None:
            return known
        known.lane = Lane(job.lane)
        known.first = job.version == 1 and job.state in OPEN
        here = select(instances.c.sop_instance_uid, instances.c.series_uid).join(jobs, instances.c.job == jobs.c.id)
        for row in connection.execute(here.where(jobs.c.study_uid == study_uid)):
            known.add(row.sop_instance_uid, row.series_uid, known.lane)
        sent = select(func.count(outbox.c.document.distinct())).join(documents, documents.c.id == outbox.c.document)
        sent = sent.join(jobs, jobs.c.id == outbox.c.job).where(jobs.c.study_uid == study_uid)
        known.ours = int(connection.execute(sent.where(outbox.c.state == Delivery.SENT)).scalar_one())
        return known


def _text(instances: Iterable[str]) -> str:
    return " ".join(sorted(instances))
