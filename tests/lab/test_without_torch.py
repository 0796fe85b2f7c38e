"""What is said when the lab's tests cannot run."""

from __future__ import annotations

import importlib.util

import pytest


def test_lab_extra_is_installed() -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("NO TORCH: none of the lab's tests ran; install the lab extra: pip install -e '.[lab]'")
