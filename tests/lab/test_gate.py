"""The rule that fixes a gate's bounds, the damages, and the whole way of a gate on drawn series."""

from __future__ import annotations

import numpy as np
import pytest

from tests.lab.films import drawn_films
from tests.lab.series import drawn_cases
from wetread.errors import BadInput
from wetread.lab.damage import Damage, damages
from wetread.lab.falls import Bounds, bound_of
from wetread.lab.gate import halves
from wetread.lab.trials import Case, Told, damaged, film_cases, series_cases, span_of
from wetread.records import Recipe

SOUND = np.linspace(0.9, 1.0, 101)


def test_bound_lets_through_what_has_not_fallen() -> None:
    values = np.linspace(0.5, 1.0, 501)
    assert bound_of(values, values < 0.8, SOUND) == pytest.approx(0.785, abs=0.006)  # one in twenty may have fallen


def test_bound_is_none_where_nothing_falls_and_spares_sound_images_where_all_do() -> None:
    values = np.linspace(0.5, 1.0, 50)
    assert bound_of(values, np.zeros(50, bool), SOUND) == 0.0
    assert bound_of(values, np.ones(50, bool), SOUND) == pytest.approx(0.9)
    few = np.array([0.94, 0.96, 0.98])  # no 2nd percentile: mean 0.96, deviation 0.02
    assert bound_of(values, np.ones(50, bool), few) == pytest.approx(0.9, abs=0.006)


def test_the_worse_signal_counts() -> None:
    told = [Told("", mirrored, inside, 1.0, np.zeros(0)) for mirrored, inside in ((1, 1), (0.85, 1), (0.95, 0.4))]
    assert (Bounds(0.9, 0.5).badness(told) > 1).tolist() == [False, True, True]
    assert (Bounds().badness(told) > 1).tolist() == [False, False, False]
    assert [Bounds(0.9, 0.5).code(one) for one in told] == ["", "INCONSISTENT", "CUT-OFF"]
    assert Bounds().code(Told("NOT-A-CHEST", 0.5, 0.5, 1.0, np.zeros(0))) == "NOT-A-CHEST"


def test_halves_share_no_patient_and_both_hold_every_stratum() -> None:
    patient = np.array([f"p{i // 2}" for i in range(24)])
    stratum = np.where(np.arange(24) < 8, "ill", "well")
    half = halves(patient, stratum)
    assert not set(patient[half == 0]) & set(patient[half == 1])
    assert [(stratum[half == side] == "ill").sum() for side in (0, 1)] == [4, 4]
    with pytest.raises(BadInput, match="at least 2 patients"):
        halves(patient[:2])


@pytest.mark.parametrize("damage", damages(volumetric=True), ids=lambda one: f"{one.name} {one.grade}")
def test_damages_change_the_image_and_keep_shape_and_dtype(damage: Damage) -> None:
    for volume in (drawn_films().images[1:2], drawn_cases(depth=8).images[0]):
        made = damage.image(volume, (0.0, 255.0))
        assert made.shape == volume.shape
        assert made.dtype == volume.dtype
        if len(volume) > 1 or damage.name != "last slices missing":
            assert np.abs(made.astype(float) - volume).mean() > 0
        np.testing.assert_array_equal(made, damage.image(volume, (0.0, 255.0)))


@pytest.mark.parametrize("name", sorted({one.name for one in damages()} - {"turned"}))
def test_damages_grow(name: str) -> None:
    image = drawn_films().images[1:2]
    found = [damage.image(image, (0.0, 255.0)).astype(float) for damage in damages() if damage.name == name]
    away = [float(np.abs(one - image).mean()) for one in found]
    assert away == sorted(away)


def test_the_truth_turns_with_the_image_and_stays_whole_where_it_is_cut() -> None:
    case = next(film_cases(drawn_films(), np.array([1])))
    assert case.masks is not None
    by_name = {(one.name, one.grade): damaged(case, one, Recipe(grid=(32, 32))).masks for one in damages()}
    np.testing.assert_array_equal(by_name["turned", "180 degrees"], case.masks[:, ::-1, ::-1])
    np.testing.assert_array_equal(by_name["lower part missing", "50%"], case.masks)


def test_black_and_white_are_those_that_the_model_sees() -> None:
    volume = next(series_cases(drawn_cases(), np.array([0]))).pixels
    assert span_of(volume, Recipe(grid=(32, 32), window=(-20.0, 100.0))) == (-20.0, 100.0)
    assert span_of(drawn_films().images[:1], Recipe(grid=(32, 32))) == (0.0, 255.0)
    low, high = span_of(volume, Recipe(grid=(32, 32), percentiles=(0.0, 100.0)))
    assert (low, high) == (float(volume.min()), float(volume.max()))


def test_ignored_pixels_of_a_film_are_marked() -> None:
    films = drawn_films()
    films.masks[0, :4] = 127
    case = next(film_cases(films, np.array([0])))
    assert isinstance(case, Case)
    assert case.masks is not None
    assert set(np.unique(case.masks).tolist()) == {0, 1, 255}
    assert case.present is not None
    assert next(film_cases(films, np.array([0]), labelled=False)).present is None
