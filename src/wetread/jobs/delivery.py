"""One outbox for each destination, with its own retry clock; it never gives up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from wetread.errors import StoreError, WetreadError
from wetread.jobs.retry import Backoff, RetryClock
from wetread.jobs.states import TERMINAL, State
from wetread.jobs.store import Parcel, Store
from wetread.jobs.watch import Watch
from wetread.settings import Destination, Settings
from wetread.wire.dimse import STORED

log = logging.getLogger("wetread.jobs")

MOST_PARCELS = 32  # in one association
MOST_BYTES = 1 << 26
_PEER = 0  # key of the destination itself in its retry clock; parcels count from 1

#: Sends files to a destination and calls back with (index, status) for each answer.
Send = Callable[[Destination, Sequence[bytes], Callable[[int, int], None]], object]


class Outbox:
    """Everything that waits for one destination.

    Parameters
    ----------
    name
        The name under which the store knows the destination.
    send
        Moves the files.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        destination: Destination,
        store: Store,
        send: Send,
        settings: Settings,
        watch: Watch,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self._destination = destination
        self._store = store
        self._send = send
        self._watch = watch
        self._clock = clock
        self._retry = RetryClock(backoff or Backoff(settings.retry_first_s, settings.retry_most_s))

    def step(self) -> float | None:
        """Try what is due.

        Returns
        -------
        float or None
            How long until the next try, s: 0 if more may be due now, None if nothing waits.
        """
        now = self._clock()
        waiting = self._retry.waiting(now)
        if _PEER in waiting:
            return self._retry.next(now)
        parcels, files = self._load(self._store.parcels(self.name, waiting, MOST_PARCELS))
        if not parcels:
            return self._retry.next(self._clock())
        try:
            self._send(self._destination, files, lambda i, status: self._answered(parcels[i], status))
        except StoreError:
            raise
        except WetreadError as error:
            self._retry.failed(_PEER, self._clock())
            self._watch.sent(self.name, "unreachable")
            log.warning("destination failed", extra={"destination": self.name, "reason": str(error)})
            return self._retry.next(self._clock())
        self._retry.succeeded(_PEER)
        return 0.0

    def _load(self, parcels: list[Parcel]) -> tuple[list[Parcel], list[bytes]]:
        """Read the blobs of so many parcels as fit; one that is damaged waits for a person."""
        kept: list[Parcel] = []
        files: list[bytes] = []
        for parcel in parcels:
            if sum(map(len, files)) > MOST_BYTES:
                break
            try:
                files.append(self._store.spool.get(parcel.digest))
                kept.append(parcel)
            except StoreError as error:
                self._retry.failed(parcel.id, self._clock())
                log.error("document unreadable", extra={"job": parcel.job, "reason": str(error)})
        return kept, files

    def _answered(self, parcel: Parcel, status: int) -> None:
        if status in STORED:
            self._store.failpoint("sent")
            state = self._store.delivered(parcel)
            self._retry.succeeded(parcel.id)
            self._retry.succeeded(_PEER)
            self._watch.sent(self.name, "stored")
            if state in TERMINAL - {State.FAILED}:  # that was told when it was given up
                self._watch.ended(state)
                log.info("job delivered", extra={"job": parcel.job, "state": state})
            return
        self._store.rejected(parcel, status)
        self._retry.failed(parcel.id, self._clock())
        self._watch.sent(self.name, "rejected")
        log.warning(
            "document rejected",
            extra={"job": parcel.job, "destination": self.name, "status": f"0x{status:04X}"},
        )
