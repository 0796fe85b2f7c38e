"""An engine that wraps a real one and breaks on purpose: what a graphics processor may do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wetread.errors import EngineError
from wetread.infer.engine import Engine, Loader
from wetread.records import Tensor


class Faulty:
    """Answers as the engine that it wraps, under another name; from call `after` on it has a fault.

    Parameters
    ----------
    fault
        "": none; "lost", "full": it raises; "nan", "inf": one value is none; "wrong": it answers something else.
    """

    device = "GPU"
    version = "0"

    def __init__(self, real: Engine, fault: str, after: int = 1, name: str = "cuda") -> None:
        self.real, self.fault, self.after, self.name, self.calls = real, fault, after, name, 0

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Answer, or break."""
        self.calls += 1
        answer = self.real.run(tensor)
        if not self.fault or self.calls <= self.after:
            return answer
        if self.fault in ("lost", "full"):
            code = "OUT-OF-MEMORY" if self.fault == "full" else "ENGINE-FAILED"
            raise EngineError(f"cuda: {self.fault}", code)
        for values in answer.values():
            values.flat[0] = {"nan": np.nan, "inf": np.inf, "wrong": 1e3}[self.fault]
        return answer


def loading(real: Loader, fault: str, after: int = 1) -> Loader:
    """A loader of such engines."""

    def load(data: bytes, precision: str, threads: int, cache: Path | None, streams: int = 1) -> Faulty:
        return Faulty(real(data, precision, threads, None, streams), fault, after)

    return load
