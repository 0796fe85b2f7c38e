"""Asks worklists how urgent the order of a study is: the answer may put the study into a faster lane, never a slower.

No study waits for an answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from wetread.errors import WetreadError
from wetread.jobs.lanes import Lane, requested
from wetread.jobs.loop import Loop
from wetread.jobs.retry import Backoff, Breaker
from wetread.jobs.studies import Studies
from wetread.jobs.watch import Watch
from wetread.jobs.worker import destination_name
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
        self._watch = watch
        self._ask = ask or self._find
        self._clock = clock
        backoff = Backoff(settings.retry_first_s, settings.retry_most_s)
        self._worklists = [(one, Breaker(backoff)) for one in settings.worklists]
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
        now = self._clock()
        waits = [breaker.wait_s(now) for _, breaker in self._worklists]
        if all(waits):
            return min(waits)
        study_uid, accession = found
        lane = self._lane(study_uid, accession)
        if lane is None:
            with self._lock:
                self._waiting.move_to_end(study_uid, last=False)
            return 0.0
        if lane < Lane.ROUTINE and self._studies.hasten(study_uid, lane):
            log.info("order is urgent", extra={"lane": lane.name})
            self._hastened(study_uid)
        with self._lock:
            self._waiting.pop(study_uid, None)
        return 0.0

    def _lane(self, study_uid: str, accession: str) -> Lane | None:
        """The lane by the first worklist that knows the order; None if nobody could be asked."""
        answered = False
        for worklist, breaker in self._worklists:
            if breaker.wait_s(self._clock()):
                continue
            name = destination_name(worklist)
            try:
                terms = list(self._ask(worklist, accession, study_uid))
            except WetreadError as error:
                breaker.failed(self._clock())
                self._watch.asked(name, "failed")
                log.warning("worklist not asked", extra={"destination": name, "reason": str(error)})
                continue
            answered = True
            breaker.succeeded()
            self._watch.asked(name, "told" if terms else "unknown")
            if terms:
                return requested(terms)
        return Lane.ROUTINE if answered else None

    def _find(self, worklist: Destination, accession: str, study_uid: str) -> Iterable[str]:
        return priorities(worklist, accession, study_uid, self._settings.ae_title, self._settings.peer_timeout_s)
