"""The words a job goes through, and which may follow which.  Declared here and nowhere else.

::

    RECEIVED <--> COMPLETE --> READING --> READ --> DELIVERED    results are at every destination
        objects    waits to      |  ^        |----> REFUSED      no result, for a coded reason;
        arrive     be read       v  |        |                   that document is delivered too
                               COMPLETE      `----> FAILED       a destination never took a document: alarm
                                 READING ---------> FAILED       needs a person: alarm; its refusals
                                                                 are delivered, and change nothing

What an order contradicts is FAILED too, and its documents are withheld (`wetread.jobs.withholding`).
What the node pulled itself as a prior, read and sent nowhere, goes round again (COMPLETE) when somebody sends it.
A person may send a FAILED job round again (COMPLETE, or READ if only its delivery failed), and may end one
that waits, or has seen to one that FAILED, as CANCELED.

References
----------
PS3.4 Table CC.1.1-2: the states of a unified procedure step, into which `PROCEDURE_STEP` puts ours.
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
    CANCELED = "CANCELED"


TERMINAL = frozenset((State.DELIVERED, State.REFUSED, State.FAILED, State.CANCELED))

#: What may become what: new state -> states it may follow.
MAY_FOLLOW: dict[State, frozenset[State]] = {
    State.RECEIVED: frozenset((State.COMPLETE,)),  # one more object before the reading began
    #: READING and FAILED: another try; the ended ones: what was read as a prior only, and now somebody sent.
    State.COMPLETE: frozenset((State.RECEIVED, State.READING, State.FAILED, State.DELIVERED, State.REFUSED)),
    State.READING: frozenset((State.COMPLETE,)),
    State.READ: frozenset((State.READING, State.FAILED)),  # the latter: a person sends its documents again
    State.DELIVERED: frozenset((State.READ,)),
    State.REFUSED: frozenset((State.READ,)),
    State.FAILED: frozenset((State.READING, State.READ)),
    # A FAILED one when a person has seen to it, or discards its documents, which are withheld.
    State.CANCELED: frozenset((State.RECEIVED, State.COMPLETE, State.READ, State.FAILED)),
}

#: The standard's word for each state.
PROCEDURE_STEP: dict[State, str] = {
    State.RECEIVED: "SCHEDULED",
    State.COMPLETE: "SCHEDULED",
    State.READING: "IN PROGRESS",
    State.READ: "IN PROGRESS",
    State.DELIVERED: "COMPLETED",
    State.REFUSED: "COMPLETED",
    State.FAILED: "CANCELED",
    State.CANCELED: "CANCELED",
}


class Delivery(StrEnum):
    """The state of one document, or received object, on its way to one destination."""

    QUEUED = "QUEUED"
    SENT = "SENT"  # the destination confirmed it
    DEAD = "DEAD"  # rejected so often that only a person can send it again
    WITHHELD = "WITHHELD"  # an order is about another patient: it waits for a person
    BLOCKED = "BLOCKED"  # it may not leave de-identified, for a reason: nothing waits for it
    CANCELED = "CANCELED"  # a person gave it up
