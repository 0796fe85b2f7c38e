"""Tells peers what we commit ourselves to: on the association that asked while it is open, else on one of our own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from wetread.errors import PeerUnreachable, WetreadError
from wetread.jobs.loop import Loop
from wetread.jobs.requests import Asked
from wetread.jobs.retry import Backoff, Breaker, RetryClock
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.settings import Destination, Settings
from wetread.wire.access import callback
from wetread.wire.command import Status
from wetread.wire.commit import report
from wetread.wire.commitment import Report, Request

log = logging.getLogger("wetread.jobs")

MOST_OPEN = 1000  # transactions of which the association is remembered

#: Statuses after which a peer may take the same report later; after others it never will.
LATER = frozenset((Status.PROCESSING_FAILURE, Status.RESOURCE_LIMITATION))

#: Brings a report to a peer and returns the status of its answer.
Tell = Callable[[Destination, Report], int]


class Reporting:
    """The reports of one node, one after the other; what is read of the disk for one is remembered until it is taken.

    Parameters
    ----------
    settings
        `ae_title`, `peers`, `peer_timeout_s` and `retry_*` are used.
    tell
        How a peer is called back; N-EVENT-REPORT by default.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        watch: Watch,
        tell: Tell | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._settings = settings
        self._watch = watch
        self._tell = tell or self._report
        self._clock = clock
        self._backoff = Backoff(settings.retry_first_s, settings.retry_most_s)
        self._breakers: dict[tuple[str, str], Breaker] = {}  # by AE title and address
        self._retry = RetryClock(self._backoff)  # by request
        self._open: dict[tuple[str, str], Callable[[Report], int]] = {}  # by AE title and transaction
        self._judged: dict[Asked, Report] = {}
        self.loop = Loop("wetread-reporting", self.step)

    def hear(self, request: Request) -> Status:
        """Keep a request; return the status of its answer.

        Raises
        ------
        StoreError
            It is not kept.
        """
        self._open[request.calling_ae, request.transaction_uid] = request.report  # before it is found in the store
        if len(self._open) > MOST_OPEN:
            self._open.pop(next(iter(self._open)), None)  # the other thread may have taken it
        status = self._store.requests.hear(request)
        self.loop.wake()
        return status

    def step(self) -> float | None:
        """Report on the oldest request of which the peer is not known to be away.

        Returns
        -------
        float or None
            How long until the next try, s; None if nothing waits.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        now = self._clock()
        waiting = self._store.requests.waiting()
        later = self._retry.waiting(now)
        self._judged = {one: self._judged[one] for one in waiting if one in self._judged}
        for asked in waiting:
            if asked.id not in later and not self._breaker(asked).wait_s(now) and self._ours(asked):
                self._one(asked)
                return 0.0
        waits = [self._breaker(one).wait_s(now) for one in waiting] + [self._retry.next(now) or 0.0]
        return min((wait for wait in waits if wait), default=None)

    def _breaker(self, asked: Asked) -> Breaker:
        return self._breakers.setdefault((asked.ae_title, asked.address), Breaker(self._backoff))

    def _ours(self, asked: Asked) -> bool:
        return not self._store.shared or self._store.leases.acquire(_lease(asked))

    def _one(self, asked: Asked) -> None:
        if asked not in self._judged:
            self._judged[asked] = self._store.requests.judge(asked)
        told = self._judged[asked]
        about = {"calling_ae": asked.ae_title, "count": len(told.kept), "failed": len(told.failed)}
        try:
            status = self._bring(asked, told)
        except WetreadError as error:
            self._breaker(asked).failed(self._clock())
            self._retry.failed(asked.id, self._clock())
            if self._store.shared:  # another node may reach it
                self._store.leases.give_back((_lease(asked),), _lease(asked))
            log.warning("commitment not reported", extra={**about, "reason": str(error)})
            return
        self._breaker(asked).succeeded()
        log.info("commitment reported", extra={**about, "status": f"0x{status:04X}"})
        if status in LATER:
            self._retry.failed(asked.id, self._clock())
            return
        self._store.requests.reported(asked, told, status)
        del self._judged[asked]  # the peer may ask anew
        self._retry.succeeded(asked.id)
        self._watch.reported(len(told.kept), len(told.failed))

    def _bring(self, asked: Asked, told: Report) -> int:
        """Report on the association that asked, else call the peer back."""
        same = self._open.pop((asked.ae_title, asked.transaction_uid), None)
        if same is not None:
            try:
                return same(told)
            except PeerUnreachable as error:
                log.debug("commitment is reported on another association", extra={"reason": str(error)})
        to = callback(self._settings, asked.ae_title, asked.address)
        if to is None:
            raise PeerUnreachable(f"{asked.ae_title}: no line of peers lets it ask for commitments any more")
        return self._tell(to, told)

    def _report(self, to: Destination, told: Report) -> int:
        return report(to, told, self._settings.ae_title, self._settings.peer_timeout_s)


def _lease(asked: Asked) -> str:
    return f"report/{asked.ae_title}"
