"""Structured pruning of networks with attention: units inside a block go, what runs between blocks stays.

Torch-Pruning does not follow attention.  But a head, a hidden unit of a perceptron, an
expanded channel of an inverted residual and a channel between the two convolutions of a
decoder's level are seen by their own block alone, so they can be taken out of it.

Importance, which needs no data: how much a unit can add to what its block gives.

- A head: the Frobenius norm of its value projection times its output projection.
- Another unit: the norm of the weights that leave it, times its size; the size is that of
  the batch norm's weight where there is one, because the norm undoes that of the weights
  that enter, and the norm of the weights that enter where there is none.

References
----------
P. Michel, O. Levy, G. Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019,
arXiv:1905.10650 (whole heads may go).
H. Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, arXiv:1608.08710
(importance by the norm of the weights).
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
    importance: Tensor  # (n,) of each unit
    size: int = 1  # channels a unit: those of a head
    parts: int = 1  # how often all units stand in the outputs: query, key and value

    def kept(self, ratio: float) -> Tensor:
        """Return which units stay, in their order: the most important ones, at least one."""
        count = len(self.importance)
        left = count * (1 - ratio)
        many = round(left) if self.size > 1 else -(-round(left) // ROUND_TO) * ROUND_TO
        return self.importance.argsort(descending=True, stable=True)[: max(1, many)].sort().values

    def channels(self, units: Tensor, parts: int) -> Tensor:
        """Return the channels of units that stand one after the other, `parts` times."""
        one = (units[:, None] * self.size + torch.arange(self.size)).flatten()
        return torch.cat([one + part * len(self.importance) * self.size for part in range(parts)])


def cut_inner(parent: HybridTransformer, ratio: float) -> nn.Module:
    """Return a copy of a network with fewer units inside its blocks.

    Parameters
    ----------
    ratio
        Share of the units of each block to drop, 0..1; heads are rounded to whole ones,
        other units stay in multiples of 8.  With 0 the copy answers exactly as its parent.
        Blocks that are frozen stay as they are: they could not learn to do with less.
    """
    state = dict(parent.state_dict())
    for group in _groups(parent):
        units = group.kept(ratio)
        for name in group.rows:
            _take(state, name, 0, group.channels(units, group.parts))
        _take(state, group.columns, 1, group.channels(units, 1))
    child = fit_shapes(copy.deepcopy(parent), state)
    child.load_state_dict(state)
    return child


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
    size, inner = block.size, block.out.in_features
    value = block.qkv.weight[2 * inner :].reshape(-1, size, block.qkv.in_features)
    leaving = block.out.weight.reshape(block.out.out_features, -1, size)
    added = torch.einsum("ohs,hsi->hoi", leaving, value).detach()
    yield Group((f"{name}.qkv",), f"{name}.out", added.flatten(1).norm(dim=1), size, 3)
    enter, leave = block.mlp[1], block.mlp[3]
    hidden = (enter.weight.norm(dim=1) * leave.weight.norm(dim=0)).detach()  # type: ignore[operator]
    yield Group((f"{name}.mlp.1",), f"{name}.mlp.3", hidden)


def _chain(name: str, layers: dict[str, nn.Module]) -> Iterator[Group]:
    """Yield the channels between the first and the last convolution of a row of layers, each with its norm."""
    kinds = (nn.Conv2d, nn.BatchNorm2d)
    row = [(key, layer) for key, layer in layers.items() if isinstance(layer, kinds)]
    *inner, (last, leave), _ = row
    norm = inner[-1][1]
    if isinstance(inner[0][1], nn.Conv2d) and inner[0][1].groups > 1:
        return  # no expansion: the channels are those that run between blocks
    size = leave.weight.transpose(0, 1).flatten(1).norm(dim=1) * norm.weight.abs()
    yield Group(tuple(f"{name}.{key}" for key, _ in inner), f"{name}.{last}", size.detach())
