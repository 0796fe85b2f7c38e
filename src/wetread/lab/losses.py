"""Losses of networks for series: masks, labels, or both from one network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from wetread.lab.train import Answer, logits

__all__ = ["joint_loss", "label_loss", "mask_loss"]


def mask_loss(answer: Answer, targets: Tensor) -> Tensor:
    """Return cross-entropy plus soft Dice of logits and masks [N, K, ...]; Dice over the batch.

    Over the batch, not the slice: in most slices most labels are absent.
    """
    given = logits(answer)
    entropy = functional.binary_cross_entropy_with_logits(given, targets)
    share = torch.sigmoid(given).transpose(0, 1).flatten(1)
    truth = targets.transpose(0, 1).flatten(1)
    overlap = (2 * (share * truth).sum(1) + 1.0) / ((share + truth).sum(1) + 1.0)
    return entropy + (1 - overlap).mean()


def label_loss(smoothing: float) -> Callable[[Answer, Tensor], Tensor]:
    """Return the cross-entropy of logits and labels [N, K]; `smoothing` keeps targets from 0 and 1."""

    def loss(answer: Answer, targets: Tensor) -> Tensor:
        soft = targets * (1 - 2 * smoothing) + smoothing
        return functional.binary_cross_entropy_with_logits(logits(answer), soft)

    return loss


def joint_loss(answer: Answer, targets: Tensor) -> Tensor:
    """Return the mask's loss plus that of the label "is there any", for masks [N, K, H, W]."""
    present = targets.flatten(2).amax(2)
    return mask_loss(answer, targets) + 0.5 * functional.binary_cross_entropy_with_logits(answer[1].float(), present)
