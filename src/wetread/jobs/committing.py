"""Asks one destination to commit itself to what it confirmed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from wetread.errors import StoreError, WetreadError
from wetread.jobs.addressing import destination_name
from wetread.jobs.commitments import Stored
from wetread.jobs.loop import PAUSE_S
from wetread.jobs.retry import Backoff, Breaker, RetryClock
from wetread.jobs.spool import DamagedBlob
from wetread.jobs.store import Store
from wetread.settings import Destination, Settings
from wetread.uids import new_uid
from wetread.wire.commit import commit
from wetread.wire.part10 import meta

log = logging.getLogger("wetread.jobs")

MOST = 100  # instances in one request
ELSEWHERE_S = 5.0

#: Asks a destination for the commitment of instances (UID -> class) under a transaction UID.
Commit = Callable[[Destination, str, Mapping[str, str]], None]


class Committing:
    """The requests to one destination.

    Parameters
    ----------
    settings
        `ae_title`, `peer_timeout_s` and `retry_*` are used.
    ask
        How it is asked; N-ACTION by default.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        destination: Destination,
        store: Store,
        settings: Settings,
        ask: Commit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._destination = destination
        self._name = destination_name(destination)
        self._lease = f"commit/{self._name}"
        self._store = store
        self._settings = settings
        self._ask = ask or self._commit
        self._clock = clock
        self._damaged: set[int] = set()  # parcels
        backoff = Backoff(settings.retry_first_s, settings.retry_most_s)
        self._retry = RetryClock(backoff)  # by parcel: those that cannot be read now
        self._breaker = Breaker(backoff)

    def step(self) -> float | None:
        """Ask for what is due; return how long until the next try, s, or None if nothing waits.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        if wait := self._breaker.wait_s(self._clock()):
            return wait
        but = self._retry.waiting(self._clock()) | self._damaged
        stored = self._store.commitments.due(self._name, but, MOST)
        if not stored:
            return self._retry.next(self._clock())
        if self._store.shared and not self._store.leases.acquire(self._lease):
            return ELSEWHERE_S
        named = self._named(stored)
        if not named:
            return PAUSE_S  # nothing can be read: so much is enough for now
        instances = dict(named.values())
        transaction_uid = new_uid()
        self._store.commitments.ask(transaction_uid, list(named))
        try:
            self._ask(self._destination, transaction_uid, instances)
        except StoreError:
            raise
        except WetreadError as error:
            self._store.commitments.withdraw(transaction_uid)
            self._breaker.failed(self._clock())
            if self._store.shared:  # another node may reach it
                self._store.leases.give_back((self._lease,), self._lease)
            log.warning("commitment not asked for", extra={"destination": self._name, "reason": str(error)})
            return self._breaker.wait_s(self._clock())
        self._breaker.succeeded()
        log.info("commitment asked for", extra={"destination": self._name, "count": len(instances)})
        return 0.0

    def _named(self, stored: Sequence[Stored]) -> dict[Stored, tuple[str, str]]:
        """SOP Instance and SOP Class UIDs of documents.

        One that is damaged here stays uncommitted, and is kept; one that cannot be read now is asked for later.
        """
        named = {}
        for one in stored:
            try:
                head = meta((self._store.spool if one.received else self._store.made).get(one.digest))
            except DamagedBlob as error:
                log.error("document damaged", extra={"destination": self._name, "reason": str(error)})
                self._damaged.add(one.parcel)
                continue
            except StoreError as error:
                log.error("document unreadable", extra={"destination": self._name, "reason": str(error)})
                self._retry.failed(one.parcel, self._clock())
                continue
            self._retry.succeeded(one.parcel)
            named[one] = (head.sop_instance_uid, head.sop_class_uid)
        return named

    def _commit(self, destination: Destination, transaction_uid: str, instances: Mapping[str, str]) -> None:
        commit(destination, transaction_uid, instances, self._settings.ae_title, self._settings.peer_timeout_s)
