"""One outbox for each destination, with its own retry clock and breaker; a peer's absence needs nobody."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from wetread.errors import BadInput, Blocked, DecoderDied, DocumentError, PeerBusy, StoreError, WetreadError
from wetread.jobs.deidentified import Copies
from wetread.jobs.lanes import Lane
from wetread.jobs.parcels import Parcel
from wetread.jobs.retry import Backoff, Breaker, RetryClock
from wetread.jobs.spool import DamagedBlob
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.settings import IMAGE, Destination, Settings
from wetread.trace import About, Span, following
from wetread.turns import Turns
from wetread.wire.dimse import STORED

log = logging.getLogger("wetread.jobs")

MOST_PARCELS = 32  # in one association
MOST_BYTES = 1 << 26
MOST_DEATHS = 3  # of a child over one image, before that is blocked
ELSEWHERE_S = 5.0  # until this process looks again whether another still sends to the destination
HURRY_S = 0.5  # so long others pause for STAT documents, and these for STAT studies that are read: a peer may be slow
NO_ROOM = range(0xA700, 0xA800)  # the peer is full, whatever is sent (PS3.4 Table B.2-1)

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
    settings
        `retry_first_s`, `retry_most_s`, `max_rejections`, and what `wetread.jobs.deidentified.Copies` uses.
    clock
        Monotonic seconds.
    turns
        Lets STAT documents go before what others do.
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
        turns: Turns | None = None,
    ) -> None:
        self.name = name
        self._lease = f"to/{name}"
        self._destination = destination
        self._store = store
        self._send = send
        self._copies = Copies(settings)
        self._max_rejections = settings.max_rejections
        self._watch = watch
        self._clock = clock
        self._turns = turns or Turns()
        self._gave_way = False  # the present step does not wait for what is read
        self._told = False  # that it is away or full, in the present association
        backoff = backoff or Backoff(settings.retry_first_s, settings.retry_most_s)
        self._retry = RetryClock(backoff)
        self._breaker = Breaker(backoff)
        self._begin_ns = 0  # when the present document was begun
        self._unrecorded: tuple[Parcel, int] | None = None  # an answer that the store could not take down
        watch.away(name, False)

    def step(self) -> float | None:
        """Try what is due of one study: no more than that is under way when documents of a STAT one come.

        Returns
        -------
        float or None
            How long until the next try, s: 0 if more may be due now, None if nothing waits.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        if self._unrecorded is not None:
            self._take_down(*self._unrecorded)  # before anything is sent again
        now = self._clock()
        if wait := self._breaker.wait_s(now):
            return wait
        pausing = self._store.commitments.pausing(self.name) if self._destination.commitment else {}
        passed = self._retry.waiting(now) | pausing.keys()
        parcels = self._due(passed)
        if not parcels:
            waits = [wait for wait in (*pausing.values(), self._retry.next(now)) if wait is not None]
            return min(waits, default=None)
        if self._store.shared:
            if not self._store.leases.acquire(self._lease):
                return ELSEWHERE_S
            parcels = self._due(passed)  # whoever held it may have sent, or replaced, what waited a moment ago
            if not parcels:
                return 0.0
        urgent = parcels[0].lane is Lane.STAT
        if not urgent and self._turns.hurried and not self._gave_way:
            self._gave_way = True
            return HURRY_S  # or until it is woken, as what was read meanwhile may go before
        self._gave_way = False
        with self._turns.first(parcels[0].study_uid, HURRY_S) if urgent else nullcontext():
            parcels, files = self._load([one for one in parcels if one.job == parcels[0].job])
            if parcels:
                self._try(parcels, files)
        return self._breaker.wait_s(self._clock())

    def close(self) -> None:
        """End what makes copies; call it after the last step."""
        self._copies.close()

    def _due(self, waiting: frozenset[int]) -> list[Parcel]:
        """Return what is to be tried now: one document while the destination seems to be away.

        That is one that has not failed yet, else the one whose last failure is the longest ago: the destination may
        be there, and break off over some documents only.
        """
        if not self._breaker.failures:
            return self._store.parcels.waiting(self.name, waiting, MOST_PARCELS)
        turns = {parcel: turn for turn, parcel in enumerate(self._retry.failures(), 1)}
        found = self._store.parcels.waiting(self.name, waiting, len(turns) + 1)
        return sorted(found, key=lambda one: turns.get(one.id, 0))[:1]

    def _try(self, parcels: list[Parcel], files: list[bytes]) -> None:
        left = list(parcels)

        def answered(i: int, status: int) -> None:
            left.remove(parcels[i])
            self._take_down(parcels[i], status)
            self._begin_ns = time.time_ns()

        self._begin_ns, self._told = time.time_ns(), False
        try:
            self._send(self._destination, files, answered)
        except StoreError:
            raise
        except PeerBusy as error:
            with following(left[0].trace_id if left else ""):
                self._failed(left[0] if left else None, "full", str(error), NO_ROOM.start, error.retry_after_s)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw over one document must not hold the others up
            reason = str(error) if isinstance(error, WetreadError) else type(error).__name__
            with following(left[0].trace_id if left else ""):
                self._failed(left[0] if left else None, "unreachable", reason)
            if self._store.shared:  # another node may reach it
                self._store.leases.give_back((self._lease,), self._lease)

    def _take_down(self, parcel: Parcel, status: int) -> None:
        """Act on an answer; the next step makes up for what cannot be recorded now."""
        self._unrecorded = None
        try:
            with following(parcel.trace_id):
                self._answered(parcel, status)
        except StoreError:
            self._unrecorded = (parcel, status)
            raise

    def _failed(self, parcel: Parcel | None, outcome: str, reason: str, status: int = 0, least_s: float = 0.0) -> None:
        """It is away or full; that may show when nothing is under way any more.

        What was under way may be to blame: the next try begins with something else, if anything else waits.
        """
        self._breaker.failed(self._clock(), least_s, self._told)
        self._told = True
        if parcel is not None:
            self._retry.failed(parcel.id, self._clock())
        self._watch.away(self.name, True)
        self._sent(parcel, outcome, status)
        log.warning("destination failed", extra={"destination": self.name, "reason": reason})

    def _sent(self, parcel: Parcel | None, outcome: str, status: int) -> None:
        """Tell what became of the present document."""
        self._watch.sent(self.name, outcome)
        if parcel is not None and parcel.trace_id:
            about: About = {"job": parcel.job, "document": parcel.kind, "destination": self.name, "outcome": outcome}
            if outcome != "unreachable":
                about["status"] = f"0x{status:04X}"
            self._watch.span(Span("deliver", parcel.trace_id, self._begin_ns, time.time_ns(), about))

    def _load(self, parcels: list[Parcel]) -> tuple[list[Parcel], list[bytes]]:
        """Read the blobs of so many parcels as fit; one that is damaged or may not leave waits for a person."""
        kept: list[Parcel] = []
        files: list[bytes] = []
        for parcel in parcels:
            if sum(map(len, files)) > MOST_BYTES:
                break
            self._begin_ns = time.time_ns()
            try:
                data = (self._store.spool if parcel.kind == IMAGE else self._store.made).take(parcel.digest)
                files.append(self._copies.made(self._destination, parcel, data))
                kept.append(parcel)
            except (BadInput, DocumentError, DecoderDied) as error:
                with following(parcel.trace_id):
                    self._not_copied(parcel, error)
            except DamagedBlob as error:
                with following(parcel.trace_id):
                    log.error("document damaged", extra={"job": parcel.job, "reason": str(error)})
                    self._rejected(parcel, 0, dead=True)
            except StoreError as error:
                self._retry.failed(parcel.id, self._clock())
                with following(parcel.trace_id):
                    log.error("document unreadable", extra={"job": parcel.job, "reason": str(error)})
        return kept, files

    def _not_copied(self, parcel: Parcel, error: WetreadError) -> None:
        """It does not leave: an image is blocked for a reason, a document waits for a person."""
        about = {"job": parcel.job, "reason": str(error)}
        if parcel.kind != IMAGE:
            log.error("document not de-identified", extra=about)
            self._rejected(parcel, 0, dead=True, reason="NO-COPY")
        elif isinstance(error, DecoderDied) and parcel.tries + 1 < MOST_DEATHS:
            log.warning("image not de-identified", extra=about)
            self._rejected(parcel, 0, dead=False)
        else:
            log.error("image blocked", extra=about)
            reason = error.code if isinstance(error, Blocked) else "NOT-READABLE"
            state = self._store.parcels.blocked(parcel, self.name, reason)
            self._retry.succeeded(parcel.id)
            self._sent(parcel, "blocked", 0)
            self._ended(parcel, state)

    def _answered(self, parcel: Parcel, status: int) -> None:
        if status in STORED:
            self._store.failpoint("sent")
            state = self._store.parcels.delivered(parcel)
            self._retry.succeeded(parcel.id)
            self._answers()
            self._sent(parcel, "stored", status)
            self._ended(parcel, state)
        elif status in NO_ROOM:
            self._failed(parcel, "full", f"0x{status:04X}: no room", status)
        else:
            self._answers()  # it is there, it only does not want this one
            self._rejected(parcel, status, 0 < self._max_rejections <= parcel.tries + 1)

    def _answers(self) -> None:
        self._breaker.succeeded()
        self._watch.away(self.name, False)

    def _rejected(self, parcel: Parcel, status: int, dead: bool, reason: str = "") -> None:
        """The destination answered, and does not want this document: the others go on."""
        state = self._store.parcels.rejected(parcel, status, dead, reason)
        about = {"job": parcel.job, "destination": self.name, "status": f"0x{status:04X}"}
        if not dead:
            self._retry.failed(parcel.id, self._clock())
            self._sent(parcel, "rejected", status)
            log.warning("document rejected", extra=about)
            return
        self._retry.succeeded(parcel.id)  # if a person sends it again, it goes at once
        self._sent(parcel, "dead", status)
        log.error("document given up", extra=about)
        self._ended(parcel, state)

    def _ended(self, parcel: Parcel, state: State | None) -> None:
        if state is None:
            return
        self._watch.ended(state)
        say = log.error if state is State.FAILED else log.info
        say("delivery ended", extra={"job": parcel.job, "state": state})
