"""The node that dies when it is told to, with the reader of the tests.

``python -m tests.serve.victim '{"settings": {...}, "at": "indexed", "hit": 1}'``
"""

from __future__ import annotations

import json
import sys

from tests.jobs import fake
from wetread.serve.victim import serve

if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), lambda: fake.READER)
