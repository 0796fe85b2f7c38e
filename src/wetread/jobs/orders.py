"""Asks worklists how urgent the order of a study is: the answer may put the study into a faster lane, never a slower.

No study waits for an answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from wetread.jobs.lanes import Lane, requested
from wetread.jobs.loop import Loop
from wetread.jobs.panel import Panel
from wetread.jobs.studies import Studies
from wetread.jobs.watch import Watch
from wetread.settings import Destination, Settings
from wetread.wire.worklist import priorities

log = logging.getLogger("wetread.jobs")

REMEMBERED = 10_000  # studies that were asked for, or wait for it

#: Tells the priorities of a study's orders, by its accession number and Study Instance UID.
Ask = Callable[[Destination, str, str], Iterable[str]]


class Orders:
    """The questions of one node to its worklists, one after the other.

    Parameters
    ----------
    studies
        Where the lanes are.
    hastened
        Told a study whose lane became faster; called from this object's thread.
    settings
        `worklists`, `ae_title`, `peer_timeout_s` and `retry_*` are used.
    ask
        How a worklist is asked; C-FIND by default.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        studies: Studies,
        hastened: Callable[[str], None],
        settings: Settings,
        watch: Watch,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._studies = studies
        self._hastened = hastened
        self._settings = settings
        self._ask = ask or self._find
        self._worklists = Panel("worklist", settings.worklists, settings, watch, clock)
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, str] = OrderedDict()  # study -> its accession number
        self._asked: OrderedDict[str, None] = OrderedDict()
        self.loop = Loop("wetread-orders", self.step)

    def arrived(self, study_uid: str, accession: str, lane: Lane) -> None:
        """An object of a study is here: ask for its order, once, if there is anything that it may change."""
        if not self._worklists or lane is Lane.STAT:
            return
        with self._lock:
            if study_uid in self._asked:
                return
            self._asked[study_uid] = None
            self._waiting[study_uid] = accession
            for some in (self._asked, self._waiting):
                if len(some) > REMEMBERED:
                    some.popitem(last=False)
        self.loop.wake()

    def step(self) -> float | None:
        """Ask for the study that came last: earlier ones may have been read; return how long until the next, s.

        Raises
        ------
        StoreError
            The lane cannot be written now.
        """
        with self._lock:
            found = next(reversed(self._waiting.items()), None)
        if found is None:
            return None
        wait_s = self._worklists.wait_s()
        if wait_s:
            return wait_s
        study_uid, accession = found
        terms = self._worklists.ask(lambda worklist: list(self._ask(worklist, accession, study_uid)))
        if terms is None:  # nobody answered
            with self._lock:
                self._waiting.move_to_end(study_uid, last=False)
            return 0.0
        lane = requested(terms) if terms else Lane.ROUTINE
        if lane < Lane.ROUTINE and self._studies.hasten(study_uid, lane):
            log.info("order is urgent", extra={"lane": lane.name})
            self._hastened(study_uid)
        with self._lock:
            self._waiting.pop(study_uid, None)
        return 0.0

    def _find(self, worklist: Destination, accession: str, study_uid: str) -> Iterable[str]:
        return priorities(worklist, accession, study_uid, self._settings.ae_title, self._settings.peer_timeout_s)
