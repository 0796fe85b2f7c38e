"""When to try again: exponential waits with jitter, capped, without end."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after a number of failures.

    Parameters
    ----------
    first_s, most_s
        The wait after the first failure and the longest wait.
    chance
        Gives 0..1; half of each wait is left to it, so that nodes do not knock all at once.
    """

    first_s: float
    most_s: float
    chance: random.Random = field(default_factory=random.Random)

    def wait_s(self, failures: int) -> float:
        """Return the wait after `failures` failures in a row, s; at least one failure."""
        full = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 60))
        return full * (0.5 + 0.5 * self.chance.random())


class RetryClock:
    """Which of several things must wait, and until when; several threads may share it.

    Parameters
    ----------
    backoff
        How long after each failure.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures: dict[int, int] = {}  # what failed last stands last
        self._until: dict[int, float] = {}
        self._since: dict[int, float] = {}
        self._lock = threading.Lock()

    def failed(self, key: int, now: float) -> float:
        """Record a failure of `key`; return the time of its next try."""
        with self._lock:
            self._failures[key] = self._failures.pop(key, 0) + 1
            self._since.setdefault(key, now)
            self._until[key] = now + self._backoff.wait_s(self._failures[key])
            return self._until[key]

    def succeeded(self, key: int) -> None:
        """Forget the failures of `key`."""
        with self._lock:
            for known in (self._failures, self._until, self._since):
                known.pop(key, None)

    def waiting(self, now: float) -> frozenset[int]:
        """Return what must not be tried yet."""
        with self._lock:
            return frozenset(key for key, until in self._until.items() if until > now)

    def failures(self) -> list[int]:
        """Return what has failed and not succeeded since, in the order of its last failure."""
        with self._lock:
            return list(self._failures)

    def failing_s(self, key: int, now: float) -> float:
        """Return how long `key` has failed and not succeeded, s; 0 before its first failure."""
        with self._lock:
            return now - self._since.get(key, now)

    def next(self, now: float) -> float | None:
        """Return how long until something may be tried again, s, or None if nothing waits."""
        with self._lock:
            waits = [until - now for until in self._until.values() if until > now]
        return min(waits, default=None)


class Breaker:
    """Stops knocking at a peer that is away or full.

    Closed, everything goes to the peer.  A failure of the peer opens it: nothing goes until the wait is over.
    Then it is half open: one document goes, and its success closes it.

    Parameters
    ----------
    backoff
        How long after each failure in a row.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._until = 0.0
        self.failures = 0  # in a row; 0: closed

    def failed(self, now: float, least_s: float = 0.0, same: bool = False) -> None:
        """The peer is away, or says that it has no room, and perhaps for how long at least.

        Parameters
        ----------
        same
            It said so in the same association before: that counts once.
        """
        self.failures += not (same and self.failures)
        self._until = now + max(least_s, self._backoff.wait_s(self.failures))

    def succeeded(self) -> None:
        """The peer took something."""
        self.failures = 0

    def wait_s(self, now: float) -> float:
        """Return how long it stays open, s; 0 when something may go."""
        return max(0.0, self._until - now) if self.failures else 0.0
