"""The peer answers as often as it is asked."""

from __future__ import annotations

import json

from wetread.lab.eager import answers


def test_peer_answers_each_line_with_its_times() -> None:
    told = [json.loads(line) for line in answers("cxr-lungs", (1, 1, 64, 64), iter(["1", "2"]))]
    assert [len(times) for times in told] == [1, 2]
    assert all(ms > 0 for times in told for ms in times)
