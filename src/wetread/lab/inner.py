"""Structured pruning of networks with attention: units inside a block go, what runs between blocks stays.

Torch-Pruning does not follow attention.  But a head, a hidden unit of a perceptron, an
expanded channel of an inverted residual and a channel between the two convolutions of a
decoder's level are seen by their own block alone, so they can be taken out of it.

Which ones matter least is asked of the loss: by how much it changes, in the first order, if the weights that leave a
unit are taken away; without them it adds nothing to what its block gives.

References
----------
P. Michel, O. Levy, G. Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019,
arXiv:1905.10650 (whole heads may go; which ones, the gradient says).
P. Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019,
arXiv:1906.10771 (the first order of the loss).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wetread.lab.weights import fit_shapes
from wetread.lab.zoo.efficientnet_lite import Block, first_blocks
from wetread.lab.zoo.hybrid import HybridTransformer, TransformerBlock

__all__ = ["cut_inner"]

#: What the CPU's kernels work in.
ROUND_TO = 8


@dataclass(frozen=True, slots=True)
class Group:
    """Units of one kind inside one block."""

    rows: tuple[str, ...]  # layers whose outputs they are
    columns: str  # layer whose inputs they are
    size: int = 1  # channels a unit: those of a head
    parts: int = 1  # how often all units stand in the outputs: query, key and value


def cut_inner(judged: HybridTransformer, ratio: float) -> nn.Module:
    """Return a copy of a network with fewer units inside its blocks.

    Parameters
    ----------
    judged
        Its weights have the gradient of the loss.
    ratio
        Share of the units of each block to drop, 0..1; heads are rounded to whole ones,
        other units stay in multiples of 8.  With 0 the copy answers exactly as it does.
        Blocks that are frozen stay as they are: they could not learn to do with less.
    """
    state = dict(judged.state_dict())
    for group in _groups(judged):
        leave = judged.get_parameter(f"{group.columns}.weight")
        assert leave.grad is not None
        change = (leave * leave.grad).transpose(0, 1).flatten(1).sum(dim=1).reshape(-1, group.size).sum(dim=1).abs()
        units = _kept(change, ratio, 1 if group.size > 1 else ROUND_TO)
        for name in group.rows:
            _take(state, name, 0, _channels(units, len(change), group.size, group.parts))
        _take(state, group.columns, 1, _channels(units, len(change), group.size))
    child = fit_shapes(copy.deepcopy(judged), state)
    child.load_state_dict(state)
    return child


def _kept(change: Tensor, ratio: float, round_to: int) -> Tensor:
    """Return which units stay, in their order: those that change the loss most, at least one."""
    left = len(change) * (1 - ratio)
    many = round(left) if round_to == 1 else -(-round(left) // round_to) * round_to
    return change.argsort(descending=True, stable=True)[: max(1, many)].sort().values


def _channels(units: Tensor, count: int, size: int, parts: int = 1) -> Tensor:
    """Return the channels of some of `count` units that stand one after the other, `parts` times."""
    one = (units[:, None] * size + torch.arange(size)).flatten()
    return torch.cat([one + part * count * size for part in range(parts)])


def _take(state: dict[str, Tensor], layer: str, axis: int, channels: Tensor) -> None:
    for key in ("weight", "bias", "running_mean", "running_var"):
        value = state.get(f"{layer}.{key}")
        if value is not None and value.ndim > axis:
            state[f"{layer}.{key}"] = value.index_select(axis, channels)


def _groups(network: HybridTransformer) -> Iterator[Group]:
    frozen = {id(module) for module in first_blocks(network, network.frozen)}
    for name, module in network.named_modules():
        if isinstance(module, TransformerBlock):
            yield from _attention(name, module)
        elif isinstance(module, Block) and id(module) not in frozen:
            yield from _chain(f"{name}.body", dict(module.body.named_children()))
        elif name.startswith("fuse.") and name.count(".") == 1:
            layers = {f"{at}.{key}": one for at, pair in module.named_children() for key, one in pair.named_children()}
            yield from _chain(name, layers)


def _attention(name: str, block: TransformerBlock) -> Iterator[Group]:
    """Yield the heads and the perceptron's hidden units of a Transformer block."""
    yield Group((f"{name}.qkv",), f"{name}.out", block.size, 3)
    yield Group((f"{name}.mlp.1",), f"{name}.mlp.3")


def _chain(name: str, layers: dict[str, nn.Module]) -> Iterator[Group]:
    """Yield the channels between the first and the last convolution of a row of layers, each with its norm."""
    row = [(key, layer) for key, layer in layers.items() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    *inner, (last, _), _ = row
    first = inner[0][1]
    if isinstance(first, nn.Conv2d) and first.groups > 1:
        return  # no expansion: the channels are those that run between blocks
    yield Group(tuple(f"{name}.{key}" for key, _ in inner), f"{name}.{last}")
