"""What the jobs tell whoever watches them: a person's log and metrics hang here, not in the jobs."""

from __future__ import annotations

from collections.abc import Sequence

from wetread.jobs.instances import Effect
from wetread.jobs.lanes import Lane
from wetread.jobs.states import State
from wetread.records import Reading
from wetread.trace import Span
from wetread.wire.ups import StepState


class Watch:
    """Ignores everything; override what is of interest.  Called from several threads."""

    def admitted(self, effect: Effect) -> None:
        """One object is durable, or was here before."""

    def read(self, readings: Sequence[Reading], seconds: float) -> None:
        """One job was read; `seconds` is the wall time of the reader."""

    def no_room(self, lane: Lane, short: str) -> None:
        """One object was refused for want of "studies", "bytes" or "disk"."""

    def answered_for(self, lane: Lane, seconds: float, late: bool) -> None:
        """One study has its result, `seconds` after its first object; `late`: after the deadline of its lane."""

    def heard(self, kind: str, status: int) -> None:
        """One notice was answered: an IAN, an N-CREATE or N-SET of an MPPS, a commitment or a request for one."""

    def messaged(self, kind: str, code: str) -> None:
        """One HL7 message was acknowledged: its type and event, and AA, AE or AR."""

    def reported(self, kept: int, failed: int) -> None:
        """A peer took our report: we commit ourselves to so many instances, and not to so many others."""

    def degraded(self, step: str, yes: bool) -> None:
        """From now on a step of `degrade` is in force, or is so no more."""

    def asked(self, archive: str, outcome: str) -> None:
        """One archive was asked for a study: "told", "unknown" (it has none of it) or "failed"."""

    def short(self) -> None:
        """One study is read although more of it was announced than came."""

    def set_aside(self, readings: Sequence[Reading]) -> None:
        """One job was given up, and its refusals were made."""

    def crashed(self) -> None:
        """One reading ended with an error."""

    def ended(self, state: State) -> None:
        """One job reached a terminal state; FAILED is an alarm."""

    def performed(self, state: StepState) -> None:
        """One work item that we performed ended: COMPLETED or CANCELED."""

    def removed(self, why: str) -> None:
        """The blobs of one study were deleted, for their "age" or for "space"."""

    def away(self, destination: str, yes: bool) -> None:
        """The breaker of a destination opened (it is away or full: nothing goes there but tries), or closed."""

    def sent(self, destination: str, outcome: str) -> None:
        """One delivery was tried: "stored", "rejected", "dead" (the last time), "blocked", "full" or "unreachable"."""

    def alerted(self, outcome: str) -> None:
        """One alert was "told", "failed" (not taken), "acknowledged", "escalated" or "unanswered" (an alarm)."""

    def span(self, span: Span) -> None:
        """One piece of work for a study, or an association, is over; it must not wait, nor fail."""
