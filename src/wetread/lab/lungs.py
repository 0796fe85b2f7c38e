"""The lung segmenter: its loss, its validation and what it is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wetread.lab.augment import Augment
from wetread.lab.data import Films, held_back, kermany
from wetread.lab.plan import recipe_of
from wetread.lab.predict import eager, predict_lungs
from wetread.lab.samples import LungSamples
from wetread.lab.train import Answer, Aside, Course, Plan, logits
from wetread.measures import dice
from wetread.prepare import back_mask, letterbox
from wetread.records import Recipe
from wetread.records import Tensor as Array

__all__ = ["dice_loss", "film_dice", "lung_course"]


def dice_loss(answer: Answer, targets: Tensor) -> Tensor:
    """Return cross-entropy plus soft Dice of logits and masks [N, 1, H, W]."""
    given = logits(answer)
    entropy = functional.binary_cross_entropy_with_logits(given, targets)
    share = torch.sigmoid(given)
    dims = (1, 2, 3)
    overlap = 2 * (share * targets).sum(dims) / ((share + targets).sum(dims) + 1.0)
    return entropy + (1 - overlap).mean()


def film_dice(logits: Array, films: Films, row: int, recipe: Recipe) -> float:
    """Return Dice of one film on its own pixels, without the ignored ones."""
    shape = (films.images.shape[1], films.images.shape[2])
    found = back_mask(logits, letterbox(shape, float(films.aspect[row]), recipe.grid))
    return dice(found, films.masks[row] == 255, films.masks[row] != 127)


def lung_course(table: Mapping[str, Any], data: Path, cache: Path) -> Course:
    """Return the paediatric films of the training split; some patients are held back to judge by."""
    cv2.setNumThreads(1)
    recipe, plan = recipe_of(table["recipe"]), Plan.from_table(table["train"])
    films = kermany(data, cache)
    aside = held_back(films.patient, plan.held_back, plan.seed)
    usable = (films.split == "train") & films.masked()
    asked = plan.asked(films.patient)
    train_rows, check_rows = np.flatnonzero(usable & ~aside & ~asked), np.flatnonzero(usable & aside)

    def validate(model: nn.Module) -> dict[str, float]:
        logits = predict_lungs(eager(model), films, check_rows, recipe)
        overlap = [film_dice(one, films, int(row), recipe) for one, row in zip(logits, check_rows, strict=True)]
        return {"dice": float(np.mean(overlap)), "dice_p05": float(np.percentile(overlap, 5))}

    samples, plain = (
        LungSamples(films, recipe, one, plan.seed)
        for one in (Augment.from_table(table.get("augment", {})), Augment.none())
    )
    stop = Aside(plain, np.flatnonzero(usable & ~aside & asked)) if plan.patience else None
    return Course(samples, train_rows, dice_loss, validate, aside=stop)
