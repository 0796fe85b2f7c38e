"""Tells of critical findings: one target after the other, until somebody acknowledges or all were told in vain."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable

from wetread.errors import PeerRefused, PeerUnreachable, SettingsError, StoreError, WetreadError
from wetread.jobs.alerts import Pending, Told
from wetread.jobs.loop import Loop
from wetread.jobs.retry import Backoff, Breaker, RetryClock
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.routes import Alert, is_hook
from wetread.settings import Destination, Settings
from wetread.trace import following
from wetread.wire import webhook
from wetread.wire.deliver import STORED, deliver

log = logging.getLogger("wetread.jobs")

LEASE = "alerts"
ELSEWHERE_S = 5.0  # until this process looks again whether another still tells

#: Brings an alert to one target; raises where it was not taken.
Tell = Callable[[str, Alert, Pending], None]


class Alerting:
    """The alerts of one node, one after the other.

    A turn begins when its target is tried first, and lasts `within_s`, also if the target is away: then the next one
    is told.  Times are kept across a restart; a clock that jumps shortens or lengthens no turn of this process.

    Parameters
    ----------
    settings
        `alerts`, `destinations`, `ae_title`, `peer_timeout_s` and `retry_*` are used.
    tell
        How a target is told; HL7 or a webhook by default.
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
        self._rules = {rule.name: rule for rule in settings.alerts}
        self._watch = watch
        self._tell = tell or self._bring
        self._clock = clock
        self._backoff = Backoff(settings.retry_first_s, settings.retry_most_s)
        self._retry = RetryClock(self._backoff)  # by alert
        self._breakers: dict[str, Breaker] = {}  # by target: who is silent keeps no other alert waiting
        self._ends: dict[tuple[int, int], float] = {}  # alert and step -> when its turn is over
        self._took: set[tuple[int, int]] = set()  # alert and step: taken, and perhaps not recorded
        self._unreached = False  # a target, in the present step
        self._until = 0.0  # what is known already is left to other nodes, by the clock
        self.loop = Loop("wetread-alerting", self.step)

    def step(self) -> float | None:
        """Do what is due of every alert.

        Returns
        -------
        float or None
            How long until the next is due, s; None if nothing waits.

        Raises
        ------
        StoreError
            The index cannot be read or written now.
        """
        pending = self._store.alerts.pending()
        if pending and self._store.shared:
            known = all((one.id, one.step) in self._ends for one in pending)
            if known and (wait := self._until - self._clock()) > 0:
                return wait
            if not self._store.leases.acquire(LEASE):
                return ELSEWHERE_S
        self._ends = {key: self._ends[key] for one in pending if (key := (one.id, one.step)) in self._ends}
        self._took &= self._ends.keys()
        failure = None
        for alert in pending:
            try:
                with following(self._store.studies.trace_id(alert.job)):
                    self._one(alert)
            except StoreError as error:  # what cannot be recorded keeps no other from being told
                failure = error
        if failure is not None:
            raise failure
        now = self._clock()
        waits = [end - now for end in self._ends.values()]
        retry = self._retry.next(now)
        waits += [retry] if retry is not None else []
        waits += [wait for one in self._breakers.values() if (wait := one.wait_s(now))]
        wait_s = max(0.01, min(waits)) if self._ends else None
        if self._unreached and self._store.shared:  # another node may reach whom this one does not
            self._store.leases.give_back((LEASE,), LEASE)
            self._until = now + (wait_s or 0.0)
        self._unreached = False
        return wait_s

    def _one(self, alert: Pending) -> None:
        rule, now = self._rules.get(alert.rule), self._clock()
        if rule is None or alert.step >= len(rule.to):
            self._unanswered(alert)
            return
        key = (alert.id, alert.step)
        if key not in self._ends:  # what passed before a restart counts
            self._ends[key] = now + max(0.0, min(rule.within_s, alert.begun_at + rule.within_s - self._store.now()))
            if alert.step == 0 and not alert.told and self._ends[key] == now:
                self._ends[key] = now + rule.within_s  # nobody was tried yet: it was down all the time
        if self._ends[key] <= now:
            self._retry.succeeded(alert.id)
            self._escalate(alert, rule)
        elif not alert.told and key in self._took:
            self._record(alert, rule)
        elif not (alert.told or alert.id in self._retry.waiting(now) or self._breaker(alert, rule).wait_s(now)):
            self._try(alert, rule)

    def _breaker(self, alert: Pending, rule: Alert) -> Breaker:
        return self._breakers.setdefault(rule.to[alert.step], Breaker(self._backoff))

    def _try(self, alert: Pending, rule: Alert) -> None:
        about = {"job": alert.job, "rule": rule.name, "target": _name(rule.to[alert.step])}
        try:
            self._tell(rule.to[alert.step], rule, alert)
        except Exception as error:  # noqa: BLE001 - what nobody foresaw over one alert must not hold the others up
            if isinstance(error, PeerUnreachable):
                self._unreached = True
                self._breaker(alert, rule).failed(self._clock())
            else:
                self._retry.failed(alert.id, self._clock())
            self._watch.alerted("failed")
            reason = str(error) if isinstance(error, WetreadError) else type(error).__name__
            log.warning("alert not taken", extra={**about, "reason": reason})
            return
        self._retry.succeeded(alert.id)
        self._breaker(alert, rule).succeeded()
        self._watch.alerted("told")
        log.info("alert told", extra=about)
        self._took.add((alert.id, alert.step))
        self._record(alert, rule)

    def _record(self, alert: Pending, rule: Alert) -> None:
        """Record that whose turn it is took it; where that fails, the next step does."""
        if rule.acknowledged_by == "answer":
            self._store.alerts.end(alert, Told.ACKNOWLEDGED)
            self._watch.alerted("acknowledged")
        else:
            self._store.alerts.told(alert)

    def _escalate(self, alert: Pending, rule: Alert) -> None:
        if alert.step + 1 >= len(rule.to):
            self._unanswered(alert)
            return
        self._store.alerts.escalate(alert)
        self._watch.alerted("escalated")
        log.warning("alert not acknowledged: the next is told", extra={"job": alert.job, "rule": rule.name})
        self.loop.wake()

    def _unanswered(self, alert: Pending) -> None:
        if self._store.alerts.end(alert, Told.UNANSWERED):
            self._watch.alerted("unanswered")
            log.error("alert not acknowledged by anyone", extra={"job": alert.job, "rule": alert.rule})

    def _bring(self, target: str, rule: Alert, alert: Pending) -> None:
        timeout_s = self._settings.peer_timeout_s
        if is_hook(target):
            key, now = webhook.key_of(rule.secret), int(self._store.now())
            webhook.post(target, _identifier(alert), alert.body, key, now, timeout_s)
            return
        place = self._destination(target)
        item = alert.bundle if place.protocol == "fhir" else alert.message
        if not item:
            told = "expected a message; the image names no patient, it is in doubt who that is, or our check failed"
            raise PeerRefused(f"{target}: {told}")
        (status,) = deliver(place, [item], self._settings.ae_title, timeout_s)
        if status not in STORED:
            raise PeerRefused(f"{target}: expected it to be taken, got a rejection (0x{status:04X})")

    def _destination(self, name: str) -> Destination:
        found = next((one for one in self._settings.destinations if name in one.names), None)
        if found is None:
            raise SettingsError(f"alerts: no destination {name!r}")
        return found


def _identifier(alert: Pending) -> str:
    """By which a webhook knows the alert again; it tells nothing of the token."""
    return f"alert_{hashlib.sha256(alert.token.encode()).hexdigest()[:32]}"


def _name(target: str) -> str:
    """A target for the log: of a webhook only its host, as its path may be a secret."""
    return target.split("/")[2] if is_hook(target) else target
