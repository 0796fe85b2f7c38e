"""The words a job goes through, and which may follow which.  Declared here and nowhere else.

::

    RECEIVED <--> COMPLETE --> READING --> READ --> DELIVERED    results are at every destination
        objects    waits to      |  ^        `----> REFUSED      no result, for a coded reason;
        arrive     be read       v  |                            that document is delivered too
                               COMPLETE ----------> FAILED       needs a person: alarm; its refusals
                                                                 are delivered, and change nothing
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of one job: one version of one study."""

    RECEIVED = "RECEIVED"
    COMPLETE = "COMPLETE"
    READING = "READING"
    READ = "READ"
    DELIVERED = "DELIVERED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


TERMINAL = frozenset((State.DELIVERED, State.REFUSED, State.FAILED))

#: What may become what: new state -> states it may follow.
MAY_FOLLOW: dict[State, frozenset[State]] = {
    State.RECEIVED: frozenset((State.COMPLETE,)),  # one more object before the reading began
    State.COMPLETE: frozenset((State.RECEIVED, State.READING)),  # the latter: another try
    State.READING: frozenset((State.COMPLETE,)),
    State.READ: frozenset((State.READING,)),
    State.DELIVERED: frozenset((State.READ,)),
    State.REFUSED: frozenset((State.READ,)),
    State.FAILED: frozenset((State.READING,)),
}


class Delivery(StrEnum):
    """The state of one document on its way to one destination."""

    QUEUED = "QUEUED"
    SENT = "SENT"  # the destination confirmed it
