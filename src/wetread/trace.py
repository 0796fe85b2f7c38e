"""Which study, or association, a thread works for now: one trace id from receipt to delivery.

The id is a context variable, so that each thread has its own and no call has to hand it on.  What is timed becomes
a `Span`; who wants spans is told, and nothing here knows where they go.

References
----------
W3C Trace Context, Section 3.2.2.3 (trace-id) and 3.2.2.4 (parent-id); OpenTelemetry Specification, Trace (Span).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_current: ContextVar[str] = ContextVar("trace_id", default="")

#: Of a span: numbers and codes, never anything of a patient, UIDs included.
About = dict[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work that is over."""

    name: str
    trace_id: str  # 32 hexadecimal digits
    begin_ns: int  # since the epoch
    end_ns: int
    about: About
    parts: Mapping[str, float] = field(default_factory=dict)  # what it consisted of, s each, in order
    root: bool = False  # the association that every other span of the trace hangs below


def new_trace_id() -> str:
    """Return 32 random hexadecimal digits, lower case."""
    return secrets.token_hex(16)


def root_span_id(trace_id: str) -> str:
    """Return the id of a trace's root, 16 hexadecimal digits: it follows from the trace, so nobody has to keep it."""
    return trace_id[16:]


def trace_id() -> str:
    """Return the trace that this thread works for, or ""."""
    return _current.get()


@contextmanager
def following(trace: str) -> Iterator[None]:
    """Work for a trace, or with "" for none, while what is inside runs."""
    token = _current.set(trace)
    try:
        yield
    finally:
        _current.reset(token)


@dataclass(slots=True)
class Step:
    """What may be said of a piece of work while it runs."""

    about: About
    parts: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def step(name: str, told: Callable[[Span], None], **about: str | int | float | bool) -> Iterator[Step]:
    """Time what runs inside, also when it fails, for the trace of this thread.

    Parameters
    ----------
    told
        Gets the span, unless the thread works for no trace.
    about
        Of the span.
    """
    begin_ns = time.time_ns()
    made = Step(about)
    try:
        yield made
    except Exception as error:
        made.about["error"] = type(error).__name__  # never its text: it may repeat data
        raise
    finally:
        if trace := trace_id():
            told(Span(name, trace, begin_ns, time.time_ns(), made.about, made.parts))
