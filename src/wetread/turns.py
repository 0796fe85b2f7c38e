"""Who goes first: work that can wait pauses between its steps while some that cannot is under way.

Threads share the cores, and the interpreter: each one more that runs makes all others wait for it more often.  Whoever
is in a hurry works inside `first`; everybody else calls `pause` wherever they could stop for a moment.  A pause waits
only for those who were in a hurry when it began, so between any two of them everybody makes one more step, and nobody
is ever starved.

What is urgent passes through several hands: received, read, sent.  Who hands it on lingers for a moment, so that
nobody else begins something in between; the next hand of the same thing goes on with the same turn.

What need not be done yet is done only while there is time to `spare`.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

#: Nobody's thread: that of a turn whose next hand has not come yet.
_NOBODY = 0


@dataclass(frozen=True, slots=True)
class _Turn:
    of: str
    thread: int
    until: float  # monotonic seconds; afterwards nobody waits for it


class Turns:
    """The turns of the threads of one process."""

    def __init__(self) -> None:
        self._tickets = itertools.count()
        self._hurry: dict[int, _Turn] = {}  # by ticket
        self._changed = threading.Condition()
        self._busy = 0  # hands at work

    @contextmanager
    def first(self, of: str = "", most_s: float = math.inf, linger_s: float = 0.0) -> Iterator[None]:
        """Let everybody else pause while what is inside runs, no longer than `most_s`, and for `linger_s` after it.

        Parameters
        ----------
        of
            What is urgent; its hands share one turn. "": it has but this one.
        """
        with self._changed:
            mine = (ticket for ticket, turn in self._hurry.items() if of and (turn.of, turn.thread) == (of, _NOBODY))
            ticket = next(mine, None)
            ticket = next(self._tickets) if ticket is None else ticket
            self._hurry[ticket] = _Turn(of, threading.get_ident(), time.monotonic() + most_s)
        try:
            yield
        finally:
            with self._changed:
                if linger_s:
                    self._hurry[ticket] = _Turn(of, _NOBODY, time.monotonic() + linger_s)
                else:
                    del self._hurry[ticket]
                self._changed.notify_all()

    @contextmanager
    def taken(self, urgent: bool, of: str, most_s: float, linger_s: float) -> Iterator[None]:
        """Run what is inside as `first`, if it is urgent, else after a `pause`."""
        if urgent:
            with self.first(of, most_s, linger_s):
                yield
        else:
            self.pause(most_s)
            yield

    @property
    def hurried(self) -> bool:
        """Whether anybody is in a hurry now."""
        if not self._hurry:
            return False
        with self._changed:
            self._forget()
            return bool(self._hurry)

    def pause(self, most_s: float = math.inf) -> None:
        """Wait for those who are in a hurry now, no longer than `most_s`; whoever is so too goes on at once."""
        if not self._hurry:  # one look without the lock: it is asked before every step
            return
        end = time.monotonic() + most_s
        with self._changed:
            self._forget()
            if any(turn.thread == threading.get_ident() for turn in self._hurry.values()):
                return
            present = set(self._hurry)
            while (left_s := min(end, self._until(present)) - time.monotonic()) > 0:
                self._changed.wait(None if left_s == math.inf else left_s)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Receive or read inside: what need not be done yet waits for that."""
        with self._changed:
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1

    @property
    def spare(self) -> bool:
        """Whether there is time to spare: nobody hurries, nothing is read, and nothing is on its way in."""
        return not (self._busy or self.hurried)

    def _until(self, tickets: set[int]) -> float:
        return max((turn.until for ticket, turn in self._hurry.items() if ticket in tickets), default=-math.inf)

    def _forget(self) -> None:
        """Drop the turns of which nobody became the next hand."""
        now = time.monotonic()
        for ticket, turn in tuple(self._hurry.items()):
            if turn.thread == _NOBODY and turn.until <= now:
                del self._hurry[ticket]
