"""The page of refusal codes says what the code says, and has a counsel for each."""

from __future__ import annotations

from pathlib import Path

from wetread.errors import REFUSALS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "refusals.md"


def rows() -> list[list[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("| ") and not line.startswith("| code")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def test_every_code_and_its_sentence_in_the_same_order() -> None:
    assert [(row[0], row[1]) for row in rows()] == list(REFUSALS.items())


def test_every_code_has_something_to_do() -> None:
    assert all(len(row) == 3 and row[2].strip("| ") for row in rows())


def test_codes_fit_a_short_string() -> None:
    assert all(len(code) <= 16 and code == code.upper() for code in REFUSALS)
