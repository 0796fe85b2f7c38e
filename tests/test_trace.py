"""A trace belongs to one thread for one piece of work, and to nobody else."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from wetread.trace import Span, following, new_trace_id, root_span_id, step, trace_id


def test_an_id_has_the_form_of_the_standard() -> None:
    made = {new_trace_id() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert root_span_id("0123456789abcdef" + "fedcba9876543210") == "fedcba9876543210"


def test_it_ends_with_its_work_also_when_that_fails() -> None:
    assert trace_id() == ""
    with following("a"):
        with pytest.raises(ValueError, match="b ends"), following("b"):
            raise ValueError(f"{trace_id()} ends")
        assert trace_id() == "a"
        with following(""):
            assert trace_id() == ""
    assert trace_id() == ""


def test_threads_do_not_see_each_other_s() -> None:
    together = threading.Barrier(8)

    def work(number: int) -> set[str]:
        seen = {trace_id()}
        for turn in range(50):
            with following(f"{number}.{turn}"):
                together.wait(10)
                seen.add(trace_id().partition(".")[0])
        return seen

    with following("outside"), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [{"", str(number)} for number in range(8)]


def test_a_step_is_told_with_what_was_learned_on_the_way() -> None:
    told: list[Span] = []
    with following("a"):
        with step("read", told.append, job=7) as reading:
            reading.about["images"] = 2
            reading.parts = {"infer": 0.5}
        with pytest.raises(ValueError, match="Canary"), step("read", told.append):
            raise ValueError("Canary^Patient")
    one, failed = told
    assert (one.name, one.trace_id, one.about, one.parts) == ("read", "a", {"job": 7, "images": 2}, {"infer": 0.5})
    assert one.begin_ns <= one.end_ns <= failed.begin_ns <= failed.end_ns
    assert failed.about == {"error": "ValueError"}


def test_what_belongs_to_no_trace_is_not_told() -> None:
    told: list[Span] = []
    with step("read", told.append):
        pass
    assert told == []
