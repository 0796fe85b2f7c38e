"""Known answers for every formula."""

from __future__ import annotations

import numpy as np
import pytest

from wetread import measures


def square(y: int, x: int, side: int = 10, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[y : y + side, x : x + side] = True
    return mask


def test_dice_of_half_overlapping_squares() -> None:
    assert measures.dice(square(5, 5), square(5, 10)) == pytest.approx(0.5)
    assert measures.dice(square(5, 5), square(5, 5)) == 1.0
    assert measures.dice(square(5, 5), square(25, 25)) == 0.0


def test_dice_of_two_empty_masks_is_one() -> None:
    assert measures.dice(np.zeros((4, 4), bool), np.zeros((4, 4), bool)) == 1.0


def test_dice_leaves_out_what_does_not_count() -> None:
    counted = np.ones((40, 40), bool)
    counted[:, 15:] = False
    assert measures.dice(square(5, 5), square(5, 10), counted) == pytest.approx(2 * 50 / 150)


def test_hausdorff_of_a_shift_is_the_shift() -> None:
    assert measures.hausdorff95(square(5, 5), square(5, 8)) == pytest.approx(3.0)
    assert measures.hausdorff95(square(5, 5), square(8, 5), (0.5, 1.0)) == pytest.approx(1.5)
    assert measures.hausdorff95(square(5, 5), square(5, 5)) == 0.0


def test_hausdorff_with_an_empty_mask() -> None:
    empty = np.zeros((40, 40), bool)
    assert measures.hausdorff95(square(5, 5), empty) == float("inf")
    assert measures.hausdorff95(empty, empty) == 0.0


def test_hausdorff_ignores_the_farthest_twentieth() -> None:
    spiked = square(5, 5, 20)
    spiked[12, 25:27] = True
    assert measures.hausdorff95(square(5, 5, 20), spiked) == 0.0


def test_auroc_counts_pairs_and_halves_ties() -> None:
    truth = np.array([0, 0, 1, 1])
    assert measures.auroc(truth, np.array([0.1, 0.4, 0.35, 0.8])) == pytest.approx(0.75)
    assert measures.auroc(truth, np.zeros(4)) == 0.5
    assert measures.auroc(truth, np.array([0, 1, 2, 3])) == 1.0


def test_auroc_equals_the_count_over_all_pairs() -> None:
    rng = np.random.default_rng(1)
    truth, score = rng.integers(0, 2, 200), rng.integers(0, 20, 200)
    pairs = score[truth == 1][:, None] - score[truth == 0][None]
    assert measures.auroc(truth, score) == pytest.approx((pairs > 0).mean() + 0.5 * (pairs == 0).mean())


def test_auroc_of_one_class_raises() -> None:
    with pytest.raises(ValueError, match="both classes"):
        measures.auroc(np.ones(3), np.arange(3))


def test_threshold_keeps_the_wanted_sensitivity() -> None:
    truth, score = np.array([1] * 100 + [0] * 10), np.concatenate([np.arange(100), np.full(10, 200)])
    threshold = measures.threshold_at_sensitivity(truth, score, 0.95)
    assert threshold == 5
    assert measures.sensitivity(truth, score >= threshold) == pytest.approx(0.95)
    assert measures.sensitivity(truth, score >= threshold + 1e-9) < 0.95


def test_threshold_without_positives_raises() -> None:
    with pytest.raises(ValueError, match="positive"):
        measures.threshold_at_sensitivity(np.zeros(3), np.arange(3), 0.9)


def test_sensitivity_specificity_accuracy() -> None:
    truth, present = np.array([1, 1, 1, 1, 0, 0]), np.array([1, 1, 1, 0, 0, 1])
    assert measures.sensitivity(truth, present) == 0.75
    assert measures.specificity(truth, present) == 0.5
    assert measures.accuracy(truth, present) == pytest.approx(4 / 6)
    assert np.isnan(measures.sensitivity(np.zeros(2), np.zeros(2)))
    assert np.isnan(measures.specificity(np.ones(2), np.ones(2)))


def test_calibration_error_of_a_known_gap() -> None:
    truth = np.array([1] * 8 + [0] * 2)
    assert measures.calibration_error(truth, np.full(10, 0.8)) == pytest.approx(0.0)
    assert measures.calibration_error(truth, np.full(10, 0.5)) == pytest.approx(0.3)


def test_bootstrap_draws_groups_not_rows() -> None:
    rng = np.random.default_rng(0)
    by_group = rng.normal(size=20)
    values, groups = np.repeat(by_group, 50), np.repeat(np.arange(20), 50)
    wide = measures.bootstrap_interval(np.mean, (values,), groups)
    narrow = measures.bootstrap_interval(np.mean, (values,), np.arange(1000))
    assert wide.groups == 20
    assert wide.n == 1000
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    # The interval of a mean of 20 independent groups is about 1.96 standard errors on each side.
    assert wide.high - wide.low == pytest.approx(2 * 1.96 * by_group.std() / np.sqrt(20), rel=0.15)


def test_bootstrap_leaves_out_draws_of_one_class() -> None:
    truth, score = np.array([0, 1, 1, 1]), np.array([0.0, 1.0, 2.0, 3.0])
    found = measures.bootstrap_interval(measures.auroc, (truth, score), np.arange(4), draws=200)
    assert (found.low, found.high) == (1.0, 1.0)


def test_bootstrap_leaves_out_draws_without_a_figure() -> None:
    truth, present = np.array([1, 0, 0, 0]), np.array([1, 0, 0, 1])
    found = measures.bootstrap_interval(measures.sensitivity, (truth, present), np.arange(4), draws=200)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    none = measures.bootstrap_interval(measures.sensitivity, (np.zeros(4), present), np.arange(4), draws=20)
    assert np.isnan([none.value, none.low, none.high]).all()


def test_a_figure_that_is_not_defined_has_no_interval() -> None:
    found = measures.bootstrap_interval(measures.auroc, (np.ones(4), np.arange(4.0)), np.arange(4), 20)
    assert np.isnan([found.value, found.low, found.high]).all()


def test_hausdorff_of_volumes_takes_the_spacing_of_each_axis() -> None:
    one, other = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    one[5:10, 5:10, 5:10] = True
    other[7:12, 5:10, 5:10] = True
    assert measures.hausdorff95(one, other, (3.0, 1.0, 1.0)) == pytest.approx(6.0)
    assert measures.hausdorff95(one, other, (1.0, 1.0, 1.0)) == pytest.approx(2.0)


def test_sensitivity_at_specificity_leaves_the_negatives_alone() -> None:
    truth = np.array([0] * 10 + [1] * 4)
    score = np.array([*range(10), 8.5, 9.5, 7.5, 20])
    assert measures.sensitivity_at_specificity(truth, score, 0.9) == pytest.approx(0.75)
    assert measures.sensitivity_at_specificity(truth, score, 1.0) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="both classes"):
        measures.sensitivity_at_specificity(np.ones(3), np.ones(3), 0.9)
