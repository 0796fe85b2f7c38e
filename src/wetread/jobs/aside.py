"""Answers for the studies that were given up: one coded refusal a film or series, CRASHED, from headers alone.

Such a study is FAILED already and its alarm has sounded; here the PACS is told too, as silence never
means normal.  What crashed the reading may crash this as well: an error costs one instance its header,
and after as many dead processes as a reading may cost, no header of the study is looked at any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from wetread.jobs.addressing import addressed, images
from wetread.jobs.moves import Job
from wetread.jobs.retry import Backoff, RetryClock
from wetread.jobs.spool import file_name
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Reader, circumstances, describe, passing
from wetread.records import Circumstances, Reading
from wetread.settings import Settings
from wetread.trace import following, step

log = logging.getLogger("wetread.jobs")


class Aside:
    """Takes one given-up job at a time, when nothing waits to be read.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        reader: Reader,
        settings: Settings,
        watch: Watch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._reader = reader
        self._max_tries = settings.max_tries
        self._settings = settings
        self._watch = watch
        self._clock = clock
        self._retry = RetryClock(Backoff(settings.retry_first_s, settings.retry_most_s))
        self._begun: dict[int, int] = {}  # job -> processes that began it, this one too

    def step(self) -> bool:
        """Answer for one job; return whether there was one.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        job = self._store.studies.given_up(self._retry.waiting(self._clock()))
        if job is None or not self._store.leases.acquire("aside"):
            return False
        if job.id not in self._begun:  # once a process: a full disk is no reason to give up headers
            self._begun[job.id] = self._store.studies.begin_aside(job.id)
        with following(job.trace_id):
            self._try(job)
        return True

    def next(self) -> float | None:
        """Return how long until a job may be tried again, s, or None if none waits for that."""
        return self._retry.next(self._clock())

    def _try(self, job: Job) -> None:
        try:
            with step("set-aside", self._watch.span, job=job.id):
                self._answer(job)
        except Exception as error:  # noqa: BLE001 - the worker's door: the next job must be answered for
            log.error("job not set aside", extra={"job": job.id, "reason": describe(error)})
            self._retry.failed(job.id, self._clock())

    def _answer(self, job: Job) -> None:
        given = circumstances(self._store, self._settings, job)
        readings = self._refused(job, self._store.studies.digests(job.id), given)
        for _ in (reading for reading in readings if reading.result.header is None):
            log.warning("refused without its header", extra={"job": job.id})
        made = addressed(readings, self._settings)
        self._store.studies.answer(job.id, made, images(self._store, self._settings, job.id))
        self._retry.succeeded(job.id)
        del self._begun[job.id]
        self._watch.set_aside(readings)
        log.info("job set aside", extra={"job": job.id, "documents": len(made), "refusal": "CRASHED"})

    def _refused(self, job: Job, digests: Sequence[str], given: Circumstances) -> tuple[Reading, ...]:
        """Refuse instances by their headers; where that fails by halves, until one is left without its header."""
        detail = f"Read in vain {job.tries} times; the last time: {job.reason}."
        if self._begun[job.id] > self._max_tries:
            return self._reader.set_aside(job.study_uid, [(file_name(one), one, b"") for one in digests], detail, given)
        try:
            return self._reader.set_aside(job.study_uid, self._files(digests), detail, given)
        except Exception as error:  # the other instances must be answered for
            if passing(error, self._retry.failing_s(job.id, self._clock())):
                raise
            if len(digests) > 1:
                half = len(digests) // 2
                return (*self._refused(job, digests[:half], given), *self._refused(job, digests[half:], given))
            log.error("header left out", extra={"job": job.id, "reason": describe(error)})
            return self._reader.set_aside(job.study_uid, [(file_name(one), one, b"") for one in digests], detail, given)

    def _files(self, digests: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
        """Give name, digest and bytes of each instance; no two are held at a time."""
        for digest in digests:
            yield file_name(digest), digest, self._store.spool.get(digest)
