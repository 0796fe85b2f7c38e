"""Whether more of a study is still to come: what was announced, held against what arrives.

Exactly what was announced completes a study at once.  Less holds it, for a bounded time after its last object; then
it is read with what is there, and audit table, log and metric say so.  More, or nothing announced, changes nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from wetread.errors import StoreError
from wetread.jobs.announced import Announced, Known, Outlook, Source
from wetread.jobs.completion import Completion
from wetread.jobs.instances import Arrival
from wetread.jobs.lanes import deadlines_s
from wetread.settings import Settings
from wetread.wire.dimse import Notice, Status
from wetread.wire.glance import Tag, series_of

log = logging.getLogger("wetread.jobs")

#: No study is held for more than this share of its lane's deadline.
SHARE = 0.5


class Expecting:
    """What is expected of the studies that still take objects.

    Parameters
    ----------
    announced
        Keeps it.
    completion
        Is told.
    settings
        `expect_s` and the deadlines by lane are used.
    """

    def __init__(self, announced: Announced, completion: Completion, settings: Settings) -> None:
        self._announced = announced
        self._completion = completion
        self._expect_s = settings.expect_s
        self._deadlines = deadlines_s(settings)
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}  # of studies that take objects now

    def told(self, study_uid: str, seen: Mapping[int, str]) -> None:
        """Keep the numbers that an object carries, of which `seen` holds attributes by tag; the largest counts."""
        series_uid = series_of(seen)
        said = {"": _number(seen, Tag.STUDY_INSTANCES), series_uid: _number(seen, Tag.SERIES_INSTANCES)}
        if not series_uid:
            said = {"": _number(seen, Tag.STUDY_INSTANCES)}
        for one, number in said.items():
            try:
                self._told(study_uid, one, number)
            except StoreError as error:  # without it the study is complete as others are
                log.warning("announcement not kept", extra={"reason": str(error)})

    def _told(self, study_uid: str, series_uid: str, number: int) -> None:
        if not number:
            return
        key = (series_uid, Source.HEADER)
        with self._lock:
            known = self._of(study_uid)
            if number <= known.numbers.get(key, 0):
                return
            self._announced.number(study_uid, series_uid, Source.HEADER, number)
            known.numbers[key] = number

    def hear(self, notice: Notice) -> Status:
        """Keep a notice, and hold it against what is here; return the status of its answer.

        Raises
        ------
        StoreError
            It is not kept.
        """
        status = self._announced.hear(notice)
        if status is Status.SUCCESS:
            try:
                if study_uid := self._announced.study_of(notice):
                    self.look(study_uid)
            except StoreError as error:  # it is kept: the release or the timer comes upon it
                log.warning("announcements not read", extra={"reason": str(error)})
        return status

    def arrived(self, arrival: Arrival) -> None:
        """One more object of a study is durable."""
        try:
            with self._lock:
                known = self._of(arrival.study_uid)
                known.add(arrival.sop_instance_uid, arrival.series_uid, arrival.lane)
                outlook, hold_s = known.outlook, self._hold_s(known)
        except StoreError as error:
            log.warning("announcements not read", extra={"reason": str(error)})
            return
        self._act(arrival.study_uid, outlook, hold_s)

    def look(self, study_uid: str) -> Outlook:
        """Hold what the index knows of a study against each other, as others may have written there.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        with self._lock:  # what arrives meanwhile is added after
            known = self._announced.known(study_uid)
            if study_uid in self._known:
                self._known[study_uid] = known
        self._act(study_uid, known.outlook, self._hold_s(known))
        return known.outlook

    def lacking(self, study_uid: str) -> dict[str, object]:
        """Return how many objects of a study were announced and how many came, or {} if nothing lacks.

        With them stands how many of its steps are in progress, if there are any.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        known = self._announced.known(study_uid)
        if known.outlook is not Outlook.MORE:
            return {}
        steps = {"steps_in_progress": known.steps} if known.steps else {}
        return {"expected": known.expected, "arrived": len(known.have), **steps}

    def forget(self, study_uid: str) -> None:
        """A study is complete: what was announced stays in the index alone."""
        with self._lock:
            self._known.pop(study_uid, None)

    def _of(self, study_uid: str) -> Known:
        if study_uid not in self._known:
            self._known[study_uid] = self._announced.known(study_uid)
        return self._known[study_uid]

    def _hold_s(self, known: Known) -> float:
        return min(self._expect_s, SHARE * self._deadlines[known.lane])

    def _act(self, study_uid: str, outlook: Outlook, hold_s: float) -> None:
        if outlook is Outlook.WHOLE:
            self._completion.fulfil(study_uid)
        else:
            self._completion.expect(study_uid, hold_s if outlook is Outlook.MORE else 0.0)


def _number(seen: Mapping[int, str], tag: Tag) -> int:
    """The number at a tag (VR IS, PS3.5 Section 6.2); 0 for none, or for what is no number of objects."""
    text = seen.get(tag, "").strip().removeprefix("+")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
