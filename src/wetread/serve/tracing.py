"""Spans on their way to an OpenTelemetry collector; imported only where one is configured.

Nobody waits for the collector: a span is dropped, and counted, when too many wait or it does not take them.

References
----------
OpenTelemetry Protocol 1.x: OTLP/HTTP, binary Protobuf encoding.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from wetread import __version__
from wetread.records import WITHIN
from wetread.trace import Span, root_span_id

MOST = 4096  # spans that wait; a study has about twenty
BATCH = 512
EVERY_S = 2.0  # between two looks whether some wait
TIMEOUT_S = 3.0  # for one batch, with its retries
GRACE_S = 2.0  # for what still waits at the end

KINDS = {"association": SpanKind.SERVER, "deliver": SpanKind.CLIENT}
#: What became of a delivery, where that is an error.
FAILED = ("rejected", "dead", "blocked", "full", "unreachable")


class Collector:
    """Sends spans to a collector from a thread of its own.

    Parameters
    ----------
    endpoint
        Base URL of the collector, such as http://127.0.0.1:4318.
    on_dropped
        Told how many spans did not reach it.
    """

    def __init__(self, endpoint: str, on_dropped: Callable[[int], None]) -> None:
        self._on_dropped = on_dropped
        self._room = threading.BoundedSemaphore(MOST)
        self._ids = RandomIdGenerator()
        self._resource = Resource(
            {"service.name": "wetread", "service.version": __version__, "host.name": socket.gethostname()}
        )
        session = requests.Session()
        session.trust_env = False  # neither a proxy nor ~/.netrc of whoever starts the node
        self._exporter = _Counting(
            OTLPSpanExporter(
                f"{endpoint.rstrip('/')}/v1/traces",
                timeout=TIMEOUT_S,
                compression=Compression.NoCompression,
                session=session,
            ),
            self._left,
        )
        self._processor = BatchSpanProcessor(self._exporter, MOST, EVERY_S * 1000.0, BATCH, TIMEOUT_S * 1000.0)

    def take(self, span: Span) -> None:
        """Take a span and its parts; never waits."""
        root = int(root_span_id(span.trace_id), 16)
        mine = root if span.root else self._ids.generate_span_id()
        begin_ns, outer = span.begin_ns, self._context(span, mine)
        self._put(span.name, outer, None if span.root else self._context(span, root), span)
        laid: dict[str, tuple[int, SpanContext]] = {}
        for name, seconds in sorted(span.parts.items(), key=lambda part: part[0] in WITHIN):
            start_ns, parent = laid.get(WITHIN.get(name, ""), (begin_ns, outer))
            part = Span(name, span.trace_id, start_ns, start_ns + int(seconds * 1e9), {})
            laid[name] = start_ns, self._context(span, self._ids.generate_span_id())
            self._put(name, laid[name][1], parent, part)
            begin_ns = part.end_ns if parent is outer else begin_ns

    def stop(self) -> None:
        """Send what waits for at most `GRACE_S`, then drop the rest."""
        cut = threading.Timer(GRACE_S, self._exporter.shutdown)
        cut.start()
        self._processor.shutdown()  # type: ignore[no-untyped-call]
        cut.cancel()

    def _context(self, span: Span, span_id: int) -> SpanContext:
        return SpanContext(int(span.trace_id, 16), span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

    def _put(self, name: str, context: SpanContext, parent: SpanContext | None, span: Span) -> None:
        if not self._room.acquire(blocking=False):
            self._on_dropped(1)
            return
        failed = "error" in span.about or span.about.get("outcome") in FAILED
        self._processor.on_end(
            ReadableSpan(  # a tracer would choose the ids; these are known
                name,
                context,
                parent,
                self._resource,
                {f"wetread.{key}": value for key, value in span.about.items()},
                kind=KINDS.get(name, SpanKind.INTERNAL),
                status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
                start_time=span.begin_ns,
                end_time=span.end_ns,
            )
        )

    def _left(self, number: int, arrived: bool) -> None:
        """So many spans wait no more."""
        self._room.release(number)
        if not arrived:
            self._on_dropped(number)


class _Counting(SpanExporter):
    """An exporter that tells what became of each batch."""

    def __init__(self, exporter: SpanExporter, on_batch: Callable[[int, bool], None]) -> None:
        self._exporter = exporter
        self._on_batch = on_batch
        self._once = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        self._on_batch(len(spans), result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        if self._once.acquire(blocking=False):
            self._exporter.shutdown()
