"""A child that goes wrong over files which tell it how; in all else it is the child in service.

``python -m tests.contain.victim ...``, as `wetread.contain.child`.
"""

from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

from wetread.acquire import instances
from wetread.acquire.parse import parse as real
from wetread.contain import child

#: What a file may hold anywhere, and what then happens while it is parsed.
ORDER = re.compile(rb"TELL-CHILD:(\w+)")


def order(how: str) -> str:
    """The text that makes it go wrong so."""
    return f"TELL-CHILD:{how}"


def parse(data: bytes, *more: Any) -> Any:
    found = ORDER.search(data)
    how = found[1].decode() if found else ""
    if how.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[how])
    while how == "loop":
        pass
    if how == "sleep":
        time.sleep(3600)
    if how == "swell":
        kept = bytearray(1 << 40)  # more than any limit
        kept[0] = 1
    if how == "fail":
        raise KeyError("Canary^Patient")
    return real(data, *more)


if __name__ == "__main__":
    instances.parse = parse  # type: ignore[attr-defined,assignment]
    child.main()
