"""Slice by slice on two threads: what OpenCV and numpy do with a slice is bound by memory and needs no interpreter."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

#: More would only wait for the memory.
THREADS = 2


def each(count: int, work: Callable[[int], None]) -> None:
    """Do `work` for every slice from 0 to `count` - 1; raises what it raises."""

    def part(first: int) -> None:
        for index in range(first, count, THREADS):
            work(index)

    if count < THREADS:
        part(0)
        return
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(part, range(THREADS)))
