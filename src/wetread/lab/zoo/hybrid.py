"""Transformer between an EfficientNet-Lite0 encoder and a U-Net decoder, with a mask head and a class head.

Paper: J. Chen et al., "TransUNet: Transformers Make Strong Encoders for Medical
Image Segmentation", 2021, arXiv:2102.04306 (the hybrid of a convolutional stem, a
Transformer on its coarsest features and a decoder with skips).  Blocks: A. Vaswani
et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, with the norms
first; places by a depthwise convolution: X. Chu et al., "Conditional Positional
Encodings for Vision Transformers", 2021, arXiv:2102.10882.
Origin: written here from the papers; the encoder is the first five stages of
`efficientnet_lite`, whose ImageNet weights it takes when asked.
Licence: Apache-2.0 (code and converted weights).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wetread.lab.zoo.efficientnet_lite import EfficientNetLite0, first_blocks
from wetread.lab.zoo.unet import conv_block

__all__ = ["HybridTransformer"]

#: Last block of `EfficientNetLite0` at the strides 4, 8 and 16, and its channels.
TAPS = {2: 24, 4: 40, 10: 112}


class TransformerBlock(nn.Module):
    """Places, then attention, then a perceptron; each added to what came in."""

    def __init__(self, width: int, heads: int, expansion: int = 3) -> None:
        super().__init__()
        self.size = width // heads  # channels of a head; pruning takes whole heads
        self.place = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features [N, C, H, W] of features [N, C, H, W]."""
        _, width, h, w = x.shape
        x = x + self.place(x)
        tokens = x.flatten(2).transpose(1, 2)
        inner = self.out.in_features
        query, key, value = (
            part.reshape(-1, h * w, inner // self.size, self.size).transpose(1, 2)
            for part in self.qkv(self.norm(tokens)).chunk(3, dim=-1)
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(seen.transpose(1, 2).reshape(-1, h * w, inner))
        tokens = tokens + self.mlp(tokens)
        mixed: Tensor = tokens.transpose(1, 2).reshape(-1, width, h, w)
        return mixed


class HybridTransformer(nn.Module):
    """Map an image to K mask logits a pixel, K class logits and K activation maps.

    Parameters
    ----------
    channels : int
        Channels of the input, 1 or 3.
    labels : int
        Number of labels, K.
    width : int
        Channels of a token.
    depth : int
        Number of Transformer blocks.
    heads : int
        Attention heads of a block; divides `width`.
    dropout : float
        Share of pooled features dropped in training.
    pretrained : bool
        Start the encoder from ImageNet weights.
    frozen : int
        Stem and so many of the encoder's first blocks keep their weights and norms.
    classify : bool
        Give class logits and maps.
    outline : bool
        Give the mask; without it there is no decoder.

    Raises
    ------
    ValueError
        Neither is asked for.
    """

    def __init__(
        self,
        channels: int = 1,
        labels: int = 1,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        pretrained: bool = False,
        frozen: int = 0,
        classify: bool = True,
        outline: bool = True,
    ) -> None:
        super().__init__()
        if not (classify or outline):
            raise ValueError("[model]: expected classify or outline, got neither")
        encoder = EfficientNetLite0(channels=channels, stages=5, stride=16, pretrained=pretrained, frozen=frozen)
        self.frozen = frozen
        self.stem, self.blocks = encoder.stem, encoder.blocks
        self.embed = nn.Conv2d(TAPS[10], width, 1)
        self.transformer = nn.Sequential(*[TransformerBlock(width, heads) for _ in range(depth)])
        self.up = nn.ModuleList()
        self.fuse = nn.ModuleList()
        before = width
        for wide, skip in ((64, TAPS[4]), (48, TAPS[2])) if outline else ():
            self.up.append(nn.ConvTranspose2d(before, wide, 2, stride=2))
            self.fuse.append(nn.Sequential(conv_block(wide + skip, wide), conv_block(wide, wide)))
            before = wide
        # Each of the sixteen pixels of a cell has its own logits: nothing is computed at full resolution.
        self.mask = nn.ConvTranspose2d(before, labels, 4, stride=4) if outline else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, labels) if classify else None

    def train(self, mode: bool = True) -> HybridTransformer:
        """Go to training or back; what is frozen stays as in use."""
        super().train(mode)
        for module in first_blocks(self, self.frozen):
            module.eval()
        return self

    def forward(self, image: Tensor) -> tuple[Tensor, ...] | Tensor:
        """Return masks [N, K, H, W], logits [N, K] and maps [N, K, H / 16, W / 16] of an image [N, C, H, W].

        H and W divide by 16.  Without a class head: the masks alone; without an outline: no masks.
        """
        x = self.stem(image)
        skips: list[Tensor] = []
        for at, block in enumerate(self.blocks):
            x = block(x)
            if at in TAPS:
                skips.append(x)
        skips.pop()
        tokens = self.transformer(self.embed(x))
        if self.mask is None:
            return self._classes(tokens)
        x = tokens
        for up, fuse in zip(self.up, self.fuse, strict=True):
            x = fuse(torch.cat([up(x), skips.pop()], dim=1))
        mask: Tensor = self.mask(x)
        return mask if self.head is None else (mask, *self._classes(tokens))

    def _classes(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [N, K] and maps [N, K, H, W] of tokens [N, F, H, W]."""
        assert self.head is not None
        logits: Tensor = self.head(self.dropout(tokens.mean(dim=(2, 3))))
        return logits, functional.conv2d(tokens, self.head.weight[:, :, None, None].to(tokens.dtype))
