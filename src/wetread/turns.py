"""Who goes first: a reading that can wait pauses between its steps while one that cannot is under way.

Threads that read side by side share the same cores.  Whoever is in a hurry works inside `first`; everybody else
calls `pause` wherever they could stop for a moment.  A pause waits only for those who were in a hurry when it
began, so between any two of them every reading makes one more step, and none is ever starved.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """The turns of the threads of one process."""

    def __init__(self) -> None:
        self._tickets = itertools.count()
        self._hurry: dict[int, int] = {}  # ticket -> thread
        self._changed = threading.Condition()

    @contextmanager
    def first(self) -> Iterator[None]:
        """Let everybody else pause while what is inside runs."""
        with self._changed:
            ticket = next(self._tickets)
            self._hurry[ticket] = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                del self._hurry[ticket]
                self._changed.notify_all()

    def pause(self, most_s: float | None = None) -> None:
        """Wait for those who are in a hurry now, no longer than `most_s`; whoever is so too goes on at once."""
        if not self._hurry:  # one look without the lock: it is asked before every step
            return
        with self._changed:
            if threading.get_ident() in self._hurry.values():
                return
            present = set(self._hurry)
            self._changed.wait_for(lambda: present.isdisjoint(self._hurry), most_s)
