"""The named peer of the speed benchmark: the same fp32 networks, as a user of MONAI would run them.

torch eager, MONAI's transforms for grid and intensities, MONAI's GradCAM for the map:
lungs on the whole film, then the classifier on the box around them.  A process of its
own that answers each line on standard input with the milliseconds of one reading in
JSON, so that the benchmark can alternate with it and never imports torch.

What is unfair: the weights are random (time does not depend on them, so the box is the
middle of the film), and a user could compile or export the networks instead.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms.compose import Compose
from monai.transforms.croppad.array import SpatialPad
from monai.transforms.intensity.array import ScaleIntensityRangePercentiles
from monai.transforms.spatial.array import Resize
from monai.transforms.utility.array import EnsureChannelFirst
from monai.visualize.class_activation_maps import GradCAM

from wetread.infer.model import Model, read
from wetread.lab.plan import load_plan
from wetread.lab.zoo import build


def chain(model: Model) -> Callable[[npt.NDArray[Any]], torch.Tensor]:
    """Return the transforms of a recipe in MONAI's words."""
    low, high = model.recipe.percentiles
    return Compose(
        [
            EnsureChannelFirst(channel_dim="no_channel"),
            Resize(max(model.recipe.grid), size_mode="longest", mode="area"),
            ScaleIntensityRangePercentiles(low, high, 0.0, 1.0, clip=True),
            SpatialPad(model.recipe.grid),
        ]
    )


def reader(models: Path) -> Callable[[npt.NDArray[Any]], tuple[Any, Any, Any]]:
    """Return a function film (y, x) -> lung mask on the film, class probabilities, map on the film."""
    lungs, classes = read(models / "cxr-lungs"), read(models / "cxr-pneumonia")
    unet = build(load_plan("cxr-lungs")["model"]).eval()
    network = build({**load_plan("cxr-pneumonia")["model"], "pretrained": False}).eval()
    onto_lungs, onto_classes = chain(lungs), chain(classes)
    cam = GradCAM(nn_module=Logits(network), target_layers="network.top.2")

    def run(film: npt.NDArray[Any]) -> tuple[Any, Any, Any]:
        height, width = film.shape
        with torch.no_grad():
            logits = unet(onto_lungs(film)[None])
        mask = torch.nn.functional.interpolate(logits, size=(height, width), mode="bilinear") > 0
        crop = film[height // 10 : -height // 10, width // 10 : -width // 10]
        tensor = onto_classes(crop)[None]
        with torch.no_grad():
            probabilities = network(tensor)[0].sigmoid()
        heat = cam(tensor)
        return mask, probabilities, torch.nn.functional.interpolate(heat, size=crop.shape, mode="bilinear")

    return run


class Logits(torch.nn.Module):
    """The classifier without its second output: what GradCAM expects."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, K]."""
        logits: torch.Tensor = self.network(image)[0]
        return logits


def answers(models: Path, film: npt.NDArray[Any], lines: Iterator[str]) -> Iterator[str]:
    """Yield, for every line that comes, the milliseconds of one reading."""
    run = reader(models)
    for _ in lines:
        start = time.perf_counter()
        run(film)
        yield json.dumps({"ms": (time.perf_counter() - start) * 1e3})


if __name__ == "__main__":
    for answer in answers(Path(sys.argv[1]), np.load(sys.argv[2]), iter(sys.stdin)):
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
