"""The threads that take every accepted study to its terminal state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from wetread.acquire.tomography import CLASSIC
from wetread.errors import StoreError
from wetread.jobs.addressing import destination_name
from wetread.jobs.alerting import Alerting
from wetread.jobs.announced import Outlook
from wetread.jobs.aside import Aside
from wetread.jobs.asking import Ask, Asking
from wetread.jobs.committing import Committing
from wetread.jobs.completion import OPEN_FACTOR, Completion
from wetread.jobs.deidentified import left, remember
from wetread.jobs.delivery import Outbox, Send
from wetread.jobs.expecting import Expecting
from wetread.jobs.fetching import Fetching
from wetread.jobs.instances import Arrival, Effect
from wetread.jobs.lanes import LINGER_S, SHORTLY_S, STREAMS_S, Lane, facts_of, lane_of, local
from wetread.jobs.loop import Loop
from wetread.jobs.managed import Managed
from wetread.jobs.matching import identity_of
from wetread.jobs.ordering import Ordering
from wetread.jobs.orders import Orders
from wetread.jobs.parcels import moved
from wetread.jobs.performer import Manager, OwnList, Performer, codes_of
from wetread.jobs.priors import Priors
from wetread.jobs.receipt import Receipts
from wetread.jobs.receiving import Receiving
from wetread.jobs.reporting import Reporting
from wetread.jobs.retention import Retention
from wetread.jobs.retry import Backoff, RetryClock
from wetread.jobs.returned import Returned
from wetread.jobs.room import Room
from wetread.jobs.spool import file_name
from wetread.jobs.states import Delivery, State
from wetread.jobs.store import Store
from wetread.jobs.strain import Strain
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Reader, Worker
from wetread.records import Sender, Stored
from wetread.routes import Facts
from wetread.settings import Destination, Settings
from wetread.trace import following, trace_id
from wetread.turns import Turns
from wetread.wire.deliver import deliver as deliver_to
from wetread.wire.dimse import Commitment, Notice, Received, Request, Status
from wetread.wire.glance import glance, series_of
from wetread.wire.part10 import meta

log = logging.getLogger("wetread.jobs")

#: While a STAT study is under way what other senders bring waits so long at most, s; an answer that there is no room
#: longer: who is turned away sends again at once.
KEEPING_WAITS_S = 0.25
REFUSAL_WAITS_S = 1.0

#: What waits for a destination that the settings name no more, or will when a person releases it or has it sent again.
LEFT = (Delivery.QUEUED, Delivery.WITHHELD, Delivery.DEAD, Delivery.BLOCKED)

#: Told the Study Instance UID, the SOP Class UID, the name and the file of an object.
Arrived = Callable[[str, str, str, Stored], None]


class Runner:
    """Receipt, completion, reading and delivery of one node.

    Parameters
    ----------
    store
        Open; the caller closes it after `stop`.
    settings
        `destinations`, `burned_in`, `archives`, `worklists`, `routes`, `alerts`, the deadlines by lane, `degrade`,
        `degrade_after_s`, `workitem_codes`, `managers`, `quiet_s`, `expect_s`, `max_tries`, `retry_*`, `ae_title`,
        `peers`, `public_url`, `peer_timeout_s`, `idle_timeout_s` and `max_object_bytes` are used.
    deliver
        How documents leave; by default C-STORE, or STOW-RS where the destination has a URL.
    clock
        Monotonic seconds.
    turns
        What the reader pauses by, so that a STAT study goes before what is being read.
    ask
        How archives are asked; by default C-FIND, or QIDO-RS where one has a URL.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        watch: Watch | None = None,
        deliver: Send | None = None,
        clock: Callable[[], float] = time.monotonic,
        turns: Turns | None = None,
        ask: Ask | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._turns = turns or Turns()
        self._watch = watch or Watch()
        self._clock = clock
        self._deliver = deliver or self._send
        self.room = Room(store.overview, store.spool.root, settings, clock)
        self._receipts = Receipts(store.instances)
        self._receiving = Receiving(store.leases) if store.shared else None
        self._completion = Completion(self._complete, settings.quiet_s, clock, self._elsewhere, self._received)
        self._expecting = Expecting(store.announced, self._completion, settings)
        self.strain = Strain(store.overview, settings, self._watch, clock)
        self._asking = Asking(store.announced, self._answered, settings, self._watch, ask, clock)
        self._urgent: dict[int, tuple[str, float]] = {}  # association -> the STAT study that it brings, and since when
        self._reading: list[Loop] = []
        self._arrived: Arrived | None = None
        self._outboxes: list[Loop] = []
        self._closing: list[Callable[[], None]] = []
        self._returned = Returned(store, settings, self._wake_outboxes)
        committing = [
            Loop(f"wetread-commit-{destination_name(one)}", Committing(one, store, settings, clock=clock).step)
            for one in settings.destinations
            if one.commitment
        ]
        self.ordering = Ordering(store, self._hastened, self._watch)
        self._orders = Orders(self.ordering.learn, settings, self._watch, clock=clock)
        self._reporting = Reporting(store, settings, self._watch, clock=clock)
        self._fetching = Fetching(settings, self.receive, self.association_ended, clock=clock)
        self._managed = [
            Managed(one, settings, codes_of(settings), store.tasks, self._work, clock) for one in settings.managers
        ]
        lists: list[Manager] = [OwnList(store), *self._managed]
        self._performer = Performer(store, settings, self._fetching, self._hastened, self._watch, lists, clock)
        self._alerting = Alerting(store, settings, self._watch, clock=clock)
        self._priors = Priors(store, (self.receive, self._brought, self._answered), settings, self._watch, clock)
        self._archive_titles = frozenset(one.ae_title for one in settings.archives)
        keeping = Loop("wetread-retention", Retention(store, settings, self._watch, clock).step)
        self._loops = [Loop("wetread-leases", self._hold)] if store.shared else []
        self._loops += [*committing, self._reporting.loop, keeping, self._asking.loop, self.ordering.loop]
        self._loops += [self._orders.loop] if settings.worklists else []
        self._loops += [self._alerting.loop] if settings.alerts else []
        self._loops += [self._priors.loop, self._priors.holding] if self._priors.wanted else []
        self._lock = threading.Lock()  # of the next line and of who begins to read
        self._ended = False

    def start(self) -> None:
        """Take up what an earlier process left, and start; studies are read once `read_with` is called."""
        self._take_over()
        for study_uid, accession, lane in self._store.studies.unread():  # an earlier process may not have got an answer
            self.ordering.arrived(study_uid, accession, lane)
            self._orders.arrived(study_uid, accession)
        self._store.tasks.follow(self._settings.managers)
        configured = {destination_name(one): one for one in self._settings.destinations}
        path = self._settings.ledger_path
        remember(configured.values(), path)
        self._follow(configured)
        gone = [name for name in self._store.parcels.destinations(LEFT) if name not in configured]
        places = {**configured, **{name: left(name, path, configured.values()) for name in gone}}
        for name, destination in places.items():
            common = (self._store, self._deliver, self._settings, self._watch, self._clock)
            outbox = Outbox(name, destination, *common, turns=self._turns)
            self._outboxes.append(Loop(f"wetread-outbox-{name}", outbox.step))
            self._closing.append(outbox.close)
        self._receipts.start()
        self._completion.start()
        for loop in (*self._outboxes, *self._loops):
            loop.start()

    def _follow(self, configured: Mapping[str, Destination]) -> None:
        """Let what waits for a destination that moved go where it is now; there it is asked to commit itself, too."""
        sent = any(one.commitment for one in configured.values())
        for name in self._store.parcels.destinations((*LEFT, Delivery.SENT) if sent else LEFT):
            now = None if name in configured else moved(name, configured.values())
            was = now and left(name, self._settings.ledger_path, configured.values())
            if now and was and now.ae_title == was.ae_title and (now.deidentify or not was.deidentify):
                states = (*LEFT, Delivery.SENT) if now.commitment else LEFT
                if number := self._store.parcels.readdress(name, destination_name(now), states):
                    about = {"destination": name, "to": destination_name(now), "count": number}
                    log.warning("destination moved", extra=about)

    def _take_over(self) -> None:
        """Go on with what another process had begun and will not end."""
        for job, state in self._store.studies.recover(self._settings.max_tries):
            with following(job.trace_id):
                log.warning("reading was cut off", extra={"job": job.id, "tries": job.tries, "state": state})
            if state is State.FAILED:
                self._watch.ended(state)
        for study_uid in self._store.studies.incomplete():
            self._completion.adopt(study_uid, patient=self._store.shared)
        self._look_at(self._store.announced.studies())  # of the others nothing is to be held against what is here

    def _elsewhere(self, study_uid: str) -> bool:
        """Whether another node may be receiving a study: it gets the time of an association that stays open."""
        if not self._store.shared:
            return False
        try:
            silent_s = self._store.studies.silent_s(study_uid)
        except StoreError as error:
            log.error("store failed", extra={"reason": str(error)})
            return True  # nobody knows: asked again after that time
        # A clock that is far ahead must not keep a study from being read.
        return silent_s is not None and abs(silent_s) < OPEN_FACTOR * self._settings.quiet_s

    def _received(self, study_uid: str) -> bool:
        """Whether another node receives a study; not one of which nothing came for long, though it may be open."""
        if self._receiving is None:
            return False
        try:
            return self._receiving.elsewhere(study_uid) and self._elsewhere(study_uid)
        except StoreError as error:
            log.error("store failed", extra={"reason": str(error)})
            return True  # as above

    def _hold(self) -> float:
        """Keep our leases, and look for those that ran out."""
        self._store.leases.renew()
        self._take_over()
        return self._store.leases.duration_s / 3

    def read_with(self, reader: Reader, arrived: Arrived | None = None) -> None:
        """Begin to read studies; does nothing after `stop`, which may come while models load.

        Parameters
        ----------
        arrived
            Told of each new object of a study that will be read.
        """
        self._arrived = arrived
        retry = RetryClock(Backoff(self._settings.retry_first_s, self._settings.retry_most_s))
        common = (self._store, reader, self._settings, self._watch, self._clock)
        desks = [threading.Lock() for _ in range(self._settings.readers + 1)]

        def worker(slowest: Lane, mine: int) -> Worker:
            around = (desks[mine], *desks[:mine], *desks[mine + 1 :])
            return Worker(*common, self._turns, retry, slowest, around, self.strain)

        with self._lock:
            if not self._ended:
                stat = worker(Lane.STAT, self._settings.readers)  # never behind a long one
                self._reading = [Loop("wetread-worker-stat", partial(self._read, stat, None))]
                for number in range(self._settings.readers):
                    read = partial(self._read, worker(Lane.PRIOR, number), None if number else Aside(*common))
                    self._reading.append(Loop(f"wetread-worker-{number}" if number else "wetread-worker", read))
                if self._settings.workitem_codes:
                    self._store.worklist.told.append(self._work)
                    self._reading += [self._fetching.loop, self._performer.loop]
                    self._reading += [one.loop for one in self._managed]
                if self._settings.steps:  # the first: what waited for the models to load may be late already
                    self._reading.insert(0, Loop("wetread-strain", self._look_behind))
                for loop in self._reading:
                    loop.start()

    def _work(self) -> None:
        """There may be work items to do."""
        self._performer.loop.wake()

    def _look_behind(self) -> None:
        self.strain.look()

    def stop(self, grace_s: float = 10.0) -> None:
        """End in order; call it after the listener has stopped.

        A reading that takes longer than `grace_s` is cut off and counts as a try.
        """
        end = time.monotonic() + grace_s
        with self._lock:
            self._ended = True
        self._receipts.stop()
        self._completion.stop()
        loops = [*self._outboxes, *self._loops, *self._reading]
        for loop in loops:
            loop.end()  # all at once: none waits for the step of another
        for loop in loops:
            if not loop.stop(max(0.0, end - time.monotonic())):
                log.warning("cut off while working")
        for close in (*self._closing, *(manager.close for manager in self._managed)):
            close()
        if self._store.shared:
            self._release()

    def _release(self) -> None:
        """Let other nodes take over at once."""
        try:
            self._store.leases.release()
        except StoreError as error:
            log.warning("leases not released", extra={"reason": str(error)})

    def receive(self, received: Received) -> int:
        """Keep one object; return its C-STORE status when it is durable, or 0xA700 where there is no room for it.

        What is not of a STAT study waits while one is under way, for `KEEPING_WAITS_S` at most; that there is no room
        is not said meanwhile, for `REFUSAL_WAITS_S` at most.

        Raises
        ------
        StoreError, OSError
            It is not durable; the peer must keep it.
        """
        with self._turns.busy():
            return self._receive(received)

    def _receive(self, received: Received) -> int:
        if (back := self._returned.take(received)) is not None:
            return back
        seen = glance(memoryview(received.data)[meta(received.data).offset :], received.transfer_syntax)
        sender = Sender(received.calling_ae, received.called_ae, local(self._store.now()))
        facts = facts_of(seen, sender)
        prior = self._priors.comes(received.study_uid) and received.calling_ae in self._archive_titles
        lane = Lane.PRIOR if prior else lane_of(facts, self._settings.routes)
        lingers_s = self._hurries(received) if lane is Lane.STAT else 0.0
        with self._turns.taken(lane is Lane.STAT, received.study_uid, KEEPING_WAITS_S, lingers_s):
            status, short = self._kept(received, lane, seen, facts)
        if short:
            self._watch.no_room(lane, short)
            self._turns.pause(REFUSAL_WAITS_S)
        return status

    def _hurries(self, received: Received) -> float:
        """An association brings an object of a STAT study: return how long others wait for the next one."""
        study_uid, since = self._urgent.get(received.association, ("", 0.0))
        if study_uid != received.study_uid:
            since = self._clock()
            self._urgent[received.association] = received.study_uid, since
        return LINGER_S if self._clock() < since + STREAMS_S else SHORTLY_S

    def _kept(self, received: Received, lane: Lane, seen: Mapping[int, str], facts: Facts) -> tuple[Status, str]:
        """Keep an object if there is room for it; return its status, and what is short."""
        try:
            with self.room.asked(received.study_uid, lane, len(received.data)) as short:
                status = Status.OUT_OF_RESOURCES if short else self._keep(received, lane, seen, facts)
        except (StoreError, OSError):
            self._completion.refused(received.study_uid, received.association)
            raise
        if short:
            self._completion.refused(received.study_uid, received.association)
        return status, short

    def _keep(self, received: Received, lane: Lane, seen: Mapping[int, str], facts: Facts) -> Status:
        if self._receiving is not None and lane is not Lane.PRIOR:
            self._receiving.begins(received.study_uid, received.association)
        self._completion.touch(received.study_uid, received.association)
        if lane is not Lane.PRIOR:  # of which only some series are wanted
            self._expecting.told(received.study_uid, seen)
        arrival = Arrival(
            received.sop_class_uid,
            received.sop_instance_uid,
            received.study_uid,
            received.transfer_syntax,
            received.calling_ae,
            self._store.spool.put(received.data),
            len(received.data),
            lane,
            series_of(seen),
            trace_id(),
            received.called_ae,
            identity_of(seen),
        )
        effect = self._receipts.admit(arrival)
        self._completion.touch(received.study_uid, received.association, received.sop_class_uid in CLASSIC)
        self._watch.admitted(effect)
        if effect is Effect.NEW:
            self._expecting.arrived(arrival)
            if self._arrived is not None and lane is not Lane.PRIOR:
                file = Stored(self._store.spool.path(arrival.digest), arrival.digest, arrival.bytes)
                self._arrived(received.study_uid, received.sop_class_uid, file_name(arrival.digest), file)
            if lane is not Lane.PRIOR:
                self.ordering.arrived(received.study_uid, arrival.identity.accession, lane)
                self._orders.arrived(received.study_uid, arrival.identity.accession)
                self._priors.arrived(arrival, facts)
        if effect is Effect.CONFLICT:
            log.warning("same SOP Instance UID with other bytes: the first is kept, see the audit table")
            return Status.COERCED
        return Status.SUCCESS

    def hear(self, notice: Notice | Commitment | Request) -> int:
        """Keep what a peer tells; return the status of its N-CREATE, N-SET, N-EVENT-REPORT or N-ACTION.

        Raises
        ------
        StoreError
            It is not durable; the peer must send it again.
        """
        if isinstance(notice, Commitment):
            return self._committed(notice)
        if isinstance(notice, Request):
            return self._asked(notice)
        status = self._expecting.hear(notice)
        log.info("notice", extra={"kind": notice.kind, "state": notice.state, "status": f"0x{status:04X}"})
        self._watch.heard(notice.kind, status)
        return status

    def _asked(self, request: Request) -> int:
        status = self._reporting.hear(request)
        about = {"calling_ae": request.calling_ae, "count": len(request.instances), "status": f"0x{status:04X}"}
        log.info("commitment asked of us", extra=about)
        self._watch.heard("commitment request", status)
        return status

    def _committed(self, answer: Commitment) -> int:
        status = self._store.commitments.hear(answer, self._settings.max_rejections)
        about = {"count": len(answer.kept), "status": f"0x{status:04X}"}
        log.info("commitment", extra=about)
        if answer.failed:
            log.warning("commitment failed", extra={"count": len(answer.failed)})
        self._watch.heard("commitment", status)
        self._wake_outboxes()
        return status

    def _wake_outboxes(self) -> None:
        for loop in self._outboxes:
            loop.wake()

    def association_ended(self, number: int, released: bool) -> None:
        """Complete the studies that only waited for the release of this association."""
        urgent, _ = self._urgent.pop(number, ("", 0.0))
        with self._turns.taken(bool(urgent), urgent, KEEPING_WAITS_S, LINGER_S):
            if self._receiving is not None:
                self._receiving.ended(number)
                self._look_at(self._completion.of(number))
            self._completion.end(number, released)

    def _look_at(self, studies: Iterable[str]) -> None:
        """Hold what is announced against what is here, also by way of others."""
        for study_uid in studies:
            try:
                self._expecting.look(study_uid)
            except StoreError as error:
                log.warning("announcements not read", extra={"reason": str(error)})

    def _hastened(self, study_uid: str) -> None:
        """A study is in a faster lane now, or is read again."""
        self._priors.hurry(study_uid)
        self._look_at([study_uid])
        for loop in (*self._reading, *self._outboxes):
            loop.wake()

    def _answered(self, study_uid: str) -> None:
        """Archives were asked for a study that would have been complete: act on what they said."""
        more_came = self._completion.waits(study_uid) or self._received(study_uid)
        self._completion.adopt(study_uid, patient=False)
        outlook = Outlook.UNKNOWN
        try:
            outlook = self._expecting.look(study_uid)
        except StoreError as error:
            log.warning("announcements not read", extra={"reason": str(error)})
        if outlook is Outlook.UNKNOWN and not more_came:
            self._completion.fulfil(study_uid)

    def _brought(self, study_uid: str, association: int) -> None:
        """All that is wanted of a prior is here, whatever else archives have of its study."""
        self._completion.forget(study_uid)
        self.association_ended(association, released=False)
        self._complete(study_uid, whole=True)

    def _complete(self, study_uid: str, whole: bool = False) -> None:
        if self._priors.comes(study_uid) or (not whole and self._priors.holds(study_uid)):
            return
        if not whole and self._asking.asks(study_uid):
            return
        try:
            lacking = self._expecting.lacking(study_uid)
            job = self._store.studies.complete(study_uid, lacking)
            trace = self._store.studies.trace_id(job) if job is not None else ""
        except StoreError as error:
            log.error("store failed", extra={"reason": str(error)})
            self._completion.touch(study_uid)  # again after the quiet time
            return
        self._expecting.forget(study_uid)
        if job is not None:
            with following(trace):  # of its first object, which another association may have brought
                log.info("study complete", extra={"job": job})
                if lacking:
                    log.warning("study is short", extra={"job": job, **lacking})
            if lacking:
                self._watch.short()
            for loop in self._reading:
                loop.wake()

    def _read(self, worker: Worker, aside: Aside | None) -> float | None:
        if not worker.step() and not (aside and aside.step()):
            waits = (worker.next(), aside.next() if aside else None)
            return min((wait for wait in waits if wait is not None), default=None)
        for loop in (*self._outboxes, self._alerting.loop):
            loop.wake()
        return 0.0

    def _send(
        self, destination: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]
    ) -> list[int]:
        return deliver_to(destination, files, self._settings.ae_title, self._settings.peer_timeout_s, on_status)
