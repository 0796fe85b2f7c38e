"""Asks worklists for the order of a study: how urgent it is, what was asked for, and whom it is about.

What they tell is kept like orders that are sent (`wetread.jobs.ordering`).  No study waits for an answer.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from wetread.jobs.loop import Loop
from wetread.jobs.panel import Panel
from wetread.jobs.watch import Watch
from wetread.records import Order
from wetread.report.fhir.coding import SYSTEMS
from wetread.settings import Destination, Settings
from wetread.wire import servicerequest, worklist

REMEMBERED = 10_000  # studies that were asked for, or wait for it

#: Tells the orders of a study, by its accession number and Study Instance UID.
Ask = Callable[[Destination, str, str], list[Order]]


class Orders:
    """The questions of one node to its worklists, one after the other.

    Parameters
    ----------
    learn
        Told the orders of a study; called from this object's thread.
    settings
        `worklists`, `ae_title`, `fhir_systems`, `peer_timeout_s` and `retry_*` are used.
    ask
        How a worklist is asked; by default C-FIND, or a search of FHIR, as its address says.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        learn: Callable[[list[Order]], None],
        settings: Settings,
        watch: Watch,
        ask: Ask | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._learn = learn
        self._settings = settings
        self._ask = ask or self._find
        self._worklists = Panel("worklist", settings.worklists, settings, watch, clock)
        self._naming = servicerequest.naming(settings.fhir_systems, SYSTEMS)
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, str] = OrderedDict()  # study -> its accession number
        self._asked: OrderedDict[str, None] = OrderedDict()
        self.loop = Loop("wetread-orders", self.step)

    def arrived(self, study_uid: str, accession: str) -> None:
        """An object of a study is here: ask for its order, once."""
        if not self._worklists:
            return
        with self._lock:
            if study_uid in self._asked:
                return
            self._asked[study_uid] = None
            self._waiting[study_uid] = accession
            for some in (self._asked, self._waiting):
                if len(some) > REMEMBERED:
                    some.popitem(last=False)
        self.loop.wake()

    def step(self) -> float | None:
        """Ask for the study that came last: earlier ones may have been read; return how long until the next, s.

        Raises
        ------
        StoreError
            The orders cannot be kept now.
        """
        with self._lock:
            found = next(reversed(self._waiting.items()), None)
        if found is None:
            return None
        wait_s = self._worklists.wait_s()
        if wait_s:
            return wait_s
        study_uid, accession = found
        with self._lock:
            self._waiting.move_to_end(study_uid, last=False)  # whatever becomes of it, the others are next
        orders = self._worklists.ask(lambda peer: self._ask(peer, accession, study_uid))
        if orders is None:  # nobody answered
            return 0.0
        if orders:
            self._learn(orders)
        with self._lock:
            self._waiting.pop(study_uid, None)
        return 0.0

    def _find(self, peer: Destination, accession: str, study_uid: str) -> list[Order]:
        timeout_s = self._settings.peer_timeout_s
        if peer.protocol == "fhir":
            return servicerequest.orders(peer, accession, study_uid, self._naming, timeout_s)
        return worklist.orders(peer, accession, study_uid, self._settings.ae_title, timeout_s)
