"""What a node leaves out while it is behind its deadlines: one declared step after the other, and back.

A node is behind while a study that it could have read has been late for `degrade_after_s`: it is past the
deadline of its lane, and complete.  A study that was sent too slowly is not the node's fault, nor is one that
crashed and waits for another try.  Then the next step of `degrade` comes into force, and another one each time
it is still behind after as long again.  The last step ends when for `degrade_after_s` no study has waited past
half of what its lane allows; so a node at the edge does not swing.

Which steps are in force is known to this process alone, and forgotten when it ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from wetread.jobs.lanes import deadlines_s
from wetread.jobs.overview import Overview
from wetread.jobs.watch import Watch
from wetread.settings import Settings

log = logging.getLogger("wetread.jobs")

#: The share of a lane's time beyond which a study that waits keeps the steps in force, once it has waited so for
#: this share of `degrade_after_s`: what was sent slowly is past it when it comes, and read within seconds.
CALM, TOLERANCE = 0.5, 0.25


class Strain:
    """The steps that are in force now.

    Attributes
    ----------
    steps
        Names of `wetread.settings.STEPS`, in the order in which they came into force.

    Parameters
    ----------
    settings
        `degrade`, `degrade_after_s` and the deadlines by lane are used.
    clock
        Monotonic seconds.
    """

    def __init__(
        self, overview: Overview, settings: Settings, watch: Watch, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.steps: tuple[str, ...] = ()
        self._overview = overview
        self._order = settings.steps
        self._after_s = settings.degrade_after_s
        self._deadlines = deadlines_s(settings)
        self._half = {lane: CALM * seconds for lane, seconds in self._deadlines.items()}
        self._watch = watch
        self._clock = clock
        self._changed = clock() - self._after_s  # when a step last began or ended
        self._busy = 0.0  # when it was last not calm

    def look(self) -> None:
        """Enter or leave one step, if it is time to.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        now, late_s = self._clock(), self._overview.late_s(self._deadlines)
        if late_s >= self._after_s:
            self._busy = now
            if now - self._changed >= self._after_s and len(self.steps) < len(self._order):
                self._enter(self._order[len(self.steps)], late_s)
        elif self.steps and self._overview.late_s(self._half) >= TOLERANCE * self._after_s:
            self._busy = now
        elif self.steps and now - max(self._busy, self._changed) >= self._after_s:
            self._leave(self.steps[-1])

    def _enter(self, step: str, late_s: float) -> None:
        self.steps = (*self.steps, step)
        self._changed = self._clock()
        self._watch.degraded(step, True)
        log.warning("behind its deadlines: step begins", extra={"step": step, "seconds": round(late_s, 1)})

    def _leave(self, step: str) -> None:
        self.steps = self.steps[:-1]
        self._changed = self._clock()
        self._watch.degraded(step, False)
        log.warning("in time again: step ends", extra={"step": step})
