"""Acknowledges only what is on disk; objects that arrive together share one commit."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

from wetread.errors import StoreError
from wetread.jobs.index import UnusableIndex
from wetread.jobs.instances import Arrival, Effect, Instances

MOST = 128  # objects in one commit


class Receipts:
    """The one thread that indexes arrivals whose blobs are durable.

    While one commit is being synced, the objects that arrive meanwhile gather for the next.
    """

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self._queue: queue.SimpleQueue[tuple[Arrival, Future[Effect]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="wetread-receipts", daemon=True)
        self._lock = threading.Lock()  # of the next line and of who queues
        self._ended = False

    def start(self) -> None:
        """Start to admit."""
        self._thread.start()

    def stop(self) -> None:
        """Admit what is queued, then end; what comes after is not durable."""
        with self._lock:
            self._ended = True
            self._queue.put(None)
        self._thread.join()

    def admit(self, arrival: Arrival) -> Effect:
        """Return when the object may be acknowledged.

        Raises
        ------
        StoreError, OSError
            It is not durable.
        """
        self._instances.settle(arrival)
        future: Future[Effect] = Future()
        with self._lock:
            if self._ended:
                raise StoreError("store: the node ends; send the object again later")
            self._queue.put((arrival, future))
        return future.result()

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < MOST and not self._queue.empty():
                batch.append(self._queue.get())
            self._admit([entry for entry in batch if entry is not None])
            if None in batch:
                return

    def _admit(self, batch: list[tuple[Arrival, Future[Effect]]]) -> None:
        if not batch:
            return
        try:
            effects = self._instances.admit([arrival for arrival, _ in batch])
        except Exception as error:  # noqa: BLE001 - the one thread's door: whoever brought the object learns of it
            unusable = isinstance(error, UnusableIndex)  # for each of them: none waits for that again
            if len(batch) > 1 and not unusable:  # one of them may be to blame: each for itself
                for entry in batch:
                    self._admit([entry])
                return
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), effect in zip(batch, effects, strict=True):
            future.set_result(effect)
