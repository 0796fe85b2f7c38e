"""Asks archives how many objects a study has, where nobody said: before it is read, and never for long.

An answer is one more announcement.  No answer is none: the study is complete as if nobody had been asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from wetread.errors import StoreError
from wetread.jobs.announced import Announced, Outlook, Source
from wetread.jobs.loop import Loop
from wetread.jobs.panel import Panel
from wetread.jobs.watch import Watch
from wetread.settings import Destination, Settings
from wetread.wire.archive import number_of_instances

log = logging.getLogger("wetread.jobs")

ASK_S = 5.0  # for each answer of an archive
MOST_WAITING = 16  # studies; beyond, none waits for an answer

#: Tells how many instances an archive has of a study; None: it does not know.
Ask = Callable[[Destination, str], int | None]


class Asking:
    """The questions of one node, one after the other.

    Parameters
    ----------
    announced
        Keeps the answers.
    answered
        Told the study when everybody was asked; called from this object's thread.
    settings
        `archives`, `ae_title`, `peer_timeout_s` and `retry_*` are used.
    ask
        How an archive is asked; by default C-FIND, or QIDO-RS where it has a URL.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        announced: Announced,
        answered: Callable[[str], None],
        settings: Settings,
        watch: Watch,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._announced = announced
        self._answered = answered
        self._settings = settings
        self._ask = ask or self._find
        self._archives = Panel("archive", settings.archives, settings, watch, clock)
        self._lock = threading.Lock()
        self._waiting: deque[str] = deque()
        self._asked: dict[str, int] = {}  # study -> objects that were here when it was asked for
        self.loop = Loop("wetread-asking", self.step)

    def asks(self, study_uid: str) -> bool:
        """Whether a study that would be complete now has to wait for an answer; then `answered` is called.

        It has not if somebody announced what it holds, it was asked for, or nobody may be asked just now.
        """
        if not self._archives:
            return False
        try:
            known = self._announced.known(study_uid)
        except StoreError as error:
            log.warning("announcements not read", extra={"reason": str(error)})
            return False
        with self._lock:
            if study_uid in self._waiting:
                return True
            before = self._asked.pop(study_uid, 0)
            unknown = known.have and known.outlook is Outlook.UNKNOWN
            if not unknown or before == len(known.have) or len(self._waiting) >= MOST_WAITING:
                return False
            if self._archives.wait_s():
                return False
            self._asked[study_uid] = len(known.have)
            self._waiting.append(study_uid)
        self.loop.wake()
        return True

    def step(self) -> float | None:
        """Ask for the study that waits longest; return 0 if there was one, else None."""
        with self._lock:
            study_uid = self._waiting[0] if self._waiting else None
        if study_uid is None:
            return None
        try:
            number = self._archives.ask(lambda archive: self._ask(archive, study_uid))
            if number:
                self._announced.number(study_uid, "", Source.QUERY, number)
        finally:  # whatever happened, it does not wait any longer
            with self._lock:
                self._waiting.popleft()
            self._answered(study_uid)
        return 0.0

    def _find(self, archive: Destination, study_uid: str) -> int | None:
        timeout_s = min(self._settings.peer_timeout_s, ASK_S)
        return number_of_instances(archive, study_uid, self._settings.ae_title, timeout_s)
