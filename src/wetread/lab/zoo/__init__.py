"""One architecture a file; `build` makes one from a recipe's ``[model]`` table."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from wetread.errors import BadInput
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

    Its `prior` is the share of pixels that each label is taken to cover before anything is learned.  Without one
    the share is about a half; where the truth is a hundredth, labels may die while all outputs fall to that.

    Raises
    ------
    BadInput
        The architecture is not in `ARCHITECTURES`, it has no such option, its options make none, or the prior is no
        share.

    References
    ----------
    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, arXiv:1708.02002, Section 3.3 (the prior).
    """
    options: dict[str, Any] = dict(table)
    name, prior = options.pop("architecture", ""), options.pop("prior", None)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise BadInput(f"recipe, [model] architecture: expected one of {sorted(ARCHITECTURES)}, got {name!r}")
    known = inspect.signature(ARCHITECTURES[name]).parameters
    if unknown := sorted(set(options) - set(known)):
        raise BadInput(f"recipe, [model]: expected for {name} some of {', '.join(known)}, got {', '.join(unknown)}")
    try:
        network = ARCHITECTURES[name](**options)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise BadInput(f"recipe, [model]: expected options that make a {name}, got {options}: {error}") from error
    if prior is not None:
        if not (isinstance(prior, int | float) and 0 < prior < 1):
            raise BadInput(f"recipe, [model] prior: expected a share between 0 and 1, got {prior!r}")
        last: Any = getattr(network, "mask", None) or network.head
        nn.init.constant_(last.bias, math.log(prior / (1 - prior)))
    return network
