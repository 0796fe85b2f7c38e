"""The pneumonia classifier: its loss, its stress tests and what it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wetread.lab import zoo
from wetread.lab.augment import Augment
from wetread.lab.data import held_back, kermany
from wetread.lab.plan import recipe_of
from wetread.lab.predict import Predictor, eager, lung_boxes, predict_logits
from wetread.lab.samples import Change, PneumoniaSamples
from wetread.lab.train import Answer, Aside, Course, Plan, logits
from wetread.measures import auroc, specificity, threshold_at_sensitivity
from wetread.records import Recipe

__all__ = ["damages", "guided_loss", "pneumonia_course", "stride_of"]


def guided_loss(share: float, smoothing: float, guidance: float) -> Callable[[Answer, Tensor], Tensor]:
    """Return a cross-entropy that gives both classes the same weight and asks for evidence from the lungs.

    Targets [N, 1 + cells]: the label, and of each cell of the map how far it is lung.
    The second term is the share of the map's absolute evidence that lies elsewhere.

    Parameters
    ----------
    share
        Share of positive samples, 0..1.
    smoothing
        Distance of the targets from 0 and 1.
    guidance
        Weight of the second term.

    References
    ----------
    Ross, Hughes, Doshi-Velez, "Right for the Right Reasons", IJCAI 2017, arXiv:1703.03717:
    the idea; here on the activation map instead of the input's gradient.
    """

    def loss(answer: Answer, targets: Tensor) -> Tensor:
        label, lung = targets[:, :1], targets[:, 1:]
        weight = label * (0.5 / share) + (1 - label) * (0.5 / (1 - share))
        soft = label * (1 - 2 * smoothing) + smoothing
        entropy = functional.binary_cross_entropy_with_logits(logits(answer), soft, weight=weight)
        evidence = answer[1].float().flatten(1).abs()
        elsewhere = (evidence * (1 - lung)).sum(1) / (evidence.sum(1) + 1e-6)
        return entropy + guidance * elsewhere.mean()

    return loss


def damages() -> dict[str, Change]:
    """Return what another site may do to a film: the validation's stress tests."""

    def low_resolution(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        small = cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, image.shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)

    def sharp(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        soft = cv2.GaussianBlur(image, (0, 0), 2.0).astype(np.float32)
        return np.clip(image + 1.5 * (image - soft), 0, 255).astype(np.uint8)

    def dark(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return (255 * (image / 255.0) ** 1.8).astype(np.uint8)

    def pale(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return (255 * (image / 255.0) ** 0.55).astype(np.uint8)

    def grainy(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        grain = np.random.default_rng(0).normal(0, 10, image.shape)
        return np.clip(image + grain, 0, 255).astype(np.uint8)

    return {"low_resolution": low_resolution, "sharp": sharp, "dark": dark, "pale": pale, "grainy": grainy}


def pneumonia_course(
    table: Mapping[str, Any], segmenter: Predictor, segmenter_recipe: Recipe, data: Path, cache: Path
) -> Course:
    """Return the training split on boxes that cxr-lungs predicts; some patients are held back to judge by."""
    cv2.setNumThreads(1)
    recipe, plan = recipe_of(table["recipe"]), Plan.from_table(table["train"])
    films = kermany(data, cache)
    boxes, masks, _ = lung_boxes(segmenter, segmenter_recipe, films, recipe.region_margin, cache)
    aside = held_back(films.patient, plan.held_back, plan.seed)
    learning, asked = (films.split == "train") & ~aside, plan.asked(films.patient)
    train_rows = np.flatnonzero(learning & ~asked)
    check_rows = np.flatnonzero((films.split == "train") & aside)
    truth = films.label[check_rows]

    def validate(model: nn.Module) -> dict[str, float]:
        plain = predict_logits(eager(model), films, check_rows, boxes, recipe)
        bound = threshold_at_sensitivity(truth, plain, 0.97)
        figures = {"auc": auroc(truth, plain), "specificity_at_97": specificity(truth, plain >= bound)}
        damaged = [
            auroc(truth, predict_logits(eager(model), films, check_rows, boxes, recipe, one))
            for one in damages().values()
        ]
        return figures | {"auc_damaged": float(np.mean(damaged)), "auc_worst": float(np.min(damaged))}

    stride = stride_of(table["model"], recipe)
    samples, untouched = (
        PneumoniaSamples(films, boxes, masks, train_rows, recipe, one, plan.seed, stride)
        for one in (Augment.from_table(table.get("augment", {})), Augment.none())
    )
    loss = guided_loss(float(films.label[train_rows].mean()), plan.label_smoothing, plan.guidance)
    stop = Aside(untouched, np.flatnonzero(learning & asked)) if plan.patience else None
    return Course(samples, train_rows, loss, validate, aside=stop)


def stride_of(model: Mapping[str, Any], recipe: Recipe) -> int:
    """Return the pixels of the grid a cell of the map of a ``[model]`` table's network."""
    network = zoo.build({key: value for key, value in model.items() if key != "pretrained"}).eval()
    with torch.no_grad():
        _, heat = network(torch.zeros(1, recipe.channels, *recipe.grid))
    return recipe.grid[0] // int(heat.shape[-2])
