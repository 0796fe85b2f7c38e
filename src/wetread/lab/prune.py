"""Structured pruning: whole channels go, then the smaller network learns from its parent.

References
----------
Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, arXiv:2301.12900.
Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015,
arXiv:1503.02531.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch_pruning
from torch import nn

from wetread.lab.inner import cut_inner
from wetread.lab.train import Course, channels_last
from wetread.lab.zoo.hybrid import HybridTransformer
from wetread.records import Recipe

__all__ = ["cut", "distil"]


def cut(parent: nn.Module, recipe: Recipe, ratio: float) -> nn.Module:
    """Return a copy of a network without the least important channels.

    Parameters
    ----------
    ratio
        Share of the channels to drop, over all layers together, 0..1; the last
        layer keeps its outputs.  Each layer keeps a multiple of 8, which is what
        the CPU's kernels work in.  Of a Transformer: see `cut_inner`.
    """
    if isinstance(parent, HybridTransformer):
        return cut_inner(parent, ratio)
    child = copy.deepcopy(parent).cpu().train().requires_grad_(True)
    depth = (recipe.depth,) if recipe.depth else ()
    example = torch.zeros(1, recipe.channels, *depth, *recipe.grid)
    pruner = torch_pruning.pruner.MetaPruner(
        child,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        max_pruning_ratio=0.8,
        ignored_layers=[child.head],
        round_to=8,
    )
    pruner.step()
    return child


def distil(course: Course, parent: nn.Module) -> Course:
    """Return the course with the parent's soft answers beside the labels."""
    return replace(course, teacher=channels_last(copy.deepcopy(parent)).eval().requires_grad_(False))
