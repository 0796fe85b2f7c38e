"""Structured pruning: whole channels go, then the smaller network learns from its parent.

Which channels matter least is asked of the training images: by how much the loss changes, in the first order, if a
channel's weights are taken away.  The size of the weights tells less: in an EfficientNet a channel's size is undone by
the norm behind it.

References
----------
Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, arXiv:2301.12900.
Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019,
arXiv:1906.10771 (the first order of the loss; a few channels at a time).
Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015,
arXiv:1503.02531.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch_pruning
from torch import Tensor, nn

from wetread.lab.inner import cut_inner
from wetread.lab.train import Course, channels_last
from wetread.lab.zoo.efficientnet_lite import first_blocks
from wetread.lab.zoo.hybrid import HybridTransformer
from wetread.records import Recipe

__all__ = ["cut", "distil"]

#: Training images that are asked, and how many at a time: a volume holds as many values as dozens of slices.
ASKED = {"slices": (640, 32), "volumes": (64, 8)}
#: In so many steps the channels go; after each the ones that are left are judged anew.
STEPS = 5


def cut(parent: nn.Module, recipe: Recipe, ratio: float, course: Course) -> nn.Module:
    """Return a copy of a network without the least important channels.

    Parameters
    ----------
    ratio
        Share of the channels to drop, of each layer, 0..1; the last layer keeps its
        outputs, and frozen blocks stay as they are: they could not learn to do with less.
        What is left of a layer is rounded down to a multiple of 8, which is what the CPU's
        kernels work in: of 24 channels 0.3 leaves 16, and 0.4 leaves 8.
        Of a Transformer: see `cut_inner`.
    course
        Its images and its loss say which channels matter.
    """
    child = copy.deepcopy(parent).cpu().requires_grad_(True)
    batches = list(course.some(*ASKED["volumes" if recipe.depth else "slices"]))
    if isinstance(child, HybridTransformer):
        _judge(child, course, batches)
        child = cut_inner(child, ratio)
        child.zero_grad(set_to_none=True)
    else:
        _cut_channels(child, recipe, ratio, course, batches)
    for module in _frozen(child):
        module.requires_grad_(False)
    return child


def _frozen(network: nn.Module) -> list[nn.Module]:
    return first_blocks(network, getattr(network, "frozen", 0))


def _cut_channels(
    network: nn.Module, recipe: Recipe, ratio: float, course: Course, batches: Sequence[tuple[Tensor, Tensor]]
) -> None:
    depth = (recipe.depth,) if recipe.depth else ()
    pruner = torch_pruning.pruner.MetaPruner(
        network,
        torch.zeros(1, recipe.channels, *depth, *recipe.grid),
        importance=torch_pruning.importance.GroupTaylorImportance(),
        pruning_ratio=ratio,
        max_pruning_ratio=0.8,
        iterative_steps=STEPS,
        ignored_layers=[network.head, *_frozen(network)],
        round_to=8,
    )
    for _ in range(STEPS):
        _judge(network, course, batches)
        pruner.step()
        network.zero_grad(set_to_none=True)
        _settle(network, batches)


def _judge(network: nn.Module, course: Course, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Leave the gradient of the loss over all images in the weights."""
    network.eval()
    for images, targets in batches:
        course.loss(network(images), targets).backward()  # type: ignore[no-untyped-call]


@torch.no_grad()
def _settle(network: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Let each batch norm measure what enters it, now that channels before it are gone."""
    network.train()
    kinds = nn.BatchNorm2d | nn.BatchNorm3d
    norms = [norm for norm in network.modules() if isinstance(norm, kinds) and norm.training]  # but for frozen ones
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    for images, _ in batches:
        network(images)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum


def distil(course: Course, parent: nn.Module) -> Course:
    """Return the course with the parent's soft answers beside the labels."""
    return replace(course, teacher=channels_last(copy.deepcopy(parent)).eval().requires_grad_(False))
