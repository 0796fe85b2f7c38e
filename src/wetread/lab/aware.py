"""Training that knows about int8: for a build that lost too much when it was quantized after training.

Weights and inputs of each convolution and product are rounded to 8 bits on the way forward,
while gradients pass as if they were not; the network learns from its parent's answers and
from the labels.  What is kept are plain weights, which lie where rounding hurts less: they
are exported and quantized as any others.

The grids are those that the quantizer takes: of weights symmetric and by output channel, so
that a batch norm that is folded in later changes nothing; of inputs by tensor, from a moving
range.  The class head stays in float, as it does in the build.

References
----------
Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, arXiv:1712.05877.
Bengio, Leonard, Courville, "Estimating or Propagating Gradients Through Stochastic
Neurons for Conditional Computation", 2013, arXiv:1308.3432 (the straight-through estimator).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["aware", "plain"]

KINDS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
#: How fast the range of an input follows what is seen.
MOMENTUM = 0.1


class Rounded(nn.Module):
    """Round a weight to 8 bits, by output channel."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight on its grid, with the gradient of the weight itself."""
        others = [at for at in range(weight.ndim) if at != self.axis]
        scale = weight.detach().abs().amax(others).clamp_min(1e-8) / 127
        zero = torch.zeros(len(scale), dtype=torch.int32, device=weight.device)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, self.axis, -128, 127)


class Seen(nn.Module):
    """Round an input to 8 bits between the ends of a range that follows what is seen in training."""

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the input on its grid, in its own precision."""
        values = x.float()
        if self.training:
            ends = torch.stack([values.detach().amin().clamp_max(0), values.detach().amax().clamp_min(0)])
            step = 1.0 if self.high == self.low else MOMENTUM
            self.low.lerp_(ends[0], step)
            self.high.lerp_(ends[1], step)
        scale = ((self.high - self.low) / 255).clamp_min(1e-8)
        zero = (-self.low / scale).round().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255).to(x.dtype)


def aware(parent: nn.Module) -> nn.Module:
    """Return a copy of a network that rounds as its int8 build will."""
    network = copy.deepcopy(parent)
    for name, layer in list(network.named_modules()):
        # The class head also makes the map: the build keeps both in float.
        if isinstance(layer, KINDS) and not (name == "head" and isinstance(layer, nn.Linear)):
            transposed = isinstance(layer, nn.ConvTranspose2d | nn.ConvTranspose3d)
            parametrize.register_parametrization(layer, "weight", Rounded(1 if transposed else 0))
            layer.add_module("seen", Seen())
            layer.register_forward_pre_hook(_round_input)
    return network


def _round_input(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    seen: nn.Module = layer.seen  # type: ignore[assignment]
    return (seen(inputs[0]), *inputs[1:])


def plain(parent: nn.Module, trained: nn.Module) -> nn.Module:
    """Return what was learnt as a network of the parent's kind, which rounds nothing."""
    state = {
        name.replace("parametrizations.weight.original", "weight"): value
        for name, value in trained.state_dict().items()
        if not name.endswith((".seen.low", ".seen.high"))
    }
    network = copy.deepcopy(parent)
    network.load_state_dict(state)
    return network.eval()
