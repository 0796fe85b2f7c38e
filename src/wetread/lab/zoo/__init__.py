"""One architecture a file; `build` makes one from a recipe's ``[model]`` table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from wetread.lab.zoo.efficientnet_lite import EfficientNetLite0
from wetread.lab.zoo.hybrid import HybridTransformer
from wetread.lab.zoo.unet import UNet
from wetread.lab.zoo.unet3d import UNet3d

__all__ = ["ARCHITECTURES", "build"]

#: Architecture name, as recipes spell it, -> what makes it.
ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "efficientnet-lite0": EfficientNetLite0,
    "hybrid-transformer": HybridTransformer,
    "unet": UNet,
    "unet3d": UNet3d,
}


def build(table: Mapping[str, Any]) -> nn.Module:
    """Make the network that a recipe's ``[model]`` table describes.

    Raises
    ------
    KeyError
        The architecture is not in `ARCHITECTURES`.
    """
    options = dict(table)
    name = options.pop("architecture")
    if name not in ARCHITECTURES:
        raise KeyError(f"[model] architecture: expected one of {sorted(ARCHITECTURES)}, got {name!r}")
    return ARCHITECTURES[name](**options)
