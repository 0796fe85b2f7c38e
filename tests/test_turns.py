"""Whoever can wait pauses; nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

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


def test_an_error_ends_the_hurry() -> None:
    turns = Turns()
    try:
        with turns.first():
            raise ValueError
    except ValueError:
        pass
    turns.pause()
