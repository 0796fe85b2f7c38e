"""The durable memory of a node: blobs and index together; every durable step is one method of one part."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from wetread.errors import StoreError
from wetread.jobs import failpoints, opening
from wetread.jobs.alerts import Alerts
from wetread.jobs.announced import Announced
from wetread.jobs.commitments import Commitments
from wetread.jobs.held import Held
from wetread.jobs.index import CorruptIndex, Index
from wetread.jobs.instances import Instances
from wetread.jobs.lanes import Lane, deadlines_s
from wetread.jobs.leases import Leases
from wetread.jobs.locks import Lock
from wetread.jobs.moves import Job
from wetread.jobs.ordered import Ordered
from wetread.jobs.overview import Overview
from wetread.jobs.parcels import Parcels
from wetread.jobs.removals import Removals
from wetread.jobs.requests import Requests
from wetread.jobs.resources import Resources
from wetread.jobs.reviews import Reviews
from wetread.jobs.spool import DamagedBlob, Spool, file_name, make_folder
from wetread.jobs.studies import Studies
from wetread.jobs.subscriptions import Subscriptions
from wetread.jobs.tasks import Tasks
from wetread.jobs.withholding import Withholding
from wetread.jobs.worklist import Worklist
from wetread.records import Stored
from wetread.settings import Settings

log = logging.getLogger("wetread.jobs")

LEASE_S = 60.0
#: Documents that wait in memory for their first delivery, bytes: those of a few films.
REMEMBERS = 1 << 24
DEADLINES_S = deadlines_s(Settings())


class Store:
    """The parts of one store, opened together.

    Attributes
    ----------
    spool, made
        The blobs of what was received, and of what was made of it.
    instances, studies, announced, commitments, requests, parcels, ordered, withholding, removals, leases, overview,
    held, worklist, subscriptions, tasks
        The index, by what it is asked for.
    found
        What was found when it was opened; None where other processes use it too.

    Parameters
    ----------
    state
        The folder of blobs and index.
    now
        Seconds since the epoch.
    failpoint
        See `wetread.jobs.failpoints`.
    url
        Of a PostgreSQL database that several nodes share, as they share `state`; empty: SQLite in `state`.
    lease_s
        After so long without a sign of life others take over what a process had begun, s.
    deadlines
        Seconds from the first object of a study to its result, by lane: what waits is served in their order.

    Raises
    ------
    StoreError
        The folder cannot be used, is in use, or holds an index and a spool that do not match.
    """

    def __init__(
        self,
        state: Path,
        now: Callable[[], float] = time.time,
        failpoint: failpoints.Failpoint = failpoints.none,
        url: str = "",
        lease_s: float = LEASE_S,
        deadlines: Mapping[Lane, float] = DEADLINES_S,
    ) -> None:
        self._deadlines = deadlines
        self.failpoint = failpoint
        try:
            make_folder(state)
            self._lock = Lock(state, shared=bool(url))
        except OSError as error:
            raise StoreError(f"store: {state} cannot be used: {error.strerror}") from error
        try:
            self.spool = Spool(state / "spool", self._reached)
            self.made = Spool(state / "made", self._reached, REMEMBERS)
            self._open(state, url, now, lease_s)
            self._lock.share()
        except OSError as error:
            self.close()
            raise StoreError(f"store: {state} cannot be used: {error.strerror}") from error
        except StoreError:
            self.close()
            raise

    def _open(self, state: Path, url: str, now: Callable[[], float], lease_s: float) -> None:
        try:
            self._connect(state, url, now, lease_s)
        except CorruptIndex:
            self._index.close()
            opening.put_by(state)
            self._connect(state, url, now, lease_s)

    def _connect(self, state: Path, url: str, now: Callable[[], float], lease_s: float) -> None:
        self._index = Index(state, url, now)
        self.leases = Leases(self._index, lease_s)
        self.instances = Instances(self._index, self.spool, self._reached)
        self.ordered = Ordered(self._index, self._reached)
        self.withholding = Withholding(self._index, self.ordered)
        self.studies = Studies(self._index, self.made, self.leases, self._deadlines, self.withholding, self._reached)
        self.announced = Announced(self._index)
        self.commitments = Commitments(self._index)
        self.requests = Requests(self._index, self.spool, self._reached)
        self.removals = Removals(self._index, self.spool, self.made, self._reached)
        self.parcels = Parcels(self._index, self._deadlines, self._reached)
        self.overview = Overview(self._index)
        self.alerts = Alerts(self._index)
        self.held = Held(self._index, self.spool, self.made)
        self.resources = Resources(self._index, self.made)
        self.reviews = Reviews(self._index, self.spool, self.made, self.withholding)
        self.subscriptions = Subscriptions(self._index)
        self.tasks = Tasks(self._index)
        self.worklist = Worklist(self._index, self.subscriptions, self.tasks)
        self.found: opening.Found | None = None
        rebuild = opening.match(self._index, self.spool, self.made, self._lock.alone)
        if self._lock.alone:
            self.leases.void()
            for blobs in (self.spool, self.made):
                blobs.sweep()
            self.found = opening.compare(self._index, self.spool, self.made, self.instances, rebuild)

    def _reached(self, name: str) -> None:
        self.failpoint(name)

    def now(self) -> float:
        """Return the time by the store's clock, seconds since the epoch."""
        return self._index.now()

    @property
    def shared(self) -> bool:
        """Whether other processes may use the store at the same time."""
        return self._index.shared

    def files(self, job: int) -> list[tuple[str, Stored]]:
        """Return the objects of a job as named files, in the order of their SOP Instance UIDs.

        Raises
        ------
        StoreError
            The index or a blob cannot be read now, or a blob is gone.
        """
        return [(file_name(digest), self.spool.stored(digest)) for digest in self.studies.digests(job)]

    @contextmanager
    def checked(self, files: Sequence[tuple[str, Stored]]) -> Iterator[None]:
        """Check blobs in a thread of its own while they are read; what was read of them counts only after that.

        Raises
        ------
        StoreError
            At the end, instead of whatever else went wrong: a blob cannot be read or has changed.
        """
        with ThreadPoolExecutor(1, "wetread-check") as beside:
            sound = beside.submit(self.spool.check, [file.digest for _, file in files])
            try:
                yield
            finally:
                sound.result()

    def earlier(self, job: Job) -> tuple[bytes, ...]:
        """Return the reports of earlier versions of a job's study; one that is damaged is left out, and logged.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        return self._papers(job, self.studies.earlier(job) if job.version > 1 else ())

    def priors(self, job: Job) -> tuple[bytes, ...]:
        """Return our reports about earlier studies of a job's patient, as far as they are here, the newest first.

        Raises
        ------
        StoreError
            Index or blobs cannot be read now.
        """
        first = next(iter(self.studies.digests(job.id)), None)
        return self._papers(job, self.held.reports(self.held.about(first)) if first is not None else ())

    def _papers(self, job: Job, digests: Iterable[str]) -> tuple[bytes, ...]:
        found = []
        for digest in digests:
            try:
                found.append(self.made.get(digest))
            except DamagedBlob as error:  # no reason to keep silent about what is on the images now
                log.warning("earlier report left out", extra={"job": job.id, "reason": str(error)})
        return tuple(found)

    def close(self) -> None:
        """Close the index and let other processes in; a thread that was cut off can write no more.

        Raises
        ------
        StoreError
            It still writes; other processes are let in when this one ends.
        """
        if hasattr(self, "_index"):
            self._index.close()
        self._lock.release()
