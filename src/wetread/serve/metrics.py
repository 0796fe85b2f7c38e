"""What is counted, in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from wetread.errors import DECODER_ENDS
from wetread.jobs.instances import Effect
from wetread.jobs.lanes import Lane
from wetread.jobs.retention import free_bytes
from wetread.jobs.states import TERMINAL, Delivery, State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.records import Reading
from wetread.settings import STEPS
from wetread.trace import Span
from wetread.wire.acknowledge import Ack
from wetread.wire.dimse import STORED, Refusal
from wetread.wire.ordering import TYPES
from wetread.wire.ups import StepState

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics(Watch):
    """The counters of one node; give it to the jobs as their watch.

    Parameters
    ----------
    on_span
        Gets the spans, which are not counted here.
    """

    def __init__(self, on_span: Callable[[Span], None] = lambda span: None) -> None:
        self._on_span = on_span
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)  # process_resident_memory_bytes and others
        self._received = Counter("wetread_objects_received", "Objects that came, C-STORE or STOW-RS", registry=registry)
        self._acknowledged = Counter("wetread_objects_acknowledged", "Objects answered as stored", registry=registry)
        self._refused = Counter(
            "wetread_objects_refused", "Objects answered with a failure", ["status"], registry=registry
        )
        self._turned_away = Counter(
            "wetread_associations_refused", "Connections that got no association", ["reason"], registry=registry
        )
        self._effects = Counter("wetread_objects_effects", "What objects changed", ["effect"], registry=registry)
        self._stages = Histogram(
            "wetread_stage_seconds",
            "Wall time of a stage of a reading",
            ["stage"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._readings = Histogram(
            "wetread_reading_seconds", "Wall time of the reading of a study", buckets=BUCKETS_S, registry=registry
        )
        self._foreseen = Counter(
            "wetread_slices_foreseen",
            "Slices that a model had answered before their study was complete",
            registry=registry,
        )
        self._lanes = Histogram(
            "wetread_result_seconds",
            "From the first object of a study to its result, by lane",
            ["lane"],
            buckets=(*BUCKETS_S, 60.0, 300.0, 600.0, 1800.0, 3600.0),
            registry=registry,
        )
        self._late = Counter(
            "wetread_deadlines_missed", "Results after their lane's deadline", ["lane"], registry=registry
        )
        self._no_room = Counter(
            "wetread_no_room", "Objects refused for want of room", ["lane", "short"], registry=registry
        )
        self._degraded = Gauge(
            "wetread_degraded", "1 while a step is in force, as studies are late", ["step"], registry=registry
        )
        for step in STEPS:
            self._degraded.labels(step).set(0)
        self._short = Counter(
            "wetread_studies_short", "Studies read although more of them was announced than came", registry=registry
        )
        self._notices = Counter(
            "wetread_notices",
            "IAN, MPPS and commitment messages by their answer",
            ["kind", "status"],
            registry=registry,
        )
        self._messages = Counter(
            "wetread_hl7_messages", "HL7 messages by their acknowledgement", ["type", "ack"], registry=registry
        )
        self._cut_off = Counter(
            "wetread_hl7_connections_refused", "HL7 connections that were cut off", ["reason"], registry=registry
        )
        self._commitments = Counter(
            "wetread_commitments", "Instances that peers were told we keep, or not", ["outcome"], registry=registry
        )
        self._alerts = Counter("wetread_alerts", "Critical findings: told, or not", ["outcome"], registry=registry)
        self._queries = Counter(
            "wetread_queries",
            "Questions for the size of a study, or for its order",
            ["archive", "outcome"],
            registry=registry,
        )
        self._results = Counter("wetread_results", "Results by refusal code", ["refusal"], registry=registry)
        self._not_read = Counter(
            "wetread_not_read",
            "Models that did not read an image that others read",
            ["model", "refusal"],
            registry=registry,
        )
        self._instead = Counter(
            "wetread_engine_fallbacks",
            "Answers that another engine gave, as the chosen one failed",
            ["model", "instead_of"],
            registry=registry,
        )
        self._crashes = Counter("wetread_readings_crashed", "Readings that crashed", registry=registry)
        self._decoders = Counter(
            "wetread_decoders_ended", "Processes that died over what they parsed or decoded", ["why"], registry=registry
        )
        self._ended = Counter("wetread_jobs_ended", "Jobs by terminal state", ["state"], registry=registry)
        self._performed = Counter(
            "wetread_workitems_performed", "Work items that the node performed", ["state"], registry=registry
        )
        self._sent = Counter(
            "wetread_deliveries", "Deliveries by destination", ["destination", "outcome"], registry=registry
        )

        self._removed = Counter(
            "wetread_studies_removed", "Studies whose blobs were deleted after delivery", ["why"], registry=registry
        )

        self._spans_dropped = Counter("wetread_spans_dropped", "Spans that no collector got", registry=registry)

        self._away = Gauge(
            "wetread_destination_away", "1 while a destination is away or full", ["destination"], registry=registry
        )
        self._begin()

    def _begin(self) -> None:
        """Put what is counted at 0: of a series that appears with its first alarm Prometheus sees no increase."""
        beginnings: tuple[tuple[Counter, Iterable[tuple[str, ...]]], ...] = (
            (self._refused, [("0xA700",)]),
            (self._turned_away, [(refusal.value,) for refusal in Refusal]),
            (self._late, [(lane.name,) for lane in Lane]),
            (self._no_room, product([lane.name for lane in Lane], ("studies", "bytes", "disk"))),
            (self._messages, product((*TYPES, "other"), Ack)),
            (self._commitments, [("kept",), ("failed",)]),
            (self._alerts, [(outcome,) for outcome in ("told", "failed", "acknowledged", "escalated", "unanswered")]),
            (self._decoders, [(why,) for why in DECODER_ENDS]),
            (self._ended, [(state.value,) for state in TERMINAL]),
            (self._removed, [("age",), ("space",)]),
        )
        for counter, series in beginnings:
            for labels in series:
                counter.labels(*labels)

    def observe(self, store: Store, ready: Callable[[], bool], associations: Callable[[], int]) -> None:
        """Let the state of a node be read whenever the metrics are."""
        self.registry.register(_Depths(store, ready, associations))

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return generate_latest(self.registry)

    def answered(self, status: int) -> None:
        """One object was answered, by C-STORE or STOW-RS."""
        self._received.inc()
        if status in STORED:
            self._acknowledged.inc()
        else:
            self._refused.labels(f"0x{status:04X}").inc()

    def turned_away(self, refusal: Refusal) -> None:
        """One connection got no association."""
        self._turned_away.labels(refusal.value).inc()

    def admitted(self, effect: Effect) -> None:
        """One object is durable, or was here before."""
        self._effects.labels(effect.value).inc()

    def read(self, readings: Sequence[Reading], seconds: float) -> None:
        """One job was read."""
        self._readings.observe(seconds)
        self._count(readings)
        for reading in readings:
            self._foreseen.inc(reading.foreseen)
            for timing in reading.timings:
                self._stages.labels(timing.stage).observe(timing.ms / 1000.0)

    def no_room(self, lane: Lane, short: str) -> None:
        """One object was refused for want of room."""
        self._no_room.labels(lane.name, short).inc()

    def answered_for(self, lane: Lane, seconds: float, late: bool) -> None:
        """One study has its result."""
        self._lanes.labels(lane.name).observe(seconds)
        self._late.labels(lane.name).inc(late)

    def heard(self, kind: str, status: int) -> None:
        """One notice was answered."""
        self._notices.labels(kind, f"0x{status:04X}").inc()

    def messaged(self, kind: str, code: str) -> None:
        """One HL7 message was acknowledged."""
        self._messages.labels(kind, code).inc()

    def cut_off(self, refusal: Refusal) -> None:
        """One HL7 connection was cut off."""
        self._cut_off.labels(refusal.value).inc()

    def reported(self, kept: int, failed: int) -> None:
        """A peer took our report."""
        self._commitments.labels("kept").inc(kept)
        self._commitments.labels("failed").inc(failed)

    def degraded(self, step: str, yes: bool) -> None:
        """One step begins or ends."""
        self._degraded.labels(step).set(yes)

    def alerted(self, outcome: str) -> None:
        """One alert went on."""
        self._alerts.labels(outcome).inc()

    def asked(self, archive: str, outcome: str) -> None:
        """One archive was asked."""
        self._queries.labels(archive, outcome).inc()

    def short(self) -> None:
        """One study is read with less than was announced."""
        self._short.inc()

    def set_aside(self, readings: Sequence[Reading]) -> None:
        """One job was given up."""
        self._count(readings)

    def _count(self, readings: Sequence[Reading]) -> None:
        for reading in readings:
            self._results.labels(reading.result.refusal.code if reading.result.refusal else "").inc()
            refused = [one.model for one in reading.result.not_read]
            for model in (*reading.result.models, *refused):
                if model.instead_of:
                    self._instead.labels(model.id, model.instead_of).inc()
            for one in reading.result.not_read:
                self._not_read.labels(one.model.id, one.refusal.code).inc()

    def crashed(self) -> None:
        """One reading ended with an error."""
        self._crashes.inc()

    def decoder_ended(self, why: str) -> None:
        """One process that decodes died over a job."""
        self._decoders.labels(why).inc()

    def ended(self, state: State) -> None:
        """One job reached a terminal state."""
        self._ended.labels(state.value).inc()

    def performed(self, state: StepState) -> None:
        """One work item that we performed ended."""
        self._performed.labels(state.value).inc()

    def removed(self, why: str) -> None:
        """The blobs of one study were deleted."""
        self._removed.labels(why).inc()

    def away(self, destination: str, yes: bool) -> None:
        """The breaker of a destination opened or closed."""
        self._away.labels(destination).set(yes)

    def span(self, span: Span) -> None:
        """One piece of work is over."""
        self._on_span(span)

    def spans_dropped(self, number: int) -> None:
        """So many spans did not reach the collector."""
        self._spans_dropped.inc(number)

    def sent(self, destination: str, outcome: str) -> None:
        """One document was tried."""
        self._sent.labels(destination, outcome).inc()


class _Depths(Collector):
    """Reads the store at each scrape."""

    def __init__(self, store: Store, ready: Callable[[], bool], associations: Callable[[], int]) -> None:
        self._store = store
        self._ready = ready
        self._associations = associations

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Declare nothing beforehand: the store may not be open yet."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the present values."""
        yield GaugeMetricFamily("wetread_ready", "1 when models are loaded and the store is open", float(self._ready()))
        yield GaugeMetricFamily("wetread_associations", "Associations now", float(self._associations()))
        free = float(free_bytes(self._store.spool.root))
        yield GaugeMetricFamily("wetread_free_bytes", "What may still be written where the blobs lie", free)
        yield from _reviewed(self._store)
        jobs = GaugeMetricFamily("wetread_jobs", "Jobs by state", labels=["state"])
        for state, number in self._store.overview.counts().items():
            jobs.add_metric([state], number)
        yield jobs
        yield GaugeMetricFamily(
            "wetread_oldest_job_seconds", "Age of the oldest unended job", self._store.overview.oldest_s()
        )
        waiting = GaugeMetricFamily("wetread_lane_depth", "Studies without a result yet", labels=["lane"])
        since = GaugeMetricFamily("wetread_lane_oldest_seconds", "Age of the oldest of them", labels=["lane"])
        for lane, (number, oldest_s) in self._store.overview.lanes().items():
            waiting.add_metric([lane.name], number)
            since.add_metric([lane.name], oldest_s)
        yield waiting
        yield since
        depth = GaugeMetricFamily("wetread_outbox_depth", "Documents that wait", labels=["destination"])
        age = GaugeMetricFamily("wetread_outbox_oldest_seconds", "Age of the oldest of them", labels=["destination"])
        for destination, (number, oldest_s) in self._store.overview.depths().items():
            depth.add_metric([destination], number)
            age.add_metric([destination], oldest_s)
        asked, since_s = self._store.requests.depth()
        yield GaugeMetricFamily("wetread_commitment_requests", "Requests for commitment without a report", float(asked))
        yield GaugeMetricFamily("wetread_commitment_requests_oldest_seconds", "Age of the oldest of them", since_s)
        items = GaugeMetricFamily("wetread_workitems", "Work items on the list of the node, by state", labels=["state"])
        for state, number in self._store.worklist.depths().items():
            items.add_metric([state], number)
        yield items
        kept_back = float(len(self._store.withholding.undecided()))
        yield GaugeMetricFamily("wetread_withheld", "Jobs whose documents wait for a person to look", kept_back)
        dead = GaugeMetricFamily(
            "wetread_outbox_dead", "Documents given up, until a person sends them again", labels=["destination"]
        )
        for destination, (number, _) in self._store.overview.depths(Delivery.DEAD).items():
            dead.add_metric([destination], number)
        yield dead
        blocked = GaugeMetricFamily(
            "wetread_outbox_blocked", "Images that may not leave de-identified", labels=["destination", "reason"]
        )
        for (destination, reason), number in self._store.overview.blocked().items():
            blocked.add_metric([destination, reason], number)
        yield blocked
        yield depth
        yield age


def _reviewed(store: Store) -> Iterator[GaugeMetricFamily]:
    """Yield what persons decided about results: of each report the last review counts."""
    decided = GaugeMetricFamily("wetread_reviews", "Reviews by decision", labels=["decision"])
    for decision, number in store.reviews.decisions().items():
        decided.add_metric([decision], number)
    yield decided
    found = store.reviews.counts()
    rates = [
        GaugeMetricFamily(f"wetread_review_{name}", text, labels=["model"])
        for name, text in (
            ("agreement", "Share of reviewed findings in which persons agree with the model"),
            ("override", "Share of reviewed findings in which persons do not"),
            ("ppv", "Positive predictive value: share of findings called present in which persons agree"),
        )
    ]
    for model in sorted({model for model, _, _ in found}):
        agreed = found[model, True, True] + found[model, False, False]
        other = found[model, True, False] + found[model, False, True]
        if agreed + other:
            rates[0].add_metric([model], agreed / (agreed + other))
            rates[1].add_metric([model], other / (agreed + other))
        if called := found[model, True, True] + found[model, True, False]:
            rates[2].add_metric([model], found[model, True, True] / called)
    yield from rates
