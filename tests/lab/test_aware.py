"""Training that knows about int8: it rounds as the build will, learns, and leaves plain weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.lab.test_ship import SMALL, recipe_for, seen
from wetread.lab.aware import aware, plain
from wetread.lab.zoo import build


def answer(network: nn.Module, image: torch.Tensor) -> torch.Tensor:
    given: Any = network(image)
    first: torch.Tensor = given[0] if isinstance(given, tuple) else given
    return first


@pytest.mark.parametrize("name", sorted(SMALL))
def test_what_is_left_is_a_plain_network_with_the_same_weights(name: str) -> None:
    torch.manual_seed(0)
    parent = build(SMALL[name]).eval()
    rounding = aware(parent).train()
    image = torch.from_numpy(seen(name)).repeat(2, *[1] * (4 if recipe_for(name).depth else 3))
    answer(rounding, image)
    left = plain(parent, rounding)
    assert type(left) is type(parent)
    for (key, ours), (same, theirs) in zip(left.named_parameters(), parent.named_parameters(), strict=True):
        assert key == same
        assert torch.equal(ours, theirs)
    gap = (answer(rounding.eval(), image) - answer(left, image)).abs().max()
    assert 0 < gap < 0.5 * answer(left, image).abs().max()


def test_weights_lie_on_256_levels_of_their_channel() -> None:
    torch.manual_seed(0)
    rounding: Any = aware(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 5, 2)))
    for axis, layer in enumerate(rounding):
        weight = layer.weight.detach().transpose(0, axis).flatten(1)
        levels = weight / (weight.abs().amax(1, keepdim=True) / 127)
        torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_a_network_learns_to_be_rounded() -> None:
    """One channel with an outlier has a coarse grid: what rounding takes from the answer can be learnt back."""
    torch.manual_seed(0)
    parent: Any = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 3))
    with torch.no_grad():
        parent[0].weight[:, :, 0, 0] += 12
    images = torch.randn(16, 1, 12, 12)
    wanted = parent(images).detach()
    rounding = aware(parent).train()
    optimiser = torch.optim.Adam(rounding.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = (rounding(images) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[1]
