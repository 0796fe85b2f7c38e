"""U-Net with ReLU and batch norm, working at half of the input's resolution.

Paper: O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for
Biomedical Image Segmentation", MICCAI 2015, arXiv:1505.04597.
Origin: written here from the paper.  A stride-2 stem stands before the first
level and the logits are enlarged bilinearly, which costs a quarter of the
operations; lung outlines are smooth, so nothing is lost at 224 pixels.  Where they
are not, the last layer can be a transposed convolution of size and stride 2 that
gives the four pixels of each cell their own logits (W. Shi et al., CVPR 2016,
arXiv:1609.05158).
Licence: Apache-2.0, as the rest of Wetread.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["UNet"]


def conv_block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Return 3 x 3 convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Map an image to one logit a pixel.

    Parameters
    ----------
    channels : int
        Channels of the input, 1 or 3.
    widths : sequence of int
        Channels of each level, finest first; the finest level lies at half of
        the input's resolution.
    labels : int
        Number of logits a pixel.
    fine : bool
        Give each pixel of a cell its own logits, instead of enlarging those of the cells.
    outline : bool
        False: no decoder, but class logits and maps of the coarsest level.
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (24, 48, 96, 128),
        labels: int = 1,
        fine: bool = False,
        outline: bool = True,
    ) -> None:
        super().__init__()
        self.fine, self.outline = fine, outline
        self.stem = conv_block(channels, widths[0], stride=2)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.fuse = nn.ModuleList()
        before = widths[0]
        for width in widths:
            self.down.append(nn.Sequential(conv_block(before, width), conv_block(width, width)))
            before = width
        for width in reversed(widths[:-1]) if outline else ():
            self.up.append(nn.ConvTranspose2d(before, width, 2, stride=2))
            self.fuse.append(nn.Sequential(conv_block(2 * width, width), conv_block(width, width)))
            before = width
        self.head: nn.Module = nn.ConvTranspose2d(before, labels, 2, stride=2) if fine else nn.Conv2d(before, labels, 1)

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits [N, labels, H, W] of an image [N, C, H, W]; H and W divide by 16.

        Without an outline: logits [N, labels] and maps [N, labels, H / 16, W / 16], whose mean the logits are.
        """
        x = self.stem(image)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            if level:
                x = functional.max_pool2d(x, 2)
            x = block(x)
            skips.append(x)
        if not self.outline:
            maps: Tensor = self.head(x)
            return maps.mean(dim=(2, 3)), maps
        skips.pop()
        for up, fuse in zip(self.up, self.fuse, strict=True):
            x = fuse(torch.cat([up(x), skips.pop()], dim=1))
        logits: Tensor = self.head(x)
        if self.fine:
            return logits
        return functional.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)
