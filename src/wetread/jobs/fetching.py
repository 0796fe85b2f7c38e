"""Fetches studies that somebody wants read and that are not here.

An archive sends them to this node by C-MOVE; of a DICOMweb server they are fetched (WADO-RS), and kept as if it had.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from wetread.errors import PeerRefused, WetreadError
from wetread.jobs.loop import Loop
from wetread.jobs.retry import Backoff
from wetread.settings import Destination, Settings
from wetread.wire.archive import fetch, number_of_instances, series_of
from wetread.wire.command import STORED
from wetread.wire.dimse import Received
from wetread.wire.retrieve import Archive, Fetched, move
from wetread.wire.stow import received

log = logging.getLogger("wetread.jobs")

#: Of what stands for an association; those of STOW-RS are negative, too, and begin at -1.
FIRST = -(10**9)
#: Tells how many instances an archive has of a study; None: it has none, or does not say.
Count = Callable[[Destination, str], int | None]
#: Lets an archive send a study to us, and tells how far it is.
Move = Callable[[Destination, str, Callable[[Fetched], None]], Fetched]


@dataclass(slots=True)
class Fetch:
    """How far one study is."""

    study_uid: str
    titles: frozenset[str]  # AE titles of the archives that should have it; none: any
    told: str = "Asking archives for the study"
    came: int = 0  # objects, as the archive says
    ended_at: float | None = None  # by the clock
    failure: str = ""  # why none came, for people
    tries: int = 0
    due: float = 0.0  # not before, by the clock


class Fetching:
    """The studies that one node fetches, one after the other.

    Parameters
    ----------
    settings
        `archives`, `ae_title`, `peer_timeout_s`, `idle_timeout_s`, `max_object_bytes` and `retry_*` are used.
    receive
        Keeps an object, and returns its C-STORE status.
    ended
        Told the number of an association, under which objects were kept, when it is over.
    count, move_study
        How archives are asked; by the protocol of their address by default.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        receive: Callable[[Received], int],
        ended: Callable[[int, bool], None],
        count: Count | None = None,
        move_study: Move | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._receive = receive
        self._ended = ended
        self._numbers = itertools.count(FIRST, -1)
        self._count = count or self._find
        self._move = move_study or self._retrieve
        self._clock = clock
        self._backoff = Backoff(settings.retry_first_s, settings.retry_most_s)
        self._lock = threading.Lock()
        self._wanted: dict[str, Fetch] = {}
        self.loop = Loop("wetread-fetching", self.step)

    def want(self, study_uid: str, titles: Collection[str] = ()) -> Fetch:
        """Return how far a study is that is wanted, from now on if it was not before."""
        with self._lock:
            if study_uid not in self._wanted:
                self._wanted[study_uid] = Fetch(study_uid, frozenset(titles))
                self.loop.wake()
            return self._wanted[study_uid]

    def forget(self, study_uid: str) -> None:
        """It is wanted no more."""
        with self._lock:
            self._wanted.pop(study_uid, None)

    def step(self) -> float | None:
        """Fetch what waits longest; return how long until the next try, s, or None if nothing waits."""
        now = self._clock()
        with self._lock:
            waiting = [one for one in self._wanted.values() if one.ended_at is None]
        due = next((one for one in waiting if one.due <= now), None)
        if due is None:
            return min((one.due - now for one in waiting), default=None)
        self._fetch(due)
        return 0.0

    def _fetch(self, fetch: Fetch) -> None:
        archives = [one for one in self._settings.archives if one.ae_title in fetch.titles]
        failure, away = "No archive has the study", False
        for archive in archives or self._settings.archives:
            try:
                number = self._count(archive, fetch.study_uid)
                if number:
                    self._moved(fetch, self._move(archive, fetch.study_uid, _telling(fetch, number)))
                    return
            except PeerRefused as error:
                failure = str(error)
                log.warning("study not fetched", extra={"destination": archive.names[0], "reason": failure})
            except WetreadError as error:
                away = True
                log.warning("archive not asked", extra={"destination": archive.names[0], "reason": str(error)})
        if away:  # it may have the study: nobody has to come for that
            fetch.tries += 1
            fetch.due = self._clock() + self._backoff.wait_s(fetch.tries)
            fetch.told = "Waiting for an archive that does not answer"
            return
        fetch.failure = failure if self._settings.archives else "The study is not here, and no archive is set"
        fetch.ended_at = self._clock()

    def _moved(self, fetch: Fetch, fetched: Fetched) -> None:
        fetch.came = fetched.completed + fetched.warning
        log.info("study fetched", extra={"count": fetch.came, "failed": fetched.failed})
        fetch.failure = "" if fetch.came else "The archive sent nothing of the study"
        fetch.told = "Receiving the study"
        fetch.ended_at = self._clock()

    def _find(self, archive: Destination, study_uid: str) -> int | None:
        return number_of_instances(archive, study_uid, self._settings.ae_title, self._settings.peer_timeout_s)

    def _retrieve(self, archive: Destination, study_uid: str, on_progress: Callable[[Fetched], None]) -> Fetched:
        settings = self._settings
        asked = Archive(archive, settings.ae_title, settings.idle_timeout_s, settings.max_object_bytes)
        if archive.url:
            return self._by_web(asked, study_uid, on_progress)
        keys: Mapping[str, str] = {"StudyInstanceUID": study_uid}
        return move(asked, keys, settings.ae_title, on_progress)

    def _by_web(self, archive: Archive, study_uid: str, on_progress: Callable[[Fetched], None]) -> Fetched:
        number, done = next(self._numbers), Fetched()

        def keep(_sop_instance_uid: str, data: bytes) -> None:
            status = self._receive(received(data, self._settings.ae_title, number))
            if status not in STORED:
                raise OSError(f"not kept: 0x{status:04X}")  # counts as failed

        whole = False
        try:
            for series in series_of(archive, study_uid):
                got = fetch(archive, study_uid, series, (), keep)
                done = Fetched(0, done.completed + got.completed + got.warning, done.failed + got.failed)
                on_progress(done)
            whole = True
        finally:
            self._ended(number, whole)
        return done


def _telling(fetch: Fetch, number: int) -> Callable[[Fetched], None]:
    fetch.told = f"Retrieving the study: {number} objects"

    def tell(fetched: Fetched) -> None:
        fetch.told = f"Retrieving the study: {fetched.completed + fetched.warning} of {number} objects"

    return tell
