"""What the frozen blocks of a network make of its training images, once for all epochs.

Most of a step's time is spent in the first blocks, on the finest grid.  Where they are
frozen, what they make of a changed image is the same in every epoch and every fold: it is
kept in bfloat16, and the epochs take turns with as many changed views as the recipe asks for.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import Dataset

from wetread.errors import BadInput
from wetread.lab.gridded import GridSamples
from wetread.lab.samples import Key
from wetread.lab.train import autocast
from wetread.lab.weights import put_saved, read_saved
from wetread.lab.zoo.efficientnet_lite import EfficientNetLite0, first_blocks

__all__ = ["Tail", "Views"]


class Tail(nn.Module):
    """A network that is given what its own frozen blocks made.

    Raises
    ------
    BadInput
        The network has no frozen blocks.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        if not isinstance(network, EfficientNetLite0) or not network.frozen:
            raise BadInput("[train] views: expected efficientnet-lite0 with frozen blocks in [model], got none")
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and maps."""
        return self.network.tail(x)


class Views(Dataset[tuple[Tensor, Tensor]]):
    """Samples behind the frozen blocks: pairs of features and target.

    Parameters
    ----------
    samples
        Whose (epoch, row) are seen once for each of the first `count` epochs.
    rows : array of int
        Every row that an epoch of any fold may show.
    tail
        The network with the weights that stay.
    file
        Where they are kept, for a run that goes on and for folds that are trained beside each other.
    """

    def __init__(self, samples: GridSamples, rows: NDArray[np.int64], count: int, tail: Tail, file: Path) -> None:
        self.count = count
        self.place = {int(row): at for at, row in enumerate(rows)}
        digest = _digest(samples, rows, count, tail)
        kept: dict[str, Any] = {}
        if file.exists():
            with suppress(BadInput):  # a damaged one is made anew
                kept = read_saved(file)
        if kept.get("digest") != digest:
            keys = [(view, int(row)) for view in range(count) for row in rows]
            parts = [_seen(samples, keys[at : at + 32], tail.network) for at in track(range(0, len(keys), 32), "views")]
            features, targets = (torch.cat(part) for part in zip(*parts, strict=True))
            kept = {"digest": digest, "features": features, "targets": targets}
            put_saved(file, kept)
        self.features: Tensor = kept["features"]
        self.targets: Tensor = kept["targets"]

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """Return the sample of one (epoch, row)."""
        epoch, row = key
        at = epoch % self.count * len(self.place) + self.place[row]
        return self.features[at].float(), self.targets[at]


def _digest(samples: GridSamples, rows: NDArray[np.int64], count: int, tail: Tail) -> str:
    """Return what the views depend on: images, changes and the weights that stay."""
    network = tail.network
    told = repr((samples.recipe, samples.augment, samples.seed, count, network.frozen)).encode()
    state = [value for part in first_blocks(network, network.frozen) for value in part.state_dict().values()]
    parts = (told, rows, samples.data.images, samples.data.present, *(value.numpy() for value in state))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
    return digest.hexdigest()


def _seen(samples: GridSamples, keys: list[Key], network: EfficientNetLite0) -> tuple[Tensor, Tensor]:
    images, targets = zip(*(samples[key] for key in keys), strict=True)
    batch = torch.stack(images).contiguous(memory_format=torch.channels_last)
    network.eval()
    with torch.inference_mode(), autocast(batch.device, True):
        features = network.trunk(batch).bfloat16()
    # A clone is an ordinary tensor, which autograd takes.
    return features.clone(), torch.stack(targets)
