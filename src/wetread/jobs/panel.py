"""Peers that may know something: asked one after the other until one tells; who fails is left alone for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from wetread.errors import WetreadError
from wetread.jobs.addressing import destination_name
from wetread.jobs.retry import Backoff, Breaker
from wetread.jobs.watch import Watch
from wetread.settings import Destination, Settings

log = logging.getLogger("wetread.jobs")

Answer = TypeVar("Answer")


class Panel:
    """Archives, or worklists.

    Parameters
    ----------
    kind
        What they are, for the log.
    settings
        `retry_*` are used.
    watch
        Told of each whether it told, knew nothing, or failed.
    clock
        Monotonic seconds.
    """

    def __init__(
        self, kind: str, peers: Sequence[Destination], settings: Settings, watch: Watch, clock: Callable[[], float]
    ) -> None:
        self._not_asked = f"{kind} not asked"
        self._watch = watch
        self._clock = clock
        backoff = Backoff(settings.retry_first_s, settings.retry_most_s)
        self._peers = [(one, Breaker(backoff)) for one in peers]

    def __len__(self) -> int:
        return len(self._peers)

    def wait_s(self) -> float:
        """How long until somebody may be asked, s."""
        now = self._clock()
        return min((breaker.wait_s(now) for _, breaker in self._peers), default=0.0)

    def ask(self, question: Callable[[Destination], Answer]) -> Answer | None:
        """Return the first answer that is not empty, else an empty one; None if nobody answered."""
        answer = None
        for peer, breaker in self._peers:
            if breaker.wait_s(self._clock()):
                continue
            name = destination_name(peer)
            try:
                answer = question(peer)
            except Exception as error:  # noqa: BLE001 - what nobody foresaw of one peer must not hold the others up
                breaker.failed(self._clock())
                self._watch.asked(name, "failed")
                reason = str(error) if isinstance(error, WetreadError) else type(error).__name__
                log.warning(self._not_asked, extra={"destination": name, "reason": reason})
                continue
            breaker.succeeded()
            self._watch.asked(name, "told" if answer else "unknown")
            if answer:
                return answer
        return answer
