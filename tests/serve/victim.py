"""A node in a process of its own that can be killed at a named place.

``python -m tests.serve.victim '{"settings": {...}, "at": "indexed", "hit": 1}'``
prints one line of JSON with its ports, then serves until SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter

from tests.jobs import fake
from wetread import settings
from wetread.serve.node import Node


def main() -> None:
    """Serve; die by SIGKILL when the place is reached for the given time."""
    order = json.loads(sys.argv[1])
    hits: Counter[str] = Counter()

    def failpoint(name: str) -> None:
        hits[name] += 1
        if name == order.get("at") and hits[name] == order.get("hit", 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def announce(node: Node) -> None:
        sys.stdout.write(json.dumps({"port": node.port, "http_port": node.http_port}) + "\n")
        sys.stdout.flush()

    Node(settings.load(environ={}, **order["settings"]), lambda: fake.READER, failpoint).run(announce)


if __name__ == "__main__":
    main()
