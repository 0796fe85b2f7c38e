"""The overload in small: its senders keep to a rate, and its page tells what was not held."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace
from typing import Any, cast

import pydicom

from wetread.evidence import overload
from wetread.evidence.hospital import small_film
from wetread.evidence.lanes import Bench
from wetread.evidence.overload import Load, page
from wetread.evidence.peak import Pacs

FOUND: dict[str, Any] = {
    "command": "x",
    "date": "2026-11-28",
    "machine": "m",
    "minutes": 10.0,
    "reads_s": 5.0,
    "sent_s": 50.0,
    "answers": {"0x0000": 3000, "0xA700": 27000},
    "acknowledged": 3000,
    "acknowledged_without_result": 0,
    "unfinished": 0,
    "ended": False,
    "memory_mb": {"median": 600, "most": 700},
    "stat_idle_s": {"p50": 0.2, "p95": 0.3, "p99": 0.3},
    "stat_full_s": {"p50": 0.3, "p95": 0.4, "p99": 0.5},
    "stat_films": [40, 200],
    "ratio_p99": 1.7,
    "idle_again_s": 2.0,
    "queue_empty_s": 40.0,
}


def test_what_was_not_held_is_told() -> None:
    assert "**no**" not in page(FOUND)
    broken = {
        "acknowledged_without_result": 1,
        "unfinished": 1,
        "ended": True,
        "answers": {"0x0000": 1, "0xC000": 1},
        "ratio_p99": 2.1,
        "idle_again_s": 31.0,
    }
    for name, value in broken.items():
        assert page(FOUND | {name: value}).count("**no**") == 1


def test_senders_keep_to_their_rate_and_know_what_was_taken() -> None:
    pacs = Pacs()
    bench = cast(Bench, SimpleNamespace(served=SimpleNamespace(address=pacs.address)))
    try:
        load = Load(bench, small_film(), 40.0, 1)
        end = time.monotonic() + 30
        while sum(load.answers.values()) < 6 and time.monotonic() < end:
            time.sleep(0.01)
        load.stop()
    finally:
        pacs.stop()
    assert set(load.answers) == {0}
    assert sorted(load.taken) == sorted(pacs.came)
    assert len(set(load.taken)) == len(load.taken) >= 6


def test_the_small_film_is_whole() -> None:
    _, (data,) = small_film().copy(overload.FIRST)
    film = pydicom.dcmread(io.BytesIO(data))
    assert film.pixel_array.shape == (film.Rows, film.Columns) == (489, 461)
