"""Training behind frozen blocks, and bleeds that are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.lab.series import drawn_cases
from wetread.errors import BadInput
from wetread.lab import crossed, zoo
from wetread.lab.augment import Augment
from wetread.lab.bleeds import draw_bleed
from wetread.lab.gridded import Gridded, GridSamples
from wetread.lab.plan import recipe_of
from wetread.lab.views import Tail, Views
from wetread.lab.weights import load_weights
from wetread.prepare import lay

MODEL = {"architecture": "efficientnet-lite0", "channels": 3, "stages": 4, "stride": 16, "frozen": 3}
TABLE: dict[str, Any] = {
    "id": "ct-toy",
    "task": "classification",
    "data": "toy",
    "model": MODEL,
    "recipe": {"grid": [160, 128], "window": [-20, 100], "channels": 3, "beside": True},
    "folds": {"by": "patient", "n": 2},
    "train": {"epochs": 2, "batch": 2, "learning_rate": 1e-3, "workers": 0, "views": 1, "repeat_positive": 2},
    "augment": {"bleed": 1.0},
    "ship": {},
}
RECIPE = recipe_of(TABLE["recipe"])


def head(size: float = 60.0) -> npt.NDArray[np.float32]:
    """Return a slice (160, 128) of grainy brain in a skull, grey in [0, 1]."""
    y, x = np.mgrid[:160, :128].astype(np.float64)
    far = np.hypot((y - 80) / 1.2, x - 64)
    grain = np.random.default_rng(1).normal(0.45, 0.02, far.shape)
    return np.where(far < size - 5, grain, np.where(far < size, 1.0, 0.0)).astype(np.float32)


def heads() -> Gridded:
    """Return two patients of three slices; the first bleeds."""
    present = np.array([[0], [1], [0], [0], [0], [0]])
    images = np.stack([head()] * 6)
    grids = (lay((3, 160, 128), 1.0, RECIPE),) * 2
    return Gridded(images, np.zeros(images.shape, np.uint8), present, np.repeat([0, 1], 3), grids)


def samples(bleed: float) -> GridSamples:
    return GridSamples(heads(), RECIPE, Augment.from_table({"bleed": bleed}), 1, 1, False)


@pytest.mark.parametrize("seed", range(12))
def test_drawn_bleed_is_bright_and_inside_the_skull(seed: int) -> None:
    planes = np.stack([head()] * 3)
    drawn = draw_bleed(planes, np.random.default_rng(seed))
    if drawn is None:
        return  # it was too faint or small to be called one
    changed = np.abs(drawn - planes) > 0.05
    y, x = np.argwhere(changed[1]).T
    assert changed[1].sum() > 20
    assert (np.hypot((y - 80) / 1.2, x - 64) < 56).all()
    assert drawn[1][changed[1]].mean() > planes[1][changed[1]].mean()
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_most_heads_have_room_for_a_bleed_and_a_crown_has_none() -> None:
    rng = np.random.default_rng(0)
    assert sum(draw_bleed(np.stack([head()] * 3), rng) is not None for _ in range(20)) >= 12
    assert draw_bleed(np.stack([head(18)] * 3), rng) is None
    assert draw_bleed(np.zeros((3, 160, 128), np.float32), rng) is None


def test_a_slice_with_a_drawn_bleed_is_positive_and_one_that_bleeds_stays_as_it_is() -> None:
    assert [float(samples(0.0)[0, row][1]) for row in range(6)] == [0, 1, 0, 0, 0, 0]
    assert sum(float(samples(1.0)[epoch, row][1]) for epoch in range(4) for row in (0, 2, 3, 4, 5)) >= 10


def test_trunk_and_tail_make_the_network() -> None:
    tail = Tail(zoo.build(MODEL)).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        parts = tail(tail.network.trunk(image))
        for ours, whole in zip(parts, tail.network(image), strict=True):
            assert torch.equal(ours, whole)


def test_epochs_take_turns_with_the_views(tmp_path: Path) -> None:
    tail, file = Tail(zoo.build(MODEL)), tmp_path / "views.pt"
    seen = Views(samples(0.0), np.arange(8), 2, tail, file)
    made = file.stat().st_mtime_ns
    again = Views(samples(0.0), np.arange(8), 2, tail, file)
    assert file.stat().st_mtime_ns == made
    assert torch.equal(seen.features, again.features)
    Views(samples(1.0), np.arange(8), 2, tail, file)
    assert file.stat().st_mtime_ns != made
    assert torch.equal(seen[0, 7][0], seen[2, 7][0])
    assert not torch.equal(seen[0, 7][0], seen[1, 7][0])
    assert [float(seen[1, row][1]) for row in (0, 1, 7)] == [0, 1, 1]


def test_a_network_without_frozen_blocks_has_no_views() -> None:
    with pytest.raises(BadInput, match="views: expected efficientnet-lite0 with frozen blocks"):
        Tail(zoo.build(MODEL | {"frozen": 0}))


def test_folds_are_trained_behind_the_frozen_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = np.array([0, 1])
    monkeypatch.setattr(crossed, "read_cases", lambda table, data: (drawn_cases(2), heads(), folds))
    files = crossed.train_folds(TABLE, tmp_path, tmp_path)
    torch.manual_seed(7)
    first = zoo.build(MODEL).state_dict()
    for file in files:
        learnt = load_weights(file)[1].state_dict()
        assert all(torch.equal(learnt[key], first[key]) for key in learnt if key.startswith(("stem.", "blocks.2.")))
        assert not torch.equal(learnt["blocks.3.body.0.weight"], first["blocks.3.body.0.weight"])
