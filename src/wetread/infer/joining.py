"""Images of several studies in one batch: what is asked while the engine answers goes through with its next answer.

Nobody waits for a batch to fill.  Whoever asks an idle engine is answered at once and alone; what is asked meanwhile is
answered together, up to the batch that the engine was chosen with.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from wetread.infer.engine import Engine
from wetread.records import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What one thread asks, and what it is told."""

    tensor: Tensor
    told: Future[dict[str, Tensor]] = field(default_factory=Future)


class Joining:
    """An engine that answers several threads together, each as if it had asked alone.

    Parameters
    ----------
    engine
        Its answer about an image does not depend on the other images of a batch.
    most
        Images that go through at a time; more of one thread still do.
    streams
        Answers that the engine computes side by side.
    """

    def __init__(self, engine: Engine, most: int, streams: int = 1) -> None:
        self.name, self.version, self.device = engine.name, engine.version, engine.device
        self._engine = engine
        self._most = most
        self._free = threading.Semaphore(streams)
        self._lock = threading.Lock()  # of the next one
        self._waiting: list[_Asked] = []

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Run (n, c, y, x) float32 through the graph: output name -> array.

        Raises
        ------
        EngineError
            As the engine's own.  What failed together is asked again one by one: nobody fails for another's image.
        """
        mine = _Asked(tensor)
        with self._lock:
            self._waiting.append(mine)
        with self._free:
            self._answer(self._taken(mine))
        return mine.told.result()  # of another thread, where it took mine along

    def _taken(self, mine: _Asked) -> list[_Asked]:
        """Take `mine` and what waits and fits into a batch with it; nothing where another thread took it."""
        with self._lock:
            if mine not in self._waiting:
                return []
            together, count = [mine], len(mine.tensor)
            for one in self._waiting:
                fits = one.tensor.shape[1:] == mine.tensor.shape[1:] and count + len(one.tensor) <= self._most
                if one is not mine and fits:
                    together.append(one)
                    count += len(one.tensor)
            self._waiting = [one for one in self._waiting if one not in together]
            return together

    def _answer(self, together: list[_Asked]) -> None:
        try:
            if len(together) == 1:
                together[0].told.set_result(self._engine.run(together[0].tensor))
            elif together:
                outputs = self._engine.run(np.concatenate([one.tensor for one in together]))
                ends = np.cumsum([len(one.tensor) for one in together])
                for one, end in zip(together, ends, strict=True):
                    part = slice(end - len(one.tensor), end)
                    one.told.set_result({name: values[part] for name, values in outputs.items()})
        except Exception as error:  # noqa: BLE001 - whoever waits must be told
            if len(together) == 1:
                together[0].told.set_exception(error)
                return
            for one in together:
                self._answer([one])
