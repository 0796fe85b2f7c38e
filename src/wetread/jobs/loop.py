"""A thread that works while there is something to do, and sleeps until it is woken or has waited long enough."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from wetread.errors import StoreError

log = logging.getLogger("wetread.jobs")

PAUSE_S = 1.0  # after the index could not be read or written
POLL_S = 2.0  # a person's command, or another node, may have left something to do


class Loop:
    """Runs one kind of step again and again.

    Parameters
    ----------
    name
        Of the thread.
    step
        Returns how long to sleep, s: 0 if there may be more to do, None if nothing waits.
    """

    def __init__(self, name: str, step: Callable[[], float | None]) -> None:
        self._step = step
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start to work."""
        self._thread.start()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def end(self) -> None:
        """End after the present step; waits for nothing."""
        self._ended = True
        self._wake.set()

    def stop(self, grace_s: float) -> bool:
        """End after the present step; return whether it ended within `grace_s`."""
        self.end()
        self._thread.join(grace_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended:
            self._wake.clear()
            try:
                pause = self._step()
            except StoreError as error:  # the disk may be full: nothing is lost, try again
                log.error("store failed", extra={"reason": str(error)})
                pause = PAUSE_S
            except Exception as error:  # noqa: BLE001 - the worker's door
                log.error("step failed", extra={"reason": type(error).__name__})
                pause = PAUSE_S
            if pause != 0.0 and not self._ended:
                self._wake.wait(POLL_S if pause is None else min(pause, POLL_S))
