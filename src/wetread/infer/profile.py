"""What was measured on this host: which build is fastest on which engine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wetread.infer.engine import Engine, installed
from wetread.records import Tensor


@dataclass(frozen=True, slots=True)
class Measured:
    """The time of one build on one engine."""

    device_uid: str  # of the build: one file may be run in two precisions
    engine: str
    median_ms: float
    best_ms: float
    runs: int


@dataclass(frozen=True, slots=True)
class Profile:
    """Measurements of one host; those of another host or engine version do not count."""

    host: str
    rows: tuple[Measured, ...] = field(default=())

    def median_ms(self, device_uid: str, engine: str) -> float | None:
        """Median time of a build on an engine, milliseconds; None if it was not measured."""
        for row in self.rows:
            if (row.device_uid, row.engine) == (device_uid, engine):
                return row.median_ms
        return None


def fingerprint() -> str:
    """What the times depend on: processor, cores, engines and their versions."""
    engines = ",".join(f"{name}={number}" for name, number in sorted(installed().items()))
    return f"{_processor()}/{os.cpu_count()}/{engines}"


def _processor() -> str:
    """Model and features of the processor, as short as they can be."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    wanted = ("cpu family", "model\t", "model name", "stepping")
    return " ".join(line.split(":", 1)[1].strip() for line in lines[:12] if line.startswith(wanted))


def read(path: Path) -> Profile:
    """The profile of this host; an empty one if none was written or it is of another host."""
    here = fingerprint()
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["host"] == here:
            return Profile(here, tuple(Measured(**row) for row in table["rows"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return Profile(here)


def write(path: Path, profile: Profile) -> None:
    """Write a profile, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(profile), indent=2), encoding="utf-8")
    fresh.replace(path)


def measure(engine: Engine, tensor: Tensor, runs: int = 15) -> Iterator[float]:
    """Times of `runs` answers after three that do not count, milliseconds."""
    for i in range(runs + 3):
        start = time.perf_counter()
        engine.run(tensor)
        if i >= 3:
            yield (time.perf_counter() - start) * 1e3


def row(device_uid: str, engine: Engine, tensor: Tensor, runs: int = 15) -> Measured:
    """Measure one loaded build."""
    times = list(measure(engine, tensor, runs))
    return Measured(device_uid, engine.name, statistics.median(times), min(times), len(times))
