"""A child that goes wrong over files which tell it how; in all else it is the child in service.

``python -m tests.contain.victim ...``, as `wetread.contain.child`.
"""

from __future__ import annotations

import os
import re
import signal
import time
from typing import Any

from wetread.acquire import instances, pixels
from wetread.acquire.content import Content
from wetread.acquire.parse import Parsed
from wetread.acquire.parse import parse as real_parse
from wetread.acquire.pixels import decode_stored as real_decode
from wetread.contain import child

#: What a file may hold anywhere, and what then happens while it is parsed.
ORDER = re.compile(rb"TELL-(PARSER|DECODER):(\w+)")


def order(how: str, whom: str = "PARSER") -> str:
    """The text that makes it go wrong so, when it parses the header or when it decodes the pixels."""
    return f"TELL-{whom}:{how}"


def obey(data: Content, whom: bytes) -> None:
    """Go wrong, if the file says so."""
    found = ORDER.search(data)
    how = found[2].decode() if found and found[1] == whom else ""
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


def parse(data: Content, *more: Any) -> Parsed:
    obey(data, b"PARSER")
    return real_parse(data, *more)


def decode_stored(parsed: Parsed, *more: Any, **others: Any) -> Any:
    obey(parsed.data, b"DECODER")
    return real_decode(parsed, *more, **others)


if __name__ == "__main__":
    instances.parse = parse  # type: ignore[attr-defined,assignment]
    pixels.decode_stored = decode_stored
    child.main()
