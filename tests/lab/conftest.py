"""The lab's tests need torch; without it they are skipped, and say so."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

collect_ignore_glob: list[str] = []
HERE = Path(__file__).parent

if importlib.util.find_spec("torch") is None:
    collect_ignore_glob.append("test_[!w]*.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the lab's tests as such."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
