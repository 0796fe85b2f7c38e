"""Threads side by side: what OpenCV and numpy do with an image is bound by memory and needs no interpreter."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

#: More would only wait for the memory.
THREADS = 2
#: How long a thread keeps the interpreter while another waits for it, s.
SHARE_S = 1e-4


def share() -> None:
    """Let a thread that needs the interpreter for a moment have it soon.

    Whoever draws asks for it after each call of OpenCV.  By default it then waits for 5 ms, longer than what it
    called took: drawing went on beside the documents in name only.
    """
    sys.setswitchinterval(SHARE_S)


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
