"""A node that dies when it is told to, for `wetread.evidence.torture`; in all else it is the node in service.

``python -m wetread.serve.victim '{"settings": {...}, "at": "indexed", "hit": 1, "eager": false}'``
prints one line of JSON with its process and ports, then serves until SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from wetread import settings
from wetread.evidence.torture.cheap import Cheap
from wetread.jobs.worker import Reader
from wetread.serve.node import Node


def serve(order: dict[str, Any], load: Callable[[], Reader]) -> None:
    """Serve; die by SIGKILL when the place is reached for the given time."""
    hits: Counter[str] = Counter()

    def failpoint(name: str) -> None:
        hits[name] += 1
        if name == order.get("at") and hits[name] == order.get("hit", 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def announce(node: Node) -> None:
        sys.stdout.write(json.dumps({"pid": os.getpid(), "port": node.port, "http_port": node.http_port}) + "\n")
        sys.stdout.flush()

    Node(settings.load(environ={}, **order["settings"]), load, failpoint).run(announce)


def main() -> None:
    """Serve with the cheap reader, and the real one for what is large."""
    order = json.loads(sys.argv[1])
    given = settings.load(environ={}, **order["settings"])

    def real() -> Reader:
        from wetread.pipeline import open_reader  # as in a node in service: loaded after the ports are open

        return open_reader(given)

    reader = Cheap(real)
    serve(order, reader.warm if order.get("eager") else lambda: reader)


if __name__ == "__main__":
    main()
