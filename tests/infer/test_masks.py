"""What a pair of lungs can look like, and what it cannot."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from wetread.infer.masks import filled, lungs, soft


def canvas(*ellipses: tuple[float, float, float, float], size: int = 128) -> npt.NDArray[np.float32]:
    y, x = np.ogrid[:size, :size]
    out = np.full((size, size), -4.0, np.float32)
    for cy, cx, ry, rx in ellipses:
        out[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1] = 4.0
    return out


LEFT, RIGHT = (64, 38, 40, 18), (64, 90, 40, 18)


def test_two_lungs_by_side() -> None:
    pair = lungs(canvas(RIGHT, LEFT), (128, 128))
    assert pair is not None
    assert np.nonzero(pair[0])[1].mean() == pytest.approx(38, abs=0.6)
    assert np.nonzero(pair[1])[1].mean() == pytest.approx(90, abs=0.6)


def test_specks_are_dropped_and_holes_filled() -> None:
    logits = canvas(LEFT, RIGHT, (5, 5, 2, 2))
    logits[60:66, 36:40] = -4.0
    pair = lungs(logits, (128, 128))
    assert pair is not None
    assert pair[0][62, 38]
    assert not (pair[0] | pair[1])[5, 5]


def test_lungs_that_touch_are_cut_between_them() -> None:
    logits = canvas(LEFT, RIGHT)
    logits[60:63, 38:90] = 4.0
    pair = lungs(logits, (128, 128))
    assert pair is not None
    assert not (pair[0] & pair[1]).any()
    assert pair[0].sum() == pytest.approx(pair[1].sum(), rel=0.1)


@pytest.mark.parametrize(
    "logits",
    [
        canvas(),
        canvas((64, 64, 8, 8)),
        canvas((64, 64, 64, 64)),
        canvas(LEFT, (20, 90, 4, 4)),
        canvas((25, 64, 18, 40), (100, 64, 18, 40)),
        np.full((128, 128), 4.0, np.float32),
    ],
    ids=["nothing", "one speck", "one disc over all", "a lung and a speck", "one above the other", "everything"],
)
def test_what_is_no_pair_of_lungs(logits: npt.NDArray[np.float32]) -> None:
    assert lungs(logits, (128, 128)) is None


def test_soft_logits_agree_with_the_cleaned_mask() -> None:
    logits = canvas(LEFT, RIGHT)
    pair = lungs(logits, (128, 128))
    assert pair is not None
    np.testing.assert_array_equal(soft(pair[0], logits) > 0, pair[0])


def test_filled_leaves_the_outside_alone() -> None:
    ring = canvas((64, 64, 40, 40)) > 0
    ring &= ~(canvas((64, 64, 20, 20)) > 0)
    np.testing.assert_array_equal(filled(ring), canvas((64, 64, 40, 40)) > 0)
