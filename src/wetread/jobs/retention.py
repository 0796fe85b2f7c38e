"""What is kept, how long, and what is deleted when: blobs of studies that ended and whose results arrived.

A study that ended DELIVERED, REFUSED or CANCELED keeps its blobs for `keep_days`, and shorter where less than
`least_free_bytes` are free: then the oldest go first.  Nothing else ever goes: not a study that waits, not one
that FAILED (it needs a person), not one of which no destination confirmed anything,
not one to which a destination with `commitment` has not committed itself.  The rows of the index stay,
so that the same object sent again is known, answered as stored, and not read again.

Two steps, each of which may be the last of a process: the index forgets the blobs, then they are removed.  What
is left between them is removed at the next start.

Notices (IAN, MPPS) go after the same time, unless their study is on its way; work items that ended, too, unless a
subscriber holds them by a deletion lock.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from wetread.jobs.addressing import destination_name
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.settings import Settings
from wetread.trace import following

log = logging.getLogger("wetread.jobs")

LOOK_S = 60.0  # between two looks
MOST = 100  # studies in one look
DAY_S = 86400.0


def free_bytes(folder: Path) -> int:
    """Return how much an unprivileged process may still write, byte."""
    return shutil.disk_usage(folder).free


class Retention:
    """Deletes the blobs of one study after the other.

    Parameters
    ----------
    settings
        `keep_days`, `keep_orders_days`, `least_free_bytes` and `destinations` are used.
    clock
        Monotonic seconds.
    free
        Bytes that are free where the blobs lie.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        watch: Watch,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._store = store
        self._keep_s = settings.keep_days * DAY_S
        self._orders_s = settings.keep_orders_days * DAY_S
        self._least = settings.least_free_bytes
        self._committing = [destination_name(one) for one in settings.destinations if one.commitment]
        self._watch = watch
        self._clock = clock
        self._free = free
        self._next = clock()

    def step(self) -> float | None:
        """Delete what is due; return how long until the next look, s.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        if (wait := self._next - self._clock()) > 0:
            return wait
        if self._store.shared and not self._store.leases.acquire("retention"):
            self._next = self._clock() + LOOK_S
            return LOOK_S
        for _ in range(MOST):
            if not self._one():
                self._forget()
                self._next = self._clock() + LOOK_S
                return LOOK_S
        return 0.0

    def _forget(self) -> None:
        """Forget old orders, notices, requests and work items; not within a day: studies may come long after."""
        if self._orders_s and (number := self._store.ordered.forget(max(self._orders_s, DAY_S))):
            log.info("orders forgotten", extra={"count": number})
        if not self._keep_s:
            return
        if number := self._store.removals.forget(max(self._keep_s, DAY_S)):
            log.info("notices forgotten", extra={"count": number})
        if number := self._store.worklist.forget(max(self._keep_s, DAY_S)):
            log.info("work items forgotten", extra={"count": number})

    def _one(self) -> bool:
        """Delete the blobs of the study that ended first, if that is due; return whether it was."""
        why = "space" if self._free(self._store.spool.root) < self._least else "age"
        if why == "age" and not self._keep_s:
            return False
        job = self._store.removals.due(0.0 if why == "space" else self._keep_s, self._committing)
        if job is None:
            return False
        number = self._store.removals.remove(job, why, self._committing)
        self._watch.removed(why)
        with following(self._store.studies.trace_id(job)):
            log.info("blobs removed", extra={"job": job, "reason": why, "count": number})
        return True
