"""Whether there is room for one more object: a bounded queue says no early, and everything it took is kept.

Three limits: studies that have no result yet, their bytes, and the free space of the disk.  Each is stretched by
a reserve for STAT studies, and for what belongs to a study that has begun, so that it can be read whole.
What was read and waits for a destination does not count: a PACS that is away must not stop the modalities.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wetread.jobs.lanes import Lane
from wetread.jobs.overview import Overview
from wetread.settings import Settings

log = logging.getLogger("wetread.jobs")

#: While there seems to be no room, the index is asked so often, s; otherwise every `TRUST_S`, as others may share it.
LOOK_S = 1.0
TRUST_S = 10.0


class Room:
    """The room of one store.

    Parameters
    ----------
    overview
        Says which studies wait.
    disk
        A path on the disk of the blobs.
    settings
        `max_waiting`, `max_waiting_bytes`, `min_free_bytes` and `stat_reserve` are used.
    clock
        Monotonic seconds.
    free
        Gives the free bytes of a disk.
    """

    def __init__(
        self,
        overview: Overview,
        disk: Path,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
        free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
    ) -> None:
        self._overview = overview
        self._disk = disk
        self._settings = settings
        self._clock = clock
        self._free = free
        self._lock = threading.Lock()
        self._coming: list[tuple[str, int]] = []  # study and bytes of what the index may not know yet
        self._waiting: set[str] = set()  # studies: as the index said, and what came since
        self._bytes = 0
        self._looked: float | None = None
        self._full = ""

    @contextmanager
    def asked(self, study_uid: str, lane: Lane, size: int) -> Iterator[str]:
        """Ask for the room of one object, which is taken at once if there is some; keep it inside the block.

        Parameters
        ----------
        size
            Of the object, bytes.

        Yields
        ------
        str
            "" if it may come in, else what is short: "studies", "bytes" or "disk".

        Raises
        ------
        StoreError
            The index cannot be read now.
        OSError
            The disk cannot be asked.
        """
        short = self._take(study_uid, lane, size)
        try:
            yield short
        finally:
            with self._lock:
                if not short:
                    self._coming.remove((study_uid, size))

    def _take(self, study_uid: str, lane: Lane, size: int) -> str:
        with self._lock:
            self._look(TRUST_S)
            short = self._short(study_uid, lane, size)
            if short in ("studies", "bytes"):  # perhaps something was read since
                self._look(LOOK_S)
                short = self._short(study_uid, lane, size)
            if not short:
                self._coming.append((study_uid, size))
                self._waiting.add(study_uid)
                self._bytes += size
            self._tell(short)
            return short

    def _look(self, age_s: float) -> None:
        """Ask the index which studies wait, if that was asked so long ago."""
        now = self._clock()
        if self._looked is None or now - self._looked >= age_s:
            known = self._overview.waiting()
            self._waiting = known.keys() | {study_uid for study_uid, _ in self._coming}
            self._bytes = sum(known.values()) + sum(size for _, size in self._coming)
            self._looked = now

    def _short(self, study_uid: str, lane: Lane, size: int) -> str:
        known = study_uid in self._waiting
        limits, reserve = self._settings, 0.0
        if known or lane is Lane.STAT:
            reserve = limits.stat_reserve
        if not known and len(self._waiting) >= limits.max_waiting * (1 + reserve):
            return "studies"
        if self._bytes + size > limits.max_waiting_bytes * (1 + reserve):
            return "bytes"
        return "disk" if self._free(self._disk) - size < limits.min_free_bytes * (1 - reserve) else ""

    def _tell(self, short: str) -> None:
        """One line when it begins and one when it ends, not one an object."""
        if short and not self._full:
            log.warning("no room", extra={"reason": short, "count": len(self._waiting)})
        elif self._full and not short:
            log.info("room again", extra={"count": len(self._waiting)})
        self._full = short
