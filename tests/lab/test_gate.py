"""The rule that fixes a gate's bound, and the damages it is tried on."""

from __future__ import annotations

import numpy as np
import pytest

from tests.lab.films import drawn_films
from wetread.lab.gate import bound_of, damages


def test_bound_lets_good_films_through() -> None:
    agreement = np.linspace(0.5, 1.0, 501)
    dice = np.where(agreement < 0.8, 0.5, 0.95)
    assert bound_of(agreement, dice) == pytest.approx(0.785, abs=0.006)  # one in twenty may be worse


def test_no_bound_is_an_error() -> None:
    with pytest.raises(ValueError, match="found none"):
        bound_of(np.linspace(0.5, 1.0, 50), np.full(50, 0.3))


@pytest.mark.parametrize("name", sorted(damages()))
def test_damages_grow_and_keep_shape_and_dtype(name: str) -> None:
    image = drawn_films().images[1]
    away = [np.abs(change(image).astype(float) - image).mean() for change in damages()[name]]
    assert all(change(image).shape == image.shape and change(image).dtype == np.uint8 for change in damages()[name])
    assert away[0] > 0
    assert name.startswith("turned") or away == sorted(away)
