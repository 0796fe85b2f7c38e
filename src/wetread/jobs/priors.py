"""Looks in archives for priors of what arrives, where a rule asks for them: our report about one, else its images.

The report is kept with the new study.  Where there is none, the images of the prior are pulled and read in the lane
PRIOR: when nothing else waits, and for this comparison only, so that what is made of them is sent nowhere.  No study
is read again for the sake of a prior, none waits longer for one than its rule allows, and a prior has none itself.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wetread.errors import StoreError
from wetread.jobs.instances import Arrival
from wetread.jobs.lanes import Lane
from wetread.jobs.loop import Loop
from wetread.jobs.overview import WAITING
from wetread.jobs.panel import Panel
from wetread.jobs.pulling import Key, Pulling, Wanted
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.routes import Facts, decide
from wetread.settings import Settings
from wetread.wire.dimse import Received

REMEMBERED = 10_000  # series of studies that were looked for
LOOK_S = 0.2  # between two looks whether a study need not wait any more
MOST_TRIES = 5  # before a study is given up for which no archive answers


class Priors:
    """The search of one node, one study after the other.

    Parameters
    ----------
    store
        What is here already, and where reports are kept.
    way
        What takes one object as from the archive, asks `comes` for its lane and returns its C-STORE status; what is
        told a prior of which all that is wanted has been brought, and by which association; and what is told a study
        that was held.
    settings
        `archives`, `routes`, `ae_title`, `idle_timeout_s`, `max_object_bytes` and `retry_*` are used.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        way: tuple[Callable[[Received], int], Callable[[str, int], None], Callable[[str], None]],
        settings: Settings,
        watch: Watch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self.bring, self._brought, self._released = way
        self._settings = settings
        self._archives = Panel("archive", settings.archives, settings, watch, clock)
        self._pulling = Pulling(store, settings, self)
        self.wanted = bool(settings.archives) and any(rule.priors for rule in settings.routes)
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Key, Wanted] = OrderedDict()
        self._asked: OrderedDict[Key, None] = OrderedDict()
        self._clock = clock
        self._until: dict[str, float] = {}  # studies that may be held: how long, monotonic seconds
        self._held: set[str] = set()  # those that are complete but for their priors
        self._unread: dict[str, set[str]] = {}  # study -> priors that were pulled for it and are not read yet
        self._coming = ""  # Study Instance UID of the prior that is being pulled
        self.loop = Loop("wetread-priors", self.step)
        self.holding = Loop("wetread-priors-holding", self.release)

    def arrived(self, arrival: Arrival, facts: Facts) -> None:
        """An object of a study is here: look for its priors, once for each modality and body part, if a rule says so.

        The first object decides by which rule.
        """
        if not self.wanted:
            return
        key = (arrival.study_uid, facts.modality, facts.body_part.upper())
        if arrival.lane is Lane.STAT:
            self.hurry(arrival.study_uid)
        with self._lock:
            if key in self._asked:
                return
            self._asked[key] = None
            decision = decide(self._settings.routes, facts)
            if decision.priors:
                self._waiting[key] = Wanted(arrival.digest, decision.priors, decision.priors_days)
                if decision.priors_wait_s and arrival.lane is not Lane.STAT:
                    self._until.setdefault(arrival.study_uid, self._clock() + decision.priors_wait_s)
            for some in (self._asked, self._waiting):
                if len(some) > REMEMBERED:
                    some.popitem(last=False)
        self.loop.wake()

    def comes(self, study_uid: str) -> bool:
        """Whether a study is just being pulled as a prior: it is not complete before all that is wanted is here."""
        return study_uid == self._coming

    def pulls(self, study_uid: str, prior: str) -> None:
        """A prior of a study is about to be pulled: it pends until it is read."""
        with self._lock:
            self._unread.setdefault(study_uid, set()).add(prior)

    @contextmanager
    def coming(self, prior: str, association: int) -> Iterator[None]:
        """While the block runs, the objects of a prior come; afterwards it is complete."""
        self._coming = prior
        try:
            yield
        finally:
            self._coming = ""
            self._brought(prior, association)

    def holds(self, study_uid: str) -> bool:
        """Whether a study that would be complete now waits for its priors; then it is told when that is over."""
        if study_uid not in self._until:
            return False
        with self._lock:
            if not self._pends(study_uid):
                self._until.pop(study_uid, None)
                self._unread.pop(study_uid, None)
                return False
            self._held.add(study_uid)
        self.holding.wake()
        return True

    def hurry(self, study_uid: str) -> None:
        """A study is urgent now: it waits no longer."""
        if study_uid in self._until:
            with self._lock:
                self._until[study_uid] = 0.0
            self.holding.wake()

    def release(self) -> float | None:
        """Let those studies go on that have their priors or have waited long enough; return when to look again, s."""
        with self._lock:
            done = [study_uid for study_uid in self._held if not self._pends(study_uid)]
            for study_uid in done:
                self._held.discard(study_uid)
                self._until.pop(study_uid, None)
                self._unread.pop(study_uid, None)
            left = bool(self._held)
        for study_uid in done:
            self._released(study_uid)
        return LOOK_S if left else None

    def _pends(self, study_uid: str) -> bool:
        """Whether there is something to wait for, and time."""
        if self._clock() >= self._until.get(study_uid, 0.0):
            self._unread.pop(study_uid, None)
            return False
        priors = self._unread.get(study_uid, set())
        for prior in list(priors):
            try:
                versions = self._store.overview.versions(prior)
            except StoreError:  # look again
                return True
            if not versions or versions[-1].state not in WAITING:
                priors.discard(prior)
        return bool(priors) or any(key[0] == study_uid for key in self._waiting)

    def step(self) -> float | None:
        """Look for the priors of the study that waits longest; return how long until the next, s.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        with self._lock:
            found = next(iter(self._waiting.items()), None)
        if found is None:
            return None
        if wait_s := self._archives.wait_s():
            return wait_s
        key, wanted = found
        wanted.tries += 1
        answer = None
        if wanted.tries <= MOST_TRIES:
            answer = self._archives.ask(lambda archive: self._pulling(archive, key, wanted))
        with self._lock:
            if not self._until.get(key[0]):
                self._unread.pop(key[0], None)
            if answer is None and wanted.tries <= MOST_TRIES:  # nobody answered
                self._waiting.move_to_end(key)
            else:
                self._waiting.pop(key, None)
        self.holding.wake()
        return 0.0
