"""Reads complete studies, one after the other; a study that cannot be read blocks no other."""

from __future__ import annotations

import errno
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from wetread.errors import DecoderDied, DocumentError, NotRead, StoreError, WetreadError
from wetread.jobs.addressing import addressed, images
from wetread.jobs.lanes import LINGER_S, Lane, deadlines_s
from wetread.jobs.moves import Job
from wetread.jobs.parcels import Addressed, Images
from wetread.jobs.retry import Backoff, RetryClock
from wetread.jobs.spool import DamagedBlob
from wetread.jobs.states import TERMINAL, State
from wetread.jobs.store import Store
from wetread.jobs.strain import Strain
from wetread.jobs.watch import Watch
from wetread.jobs.withholding import WITHHELD
from wetread.memory import HUGE, LARGE, give_back
from wetread.records import USUAL, Alarm, Circumstances, Reading, Stored
from wetread.settings import Settings
from wetread.trace import About, Span, following, step
from wetread.turns import Turns

log = logging.getLogger("wetread.jobs")

#: So long a study waits for a store or a system that gives nothing; then that counts as a try, s.
PATIENCE_S = 3600.0
#: The next study has the memory of a large one, if it comes so soon, s.
TIDY_S = 5.0
#: What Python says where the system, or its limits, allow no further thread.
NO_THREAD = "can't start new thread"


class Reader(Protocol):
    """What reads studies and answers for those that it cannot read: `wetread.pipeline.Reader`."""

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        """Read the objects of one study, given as (name, DICOM file)."""

    def set_aside(
        self,
        study_uid: str,
        files: Iterable[tuple[str, str, bytes]],
        detail: str,
        given: Circumstances = USUAL,
    ) -> tuple[Reading, ...]:
        """Refuse the objects of one study, given as (name, SHA-256, file), whose reading crashed."""


def circumstances(store: Store, settings: Settings, job: Job) -> Circumstances:
    """Return under which circumstances a job is read."""
    senders = store.studies.senders(job.id) if settings.routes else {}
    return Circumstances(
        store.earlier(job),
        store.studies.lost(job),
        routes=settings.routes,
        senders=senders,
        order=store.withholding.match(job.id).order,
        priors=store.priors(job) if any(rule.priors for rule in settings.routes) else (),
    )


@dataclass(frozen=True, slots=True)
class Made:
    """What a reading made, before it is stored."""

    documents: list[Addressed]
    refusal: str = ""  # its code, if nothing was read
    critical: bool = False
    alarms: tuple[Alarm, ...] = ()
    images: Images = field(default_factory=dict)


class Worker:
    """Takes one complete job at a time through the reader.

    Parameters
    ----------
    clock
        Monotonic seconds.
    turns
        Lets a STAT study go before what others read.
    retry
        When to try again; workers of one store share it.
    slowest
        Less urgent lanes than this are left to others.
    desks
        Its own, then those of the workers beside it: whoever reads sits at its own.  A study whose reading failed
        before needs all of them, so that nothing else is cut off with it if it ends the process.
    strain
        What is left out now; nothing where it is None.
    """

    def __init__(
        self,
        store: Store,
        reader: Reader,
        settings: Settings,
        watch: Watch,
        clock: Callable[[], float] = time.monotonic,
        turns: Turns | None = None,
        retry: RetryClock | None = None,
        slowest: Lane = Lane.PRIOR,
        desks: Sequence[threading.Lock] = (),
        strain: Strain | None = None,
    ) -> None:
        self._store = store
        self._reader = reader
        self._turns = turns or Turns()
        self._slowest = slowest
        self._strain = strain
        self._mine, *self._beside = desks or (threading.Lock(),)
        self._deadlines = deadlines_s(settings)
        self._max_tries = settings.max_tries
        self._settings = settings
        self._watch = watch
        self._clock = clock
        self._retry = retry or RetryClock(Backoff(settings.retry_first_s, settings.retry_most_s))
        self._bytes = 0  # of the objects of the largest study whose memory was not given back
        self._read_at = 0.0  # when the last one was read
        self._unrecorded: tuple[Job, Callable[[], None]] | None = None  # what the store could not take down

    def step(self) -> bool:
        """Read one job; return whether there was one.

        Raises
        ------
        StoreError
            The index cannot be written now; the next step makes up for it.
        """
        if self._unrecorded is not None:
            self._record(*self._unrecorded)
        with self._mine, ExitStack() as beside:
            alone = _all_free(self._beside, beside)
            waiting, last = self._retry.waiting(self._clock()), "routine" in self._steps()
            asked = (waiting, self._slowest, not alone, last)
            due = self._store.studies.due(*asked)
            if due is None:
                self._tidy()
                return False
            with ExitStack() as hurry:
                hurry.enter_context(self._turn(due))
                job = self._store.studies.take(*asked)
                if job is None:
                    return False
                if job.id != due.id:  # another worker was faster, or a more urgent study was complete just now
                    hurry.close()
                    hurry.enter_context(self._turn(job))
                if job.tries == 1:
                    beside.close()
                with following(job.trace_id):
                    self._waited(job)
                    self._take_through(job)
            self._read_at = self._clock()
            self._tidy()
            return True

    def _tidy(self) -> None:
        """Give back what large studies left, once no study follows; nothing of them is referred to any more."""
        if self._bytes >= HUGE or (self._bytes >= LARGE and self._clock() - self._read_at >= TIDY_S):
            self._bytes = 0
            give_back()

    def _turn(self, job: Job) -> AbstractContextManager[None]:
        """A STAT study goes before the others, until what was made is with its outboxes."""
        if job.lane is not Lane.STAT:
            return nullcontext()
        return self._turns.first(job.study_uid, linger_s=LINGER_S if self._settings.destinations else 0.0)

    def _take_through(self, job: Job) -> None:
        """Read one job and store what was made."""
        try:
            made = self._read(job)
            self._turns.pause()
            made = replace(made, images=images(self._store, self._settings, job.id))
        except Exception as error:  # noqa: BLE001 - the worker's door: the next study must be read
            self._not_read(job, error)
            return
        try:
            told = (made.refusal, made.critical, made.alarms, made.images)
            state = self._store.studies.finish(job.id, made.documents, *told)
        except (StoreError, OSError) as error:
            self._put_back(job, "documents not stored", error)
            return
        except Exception as error:  # noqa: BLE001 - as above: else it would be READING until the node ends
            self._not_read(job, error)
            return
        self._retry.succeeded(job.id)
        about = {"job": job.id, "state": state, "documents": len(made.documents), "refusal": made.refusal}
        log.info("job read", extra=about)
        if state is State.FAILED:
            log.error(WITHHELD, extra={"job": job.id})
        self._timed(job)
        if state in TERMINAL:
            self._watch.ended(state)

    def _not_read(self, job: Job, error: Exception) -> None:
        """Try again what the study is not to blame for; else that was one of its tries."""
        if passing(error, self._retry.failing_s(job.id, self._clock())):
            self._put_back(job, "study not read", error)
        else:
            self._record(job, partial(self._crashed, job, describe(error)))

    def _put_back(self, job: Job, why: str, error: Exception) -> None:
        """Try again later what is not the study's fault: it does not count as a try."""
        log.error(why, extra={"job": job.id, "reason": describe(error)})
        self._retry.failed(job.id, self._clock())
        self._record(job, partial(self._store.studies.put_back, job.id))

    def _steps(self) -> tuple[str, ...]:
        return self._strain.steps if self._strain is not None else ()

    def next(self) -> float | None:
        """Return how long until a job may be tried again, s, or None if none waits for that."""
        return self._retry.next(self._clock())

    def _waited(self, job: Job) -> None:
        """Tell how long a complete study waited for its turn."""
        now_ns = time.time_ns()
        if job.trace_id:
            begin_ns = min(now_ns, int(job.changed_at * 1e9))
            about: About = {"job": job.id, "lane": job.lane.name}
            self._watch.span(Span("wait", job.trace_id, begin_ns, now_ns, about))

    def _timed(self, job: Job) -> None:
        """Tell how long the study took, and sound when that was too long for its lane."""
        seconds = self._store.overview.age_s(job)
        late = seconds > self._deadlines[job.lane]
        self._watch.answered_for(job.lane, seconds, late)
        if late:
            about = {"job": job.id, "lane": job.lane.name, "seconds": round(seconds, 1)}
            log.warning("deadline missed", extra=about)

    def _read(self, job: Job) -> Made:
        reduced = tuple(step for step in self._steps() if step != "routine")  # which changes no document
        files = self._store.files(job.id)
        given = replace(circumstances(self._store, self._settings, job), reduced=reduced)
        self._bytes = max(self._bytes, sum(file.size for _, file in files))
        begin = time.perf_counter()
        try:
            with step("read", self._watch.span, job=job.id, lane=job.lane.name, tries=job.tries) as reading:
                with self._store.checked(files):
                    readings = self._reader.read_blobs(files, given)
                check_study(job, readings)
                refused = {one.result.refusal.code for one in readings if one.result.refusal is not None}
                reading.about |= {"images": len(readings), "refusals": ",".join(sorted(refused))}
                reading.parts = stages_s(readings)
        except NotRead as refusal:
            return Made([], refusal.code)
        self._watch.read(readings, time.perf_counter() - begin)
        refusals = [reading.result.refusal for reading in readings]
        codes = [refusal.code for refusal in refusals if refusal is not None]
        made = addressed(readings, self._settings)
        if len(codes) < len(refusals):
            return Made(made, "", *self._alarms(job, readings))
        return Made(made, codes[0] if codes else "NOT-AN-IMAGE")

    def _alarms(self, job: Job, readings: Iterable[Reading]) -> tuple[bool, tuple[Alarm, ...]]:
        """Whether anything is critical, and what is told of it."""
        if not self._settings.alerts:
            return False, ()
        from wetread import report  # the documents' libraries load with the models, not with the ports

        settings, lane = self._settings, job.lane.name
        found = [
            (reading.result, *one)
            for reading in readings
            for one in report.critical_findings(reading.result, settings.alerts, lane)
        ]
        return bool(found), tuple(report.alarm(*one, settings) for one in found if one[1].to)

    def _record(self, job: Job, what: Callable[[], None]) -> None:
        self._unrecorded = (job, what)
        with following(job.trace_id):
            if self._store.studies.reads(job.id):  # else an earlier try got through, or another process has it
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


def _all_free(desks: Iterable[threading.Lock], held: ExitStack) -> bool:
    """Take all desks until `held` is left, if nobody sits at one of them; else none."""
    with ExitStack() as taken:
        for desk in desks:
            if not desk.acquire(blocking=False):
                return False
            taken.callback(desk.release)
        held.push(taken.pop_all())
        return True


def passing(error: Exception, failing_s: float) -> bool:
    """Whether a study is not to blame for an error that has lasted so long, s.

    Index or blobs cannot be read now, or the system has no process for a decoder, no thread, or no descriptor.
    """
    starved = isinstance(error, DecoderDied) and error.why == "START"
    starved = starved or (isinstance(error, RuntimeError) and str(error) == NO_THREAD)
    starved = starved or (isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE))
    unread = isinstance(error, StoreError) and not isinstance(error, DamagedBlob)
    return (starved or unread) and failing_s < PATIENCE_S


def check_study(job: Job, readings: Iterable[Reading]) -> None:
    """Believe no reading of another study than the one that was read: a decoder may lie.

    Raises
    ------
    DocumentError
        One is.
    """
    if {reading.result.study_uid for reading in readings} - {job.study_uid, ""}:
        raise DocumentError("reading: expected results of the study that was read, got those of another")


def stages_s(readings: Iterable[Reading]) -> dict[str, float]:
    """Return how long each stage took for all images, s, in the order in which they first ended.

    What was measured once for all images, their decoding, stands in each reading and counts once.
    """
    spent: dict[str, float] = {}
    for timing in dict.fromkeys(timing for reading in readings for timing in reading.timings):
        spent[timing.stage] = spent.get(timing.stage, 0.0) + timing.ms / 1000.0
    return spent


def describe(error: Exception) -> str:
    """Say what went wrong without repeating data: foreign messages may hold a patient's name."""
    if isinstance(error, WetreadError):
        return f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"
