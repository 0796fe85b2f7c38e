"""Whoever can wait pauses; nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

from wetread.turns import Turns


def test_nobody_in_hurry_costs_nothing() -> None:
    Turns().pause()


def test_who_can_wait_pauses_until_the_other_is_done() -> None:
    turns, steps = Turns(), []
    begun = threading.Event()

    def patient() -> None:
        begun.set()
        turns.pause()
        steps.append("patient")

    with ThreadPoolExecutor(1) as pool:
        with turns.first():
            waiting = pool.submit(patient)
            begun.wait(5)
            threading.Event().wait(0.05)
            steps.append("hurry")
        waiting.result(5)
    assert steps == ["hurry", "patient"]


def test_who_is_in_hurry_pauses_for_nobody() -> None:
    turns = Turns()
    with ThreadPoolExecutor(1) as pool, turns.first():
        pool.submit(_hurried, turns).result(5)


def _hurried(turns: Turns) -> None:
    with turns.first():
        turns.pause()


def test_a_pause_ends_although_ever_new_ones_are_in_hurry() -> None:
    turns = Turns()
    first, second = turns.first(), turns.first()
    with ThreadPoolExecutor(1) as pool:
        first.__enter__()
        patient = pool.submit(turns.pause)
        threading.Event().wait(0.05)
        second.__enter__()  # begins before the first ends: without tickets the pause would go on
        assert not patient.done()
        first.__exit__(None, None, None)
        patient.result(5)
        second.__exit__(None, None, None)


def test_a_pause_may_be_short() -> None:
    turns = Turns()
    with ThreadPoolExecutor(1) as pool, turns.first():
        pool.submit(turns.pause, 0.01).result(5)


def test_nobody_waits_for_a_hurry_that_took_too_long() -> None:
    turns = Turns()
    with ThreadPoolExecutor(1) as pool, turns.first(most_s=0.01):
        pool.submit(turns.pause).result(5)


def test_what_is_handed_on_is_one_turn() -> None:
    """Who pauses goes on when the second hand is done, or when none has come."""
    turns, done = Turns(), []

    def pausing() -> None:
        turns.pause()
        done.append("pause")

    with ThreadPoolExecutor(1) as pool:
        with turns.first("study", linger_s=30.0):
            waiting = pool.submit(pausing)
            assert wait([waiting], 0.05).not_done
        assert wait([waiting], 0.05).not_done
        with turns.first("study"):
            assert wait([waiting], 0.05).not_done
            done.append("second")
        waiting.result(5)
        assert done == ["second", "pause"]
        with turns.first(linger_s=0.05):
            pass
        assert turns.hurried
        pool.submit(turns.pause).result(5)
        assert not turns.hurried


def test_who_pauses_waits_for_no_other_that_came_later() -> None:
    """Ever new ones come while the one before lingers: each has a turn of its own."""
    turns = Turns()
    first, second = turns.first("one", linger_s=0.05), turns.first("other")
    with ThreadPoolExecutor(1) as pool:
        first.__enter__()
        waiting = pool.submit(turns.pause)
        assert wait([waiting], 0.02).not_done
        first.__exit__(None, None, None)
        second.__enter__()
        waiting.result(5)
        assert turns.hurried
        second.__exit__(None, None, None)


def test_what_is_not_urgent_is_done_after_a_pause() -> None:
    turns = Turns()
    with turns.taken(True, "", 5.0, 0.0):
        assert turns.hurried
    with ThreadPoolExecutor(1) as pool, turns.first():
        waiting = pool.submit(lambda: turns.taken(False, "", 5.0, 0.0).__enter__())
        assert wait([waiting], 0.05).not_done
    waiting.result(5)
    assert not turns.hurried


def test_an_error_ends_the_hurry() -> None:
    turns = Turns()
    try:
        with turns.first():
            raise ValueError
    except ValueError:
        pass
    turns.pause()


def test_there_is_time_to_spare_while_nobody_works() -> None:
    turns = Turns()
    for work in (turns.first(), turns.busy()):
        assert turns.spare
        with work:
            assert not turns.spare
    with turns.busy():
        with turns.busy():
            pass
        assert not turns.spare
    assert turns.spare
