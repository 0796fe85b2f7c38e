"""The list of another worklist manager, from which this node takes what it can do: by search, and at once by events.

References
----------
IHE RAD AIW-I: pull and triggered pull workflow, Task Performer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from wetread.errors import StoreError, WetreadError
from wetread.jobs.loop import Loop
from wetread.jobs.retry import Backoff, Breaker
from wetread.jobs.tasks import Task, Tasks
from wetread.settings import Destination, Settings
from wetread.wire.dicomjson import DataSet, text
from wetread.wire.performing import progress
from wetread.wire.ups import StepState
from wetread.wire.upsclient import Channel, UpsClient
from wetread.wire.upsevents import Event

log = logging.getLogger("wetread.jobs")

Answer = TypeVar("Answer")

LOOK_S = 30.0  # between two searches, where no event comes
HEAR_S = 1.0  # how long a stop may have to wait for the channel
MOST_TASKS = 4  # that we have of one manager at a time: others want to work, too


class Managed:
    """One other manager.

    Parameters
    ----------
    manager
        Its address, token and TLS files.
    settings
        `ae_title`, `peer_timeout_s` and `retry_*` are used.
    codes
        Of the work items that we can do.
    tasks
        Told of requests to cancel.
    wake
        Called when there may be something to do.
    clock
        Monotonic seconds.
    """

    most = MOST_TASKS

    def __init__(
        self,
        manager: Destination,
        settings: Settings,
        codes: Collection[str],
        tasks: Tasks,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = manager.names[0]
        self._manager = manager
        self._settings = settings
        self._codes = sorted(codes)
        self._tasks = tasks
        self._wake = wake
        self._clock = clock
        self._client = UpsClient(manager, settings.peer_timeout_s)
        backoff = Backoff(settings.retry_first_s, settings.retry_most_s)
        self._asking, self._hearing = Breaker(backoff), Breaker(backoff)
        self._lock = threading.Lock()  # of the next line
        self._due = 0.0  # the next search, by the clock
        self._channel: Channel | None = None
        self.loop = Loop(f"wetread-channel-{manager.ae_title}", self._hear)

    # ---- for the performer ----------------------------------------------------------------

    def scheduled(self, ours: Callable[[DataSet], bool]) -> Sequence[DataSet]:
        """Return work items that are SCHEDULED and that we can do, not only `ours`.

        Mostly nobody is asked, and none are returned.

        Raises
        ------
        PeerUnreachable, PeerRefused, SettingsError
            As `UpsClient.search`.
        """
        with self._lock:
            if self._clock() < self._due or not self.ready():
                return []
            self._due = self._clock() + LOOK_S
        return self._asked(self._search)

    def _search(self) -> Sequence[DataSet]:
        found: dict[str, DataSet] = {}
        for value in self._codes:
            keys = {"ProcedureStepState": StepState.SCHEDULED.value, "InputReadinessState": "READY"}
            keys["ScheduledWorkitemCodeSequence.CodeValue"] = value
            found |= {text(one, "SOPInstanceUID"): one for one in self._client.search(keys)}
        return [one for uid, one in found.items() if uid]

    def ready(self) -> bool:
        """Whether it may be asked: not for a while after it failed."""
        return not self._asking.wait_s(self._clock())

    def claim(self, uid: str, transaction_uid: str, again: bool) -> DataSet | None:
        """Claim a work item; who has lost does and says nothing more."""

        def claimed() -> DataSet | None:
            won = self._client.change(uid, StepState.IN_PROGRESS, transaction_uid)
            if not won and again:  # the answer to an earlier claim was lost: whose is it?
                won = self._client.update(uid, progress(0, "Claimed"), transaction_uid)
            return self._client.item(uid) if won else None

        return self._asked(claimed)

    def update(self, task: Task, changes: DataSet) -> bool:
        """Change attributes."""
        return self._asked(lambda: self._client.update(task.uid, changes, task.transaction_uid))

    def end(self, task: Task, state: StepState) -> bool:
        """Complete or cancel; then there is room for more."""
        self._look()
        return self._asked(lambda: self._client.change(task.uid, state, task.transaction_uid))

    def _asked(self, question: Callable[[], Answer]) -> Answer:
        try:
            answer = question()
        except WetreadError:
            self._asking.failed(self._clock())
            self._look()
            raise
        self._asking.succeeded()
        return answer

    def base(self, uid: str) -> str:
        """Return the URL of our DICOMweb service."""
        return f"{self._settings.public_url.rstrip('/')}/dicomweb" if self._settings.public_url else ""

    def _look(self) -> None:
        """The next step searches."""
        with self._lock:
            self._due = 0.0

    # ---- events ---------------------------------------------------------------------------

    def close(self) -> None:
        """Close the channel; call it after the loop has ended."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _hear(self) -> float | None:
        """Listen for a while; return how long until the next try, s."""
        if wait := self._hearing.wait_s(self._clock()):
            return wait
        try:
            if self._channel is None:
                self._open()
            assert self._channel is not None
            self._take(self._channel.next(HEAR_S))
        except StoreError:
            raise
        except WetreadError as error:
            self.close()
            self._hearing.failed(self._clock())
            log.warning("no events", extra={"destination": self.name, "reason": str(error)})
            return self._hearing.wait_s(self._clock())
        return 0.0

    def _open(self) -> None:
        url = self._client.subscribe(self._settings.ae_title)
        self._channel = Channel(self._manager, url, self._settings.peer_timeout_s)
        self._hearing.succeeded()
        self._look()  # what happened before is not told
        self._wake()

    def _take(self, event: DataSet | None) -> None:
        if event is None:
            return
        kind, uid = text(event, "EventTypeID"), text(event, "AffectedSOPInstanceUID")
        if kind == str(Event.CANCEL_REQUESTED.value):
            self._tasks.cancel(self.name, uid, event)
        elif text(event, "ProcedureStepState") not in ("", StepState.SCHEDULED):
            return
        self._look()
        self._wake()
