"""What the programs share: where pages go, a row of docs/evidence/performance.md, and how times are taken."""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


def out_folder(text: str) -> Path:
    """Make the folder of ``--out`` before the work, as after it there would be nowhere to write what was found.

    Raises
    ------
    ArgumentTypeError
        It cannot be made, or nothing can be written there.
    """
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: expected a folder, or room for one: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path}: expected a folder that can be written")
    return path


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, what it was held against, and what is unfair."""

    what: str
    goal: str
    found: str
    reached: bool
    runs: int
    unfair: str
    stages: dict[str, float] = field(default_factory=dict)


def times_ms(run: Callable[[], object], runs: int, warm: int = 5) -> list[float]:
    """Wall times of `runs` calls after some that do not count, milliseconds."""
    for _ in range(warm):
        run()
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        found.append((time.perf_counter() - start) * 1e3)
    return found


def p95(values: Sequence[float]) -> float:
    """The 95th percentile, linear between ranks."""
    return float(np.percentile(values, 95))


def in_turn(ways: Mapping[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Wall times of several ways to do one thing, each once a turn, so that a load meets all of them; milliseconds.

    The first turn does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs + 1):
        for name, way in ways.items():
            found[name] += times_ms(way, 1, 0)
    return {name: values[1:] for name, values in found.items()}


def medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each way, milliseconds."""
    return {name: statistics.median(values) for name, values in found.items()}
