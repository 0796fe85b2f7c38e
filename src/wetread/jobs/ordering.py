"""Takes what HL7 messages say of orders and patients, and acts on it: lanes, and studies that are here already.

No message and no study waits for that: an order is acknowledged when it is durable, and marked as fresh until the
studies that are here were held against it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from wetread.errors import StoreError
from wetread.jobs.lanes import Lane
from wetread.jobs.loop import PAUSE_S, Loop
from wetread.jobs.ordered import Fresh, Taken
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.withholding import WITHHELD
from wetread.records import Order
from wetread.trace import following
from wetread.wire.acknowledge import Ack, answers, code_for, header_of
from wetread.wire.hl7 import BadMessage, Condition, Message, parse
from wetread.wire.ordering import TYPES, changes

log = logging.getLogger("wetread.jobs")

REMEMBERED = 10_000  # studies whose order was looked for, or that wait for it
#: `wetread.records.Order.priority` -> our lane; any other, or none, is routine.
LANES = {"STAT": Lane.STAT, "URGENT": Lane.URGENT}


class Ordering:
    """The orders of one node.

    Parameters
    ----------
    moved
        Told a study that went into a faster lane, or is read again; called from this object's thread.
    """

    def __init__(self, store: Store, moved: Callable[[str], None], watch: Watch) -> None:
        self._store = store
        self._moved = moved
        self._watch = watch
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, str] = OrderedDict()  # study -> its accession number
        self._looked: OrderedDict[str, None] = OrderedDict()
        self.loop = Loop("wetread-ordering", self.step)

    # ---- messages -------------------------------------------------------------------------

    def take(self, data: bytes, address: str) -> list[bytes]:
        """Keep what a message says; return the acknowledgements that its sender wants.

        AA: it is durable, or was acknowledged before.  AE: it was understood, and is wrong.  AR: it is not taken, or
        cannot be kept now.
        """
        message: Message | None = None
        error: BadMessage | None = None
        new = False
        try:
            message = parse(data)
            new = self._store.ordered.keep(self._taken(message, data))
        except BadMessage as found:
            message, error = message or header_of(data), found
        except StoreError as found:
            log.error("order not kept", extra={"reason": str(found)})
            told = "cannot be kept durably now; send it again later"
            error = BadMessage(Condition.APPLICATION_INTERNAL_ERROR, told)
        code = code_for(error) if error is not None else Ack.AA
        self._say(message, code, address, "" if new or error else "repeated", error)
        if new:
            self.loop.wake()
        return answers(message, code, error)

    def _taken(self, message: Message, data: bytes) -> Taken:
        msh, found = message.header, changes(message)
        names = f"{msh.raw(3)}|{msh.raw(4)}", msh.text(10)
        sender, control_id = (name.replace("\0", "\\X00\\") for name in names)  # which PostgreSQL takes
        return Taken(sender, control_id, hashlib.sha256(data).hexdigest(), found)

    def _say(self, message: Message | None, code: Ack, address: str, note: str, error: BadMessage | None) -> None:
        kind = f"{message.header.text(9)}^{message.header.text(9, 2)}".upper() if message is not None else ""
        kind = kind if kind in TYPES else "other"
        about = {"kind": kind, "ack": code, "address": address, "detail": note, "reason": str(error or "")}
        say = log.warning if error is not None else log.info
        say("HL7 message", extra={name: value for name, value in about.items() if value})
        self._watch.messaged(kind, code)

    def learn(self, orders: list[Order]) -> None:
        """Keep what a worklist says of the orders of a study.

        Raises
        ------
        StoreError
            It is not kept.
        """
        self._store.ordered.learn(orders)
        self.loop.wake()

    # ---- studies --------------------------------------------------------------------------

    def arrived(self, study_uid: str, accession: str, lane: Lane) -> None:
        """An object of a study is here: look for its order, once, if there is anything that it may change."""
        if lane is Lane.STAT:
            return
        with self._lock:
            if study_uid in self._looked:
                return
            self._looked[study_uid] = None
            self._waiting[study_uid] = accession
            for some in (self._looked, self._waiting):
                if len(some) > REMEMBERED:
                    some.popitem(last=False)
        self.loop.wake()

    def step(self) -> float | None:
        """Do what one study, or some orders, ask for; return 0 if there may be more to do.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        with self._lock:
            found = next(iter(self._waiting.items()), None)
        if found is not None:
            self._hasten([found[0]], self._store.ordered.of(*found))
            with self._lock:
                self._waiting.pop(found[0], None)
            return 0.0
        fresh = self._store.ordered.fresh()
        if not fresh:
            return None
        held = [one for one in fresh if self._acted(one)]
        self._store.ordered.held_against(held)
        return 0.0 if held else PAUSE_S

    def _acted(self, fresh: Fresh) -> bool:
        """Act on one order; return False where that must be tried again, which keeps no other waiting."""
        try:
            self._act(fresh)
        except StoreError as error:
            log.error("order not held against its studies", extra={"reason": str(error)})
            return False
        return True

    def _act(self, fresh: Fresh) -> None:
        """Hold the studies that are here against one order."""
        studies = self._store.ordered.studies(fresh.order)
        self._hasten(studies, [fresh.order])
        for study_uid in studies:
            stopped, resolved, late = self._store.withholding.hold_against(study_uid)
            for job in stopped:
                with following(job.trace_id):
                    log.error(WITHHELD, extra={"job": job.id})
                if job.state is not State.FAILED:
                    self._watch.ended(State.FAILED)
            for job in late:
                with following(job.trace_id):
                    log.error("order contradicts what was delivered", extra={"job": job.id, "state": job.state})
            for job in resolved:
                with following(job.trace_id):
                    log.info("order agrees now: read again", extra={"job": job.id})
                self._moved(study_uid)

    def _hasten(self, studies: Iterable[str], orders: Iterable[Order]) -> None:
        lane = min((LANES.get(one.priority, Lane.ROUTINE) for one in orders), default=Lane.ROUTINE)
        for study_uid in studies if lane < Lane.ROUTINE else ():
            if self._store.studies.hasten(study_uid, lane):
                log.info("order is urgent", extra={"lane": lane.name})
                self._moved(study_uid)
