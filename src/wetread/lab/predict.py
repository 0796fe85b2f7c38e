"""Answers for many films at once, from a network in training or from a build as it ships."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wetread import infer
from wetread.files import replacing
from wetread.infer import engine
from wetread.lab.data import Films
from wetread.lab.samples import Change, exact
from wetread.lab.train import autocast, layout_of
from wetread.measures import energy_inside
from wetread.prepare import back, back_mask, bounds, letterbox
from wetread.records import Box, Recipe, Tensor

__all__ = ["Predictor", "built", "eager", "locate", "lung_boxes", "predict_logits", "predict_lungs", "predict_shares"]

Place = tuple[Box, NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Predictor:
    """Something that answers tensors [N, C, ...] by named outputs, and the digest of its weights."""

    answer: Callable[[Tensor], dict[str, Tensor]]
    digest: str

    def logits(self, tensors: Tensor) -> Tensor:
        """Return the output "logits"."""
        return self.answer(tensors)["logits"]


def eager(model: nn.Module, names: tuple[str, ...] = ("logits", "map"), bf16: bool = True) -> Predictor:
    """Return a network in torch, in bfloat16 where training is (`autocast`), or in float32.

    `names` are those of its outputs, in order; those it does not give are left out.
    """
    weights = b"".join(value.cpu().numpy().tobytes() for value in model.state_dict().values())

    def answer(tensors: Tensor) -> dict[str, Tensor]:
        model.eval()
        images = torch.from_numpy(tensors).to(next(model.parameters()).device)
        with torch.inference_mode(), autocast(images.device, bf16):
            given = model(images.contiguous(memory_format=layout_of(images)))
        found = given if isinstance(given, tuple) else (given,)
        return {
            name: np.asarray(one.float().cpu().numpy(), np.float32) for name, one in zip(names, found, strict=False)
        }

    return Predictor(answer, hashlib.sha256(weights).hexdigest())


def built(path: Path, precision: str, name: str, threads: int = 0) -> Predictor:
    """Return an ONNX build on an engine, as deployment runs it; without `threads` on all cores."""
    data = path.read_bytes()
    loaded = engine.loader(name)(data, precision, threads, None)
    return Predictor(loaded.run, hashlib.sha256(data + f"{name} {precision}".encode()).hexdigest())


def predict_lungs(
    predictor: Predictor, films: Films, rows: NDArray[np.int64], recipe: Recipe, batch: int = 32
) -> list[Tensor]:
    """Return the logits (y, x) of each film on the model's grid."""
    out: list[Tensor] = []
    for start in range(0, len(rows), batch):
        tensors = np.concatenate([exact(films, int(row), recipe) for row in rows[start : start + batch]])
        out.extend(predictor.logits(tensors)[:, 0])
    return out


def locate(logits: Tensor, films: Films, row: int, recipe: Recipe, margin: float) -> Place | None:
    """Return the box around the lungs and their mask on one film, by the steps of the pipeline.

    None stands for a film that deployment would refuse.
    """
    shape = (films.images.shape[1], films.images.shape[2])
    grid = letterbox(shape, float(films.aspect[row]), recipe.grid)
    content = grid.content
    pair = infer.lungs(logits, (content.y1 - content.y0, content.x1 - content.x0))
    if pair is None:
        return None
    both = pair[0] | pair[1]
    box = bounds(both.astype(np.float32), grid, 0.5, margin)
    mask = back_mask(infer.soft(both, logits), grid).astype(np.uint8) * np.uint8(255)
    return (box, mask) if box is not None else None


def lung_boxes(
    segmenter: Predictor, recipe: Recipe, films: Films, margin: float, cache: Path
) -> tuple[NDArray[np.float64], NDArray[np.uint8], NDArray[np.bool_]]:
    """Return boxes (n, 4), masks (n, y, x) and which films deployment would refuse.

    A refused film gets the whole image as its box, so that it still counts in an
    evaluation.  The answer is kept in `cache` under the digest of the weights.
    """
    told = repr((segmenter.digest, recipe, len(films), margin)).encode() + films.images[0].tobytes()
    file = cache / f"lungs-{hashlib.sha256(told).hexdigest()[:16]}.npz"
    if not file.exists():
        boxes = np.zeros((len(films), 4))
        masks = np.zeros(films.images.shape, np.uint8)
        refused = np.zeros(len(films), bool)
        shape = (films.images.shape[1], films.images.shape[2])
        whole = (Box(0, 0, *shape), np.full(shape, 255, np.uint8))
        for row, logits in enumerate(predict_lungs(segmenter, films, np.arange(len(films)), recipe)):
            place = locate(logits, films, row, recipe, margin)
            refused[row] = place is None
            box, masks[row] = place or whole
            boxes[row] = (box.y0, box.x0, box.y1, box.x1)
        with replacing(file) as stream:
            np.savez_compressed(stream, boxes=boxes, masks=masks, refused=refused)
    with np.load(file) as kept:
        return kept["boxes"], kept["masks"], kept["refused"]


def predict_logits(
    predictor: Predictor,
    films: Films,
    rows: NDArray[np.int64],
    boxes: NDArray[np.float64],
    recipe: Recipe,
    change: Change | None = None,
    batch: int = 32,
) -> NDArray[np.float64]:
    """Return one logit a film, from the lung box; `change` may damage the film before."""
    out = [answer["logits"][:, 0] for answer in _answers(predictor, films, rows, boxes, recipe, change, batch)]
    return np.concatenate(out).astype(np.float64)


def predict_shares(
    predictor: Predictor,
    films: Films,
    rows: NDArray[np.int64],
    boxes: NDArray[np.float64],
    lungs: NDArray[np.uint8],
    recipe: Recipe,
    batch: int = 32,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, of each film, the share of its map inside the lungs, and what chance would give.

    Parameters
    ----------
    lungs
        (n, y, x) uint8, 0 or 255, on the films' grid.
    """
    maps = np.concatenate([one["map"][:, 0] for one in _answers(predictor, films, rows, boxes, recipe, None, batch)])
    shares, chances = np.zeros(len(rows)), np.zeros(len(rows))
    for at, (row, heat) in enumerate(zip(rows, maps, strict=True)):
        box, organ = Box(*(int(edge) for edge in boxes[row])), lungs[row] > 0
        grid = letterbox((organ.shape[0], organ.shape[1]), float(films.aspect[row]), recipe.grid, box)
        shares[at] = energy_inside(back(np.maximum(heat, 0), grid), organ)
        chances[at] = organ[box.y0 : box.y1, box.x0 : box.x1].mean()
    return shares, chances


def _answers(
    predictor: Predictor,
    films: Films,
    rows: NDArray[np.int64],
    boxes: NDArray[np.float64],
    recipe: Recipe,
    change: Change | None,
    batch: int,
) -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        places = [Box(*(int(edge) for edge in boxes[row])) for row in part]
        tensors = [exact(films, int(row), recipe, box, change) for row, box in zip(part, places, strict=True)]
        yield predictor.answer(np.concatenate(tensors))
