"""Reads complete studies, one after the other; a study that cannot be read blocks no other."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from wetread.errors import NotRead, StoreError, WetreadError
from wetread.jobs.moves import Job
from wetread.jobs.retry import Backoff, RetryClock
from wetread.jobs.states import TERMINAL, State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.records import Document, Reading
from wetread.settings import Destination, Settings

log = logging.getLogger("wetread.jobs")


class Reader(Protocol):
    """What reads studies and answers for those that it cannot read: `wetread.pipeline.Reader`."""

    def read_blobs(self, blobs: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        """Read the objects of one study, given as (name, DICOM file)."""

    def set_aside(self, study_uid: str, files: Iterable[tuple[str, str, bytes]], detail: str) -> tuple[Reading, ...]:
        """Refuse the objects of one study, given as (name, SHA-256, file), whose reading crashed."""


def destination_name(destination: Destination) -> str:
    """Return the name under which the outbox knows a destination."""
    return f"{destination.ae_title}@{destination.host}:{destination.port}"


def destination_kinds(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the name of each destination with the kinds of documents that it gets."""
    return {destination_name(one): one.documents for one in settings.destinations}


class Worker:
    """Takes one complete job at a time through the reader.

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
        self._destinations = destination_kinds(settings)
        self._watch = watch
        self._clock = clock
        self._retry = RetryClock(Backoff(settings.retry_first_s, settings.retry_most_s))
        self._unrecorded: tuple[int, Callable[[], None]] | None = None  # what the store could not take down

    def step(self) -> bool:
        """Read one job; return whether there was one.

        Raises
        ------
        StoreError
            The index cannot be written now; the next step makes up for it.
        """
        if self._unrecorded is not None:
            self._record(*self._unrecorded)
        job = self._store.studies.take(self._retry.waiting(self._clock()))
        if job is None:
            return False
        try:
            made, refusal = self._read(job)
        except Exception as error:  # noqa: BLE001 - the worker's door: the next study must be read
            self._record(job.id, partial(self._crashed, job, describe(error)))
            return True
        try:
            state = self._store.studies.finish(job.id, made, self._destinations, refusal)
        except (StoreError, OSError) as error:  # not the study's fault: it does not count as a try
            log.error("documents not stored", extra={"job": job.id, "reason": describe(error)})
            self._retry.failed(job.id, self._clock())
            self._record(job.id, partial(self._store.studies.put_back, job.id))
            return True
        self._retry.succeeded(job.id)
        log.info("job read", extra={"job": job.id, "state": state, "documents": len(made), "refusal": refusal})
        if state in TERMINAL:
            self._watch.ended(state)
        return True

    def next(self) -> float | None:
        """Return how long until a job may be tried again, s, or None if none waits for that."""
        return self._retry.next(self._clock())

    def _read(self, job: Job) -> tuple[list[Document], str]:
        """Return the documents of a job, and the refusal code if nothing of it was read."""
        files = self._store.files(job.id)
        begin = time.perf_counter()
        try:
            readings = self._reader.read_blobs(files)
        except NotRead as refusal:
            return [], refusal.code
        self._watch.read(readings, time.perf_counter() - begin)
        refusals = [reading.result.refusal for reading in readings]
        codes = [refusal.code for refusal in refusals if refusal is not None]
        made = [document for reading in readings for document in reading.documents]
        if len(codes) < len(refusals):
            return made, ""
        return made, codes[0] if codes else "NOT-AN-IMAGE"

    def _record(self, job: int, what: Callable[[], None]) -> None:
        self._unrecorded = (job, what)
        if self._store.studies.reads(job):  # else an earlier try got through after all, or another process has it
            what()
        self._unrecorded = None

    def _crashed(self, job: Job, reason: str) -> None:
        state = self._store.studies.fail(job, reason, self._max_tries)
        self._watch.crashed()
        log.error("reading crashed", extra={"job": job.id, "tries": job.tries, "state": state, "reason": reason})
        if state is State.FAILED:
            self._retry.succeeded(job.id)
            self._watch.ended(state)
        else:
            self._retry.failed(job.id, self._clock())


def describe(error: Exception) -> str:
    """Say what went wrong without repeating data: foreign messages may hold a patient's name."""
    if isinstance(error, WetreadError):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
