"""Volumetric U-Net with ReLU and batch norm, working at half of the input's resolution.

Paper: O. Cicek, A. Abdulkadir, S. S. Lienkamp, T. Brox, O. Ronneberger, "3D U-Net:
Learning Dense Volumetric Segmentation from Sparse Annotation", MICCAI 2016,
arXiv:1606.06650.  Logits of each voxel from a coarser cell as in W. Shi et al.,
"Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016, arXiv:1609.05158.
Origin: written here from the papers.  A stride-2 stem stands before the first
level; the last layer, a transposed convolution of size and stride 2, gives the
eight voxels of each cell their own logits, so that the outline is not enlarged.
Licence: Apache-2.0, as the rest of Wetread.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["UNet3d"]


def conv_block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Return 3 x 3 x 3 convolution, batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm3d(channels_out),
        nn.ReLU(inplace=True),
    )


class UNet3d(nn.Module):
    """Map a volume to K logits a voxel.

    Parameters
    ----------
    channels : int
        Channels of the input.
    widths : sequence of int
        Channels of each level, finest first; the finest level lies at half of
        the input's resolution.
    labels : int
        Number of logits a voxel, K.
    """

    def __init__(self, channels: int = 1, widths: Sequence[int] = (24, 48, 96), labels: int = 1) -> None:
        super().__init__()
        self.stem = conv_block(channels, widths[0], stride=2)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        self.fuse = nn.ModuleList()
        before = widths[0]
        for width in widths:
            self.down.append(nn.Sequential(conv_block(before, width), conv_block(width, width)))
            before = width
        for width in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose3d(before, width, 2, stride=2))
            self.fuse.append(nn.Sequential(conv_block(2 * width, width), conv_block(width, width)))
            before = width
        self.head = nn.ConvTranspose3d(before, labels, 2, stride=2)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits [N, K, D, H, W] of a volume [N, C, D, H, W]; the sizes divide by 2 ** len(widths)."""
        x = self.stem(image)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            if level:
                x = functional.max_pool3d(x, 2)
            x = block(x)
            skips.append(x)
        skips.pop()
        for up, fuse in zip(self.up, self.fuse, strict=True):
            x = fuse(torch.cat([up(x), skips.pop()], dim=1))
        logits: Tensor = self.head(x)
        return logits
