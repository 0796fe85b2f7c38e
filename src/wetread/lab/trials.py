"""A model as it ships, tried on images: what it says, how right that is, and what would have refused before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread import infer
from wetread.errors import BadInput, NotRead
from wetread.infer.gate import agreement, lowest_edge, with_mirror
from wetread.infer.masks import is_pair
from wetread.lab.cases import Cases
from wetread.lab.damage import Damage, Span
from wetread.lab.data import Films
from wetread.measures import dice
from wetread.prepare import back_mask_stack, bounds, prepare
from wetread.records import Box, Image, Prediction, Prepared, Recipe, Tensor

__all__ = ["Case", "Subject", "Told", "damaged", "film_cases", "series_cases", "span_of", "subject_of"]

#: Marks pixels of a mask that do not count.
IGNORED = 255
#: Inputs that go through a graph at a time.
BATCH = 16


@dataclass(frozen=True, slots=True)
class Case:
    """One film, series or volume, and what is true of it."""

    pixels: NDArray[Any]  # (z, y, x)
    aspect: float = 1.0  # height of a pixel over its width
    spacing_mm: tuple[float, float, float] | None = None  # (z, y, x)
    masks: NDArray[np.uint8] | None = None  # (z, y, x) 0 background, k label k, `IGNORED`; None: nobody knows
    present: NDArray[np.int64] | None = None  # (z,) is the first label in the slice; None: nobody knows


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one case."""

    code: str  # why deployment refuses it even without this model's gate; "" if it does not
    mirrored: float  # agreement with itself on the mirror image, 0..1
    inside: float  # 1 less the share of the lungs' width that the lower edge cuts; 1 for other models
    figure: float  # mean Dice over the labels, or the share of slices that were called right; NaN without a truth
    logits: NDArray[np.float64]  # (z,) of the first label; (0,) of a model that only outlines


def film_cases(films: Films, rows: NDArray[np.int64], labelled: bool = True) -> Iterator[Case]:
    """Return radiographs with their lungs, where there is a mask, and their label, where there is one."""
    for row in rows:
        mask = films.masks[row]
        marked = np.where(mask == 127, IGNORED, mask == 255).astype(np.uint8)[None]
        known = bool((mask == 255).any())
        yield Case(
            films.images[row][None],
            float(films.aspect[row]),
            None,
            marked if known else None,
            films.label[row : row + 1] if labelled else None,
        )


def series_cases(cases: Cases, rows: NDArray[np.int64]) -> Iterator[Case]:
    """Return series with their masks and the presence of the first label, as far as they are known."""
    for row in rows:
        masks = cases.masks[row] if cases.masks else None
        present = cases.present[row][:, 0] if cases.present else None
        yield Case(cases.images[row], 1.0, cases.spacing_of(int(row)), masks, present)


def span_of(pixels: NDArray[Any], recipe: Recipe) -> Span:
    """Return the values that stand for black and white: the recipe's window, all of 8 bits, or the percentiles."""
    if recipe.window is not None:
        return recipe.window
    if pixels.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.percentile(pixels, recipe.percentiles)
    return float(low), float(high)


def damaged(case: Case, damage: Damage, recipe: Recipe) -> Case:
    """Return the case with its image damaged; the truth follows what moves, and stays whole where the image is cut."""
    masks = None if case.masks is None else damage.mask(case.masks)
    return replace(case, pixels=damage.image(case.pixels, span_of(case.pixels, recipe)), masks=masks)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model in the build that this host would choose, without its gate, and the segmenter that comes before it."""

    loaded: infer.Loaded
    before: Subject | None = None  # whose lungs bound the region

    @property
    def model(self) -> infer.Model:
        """The declaration."""
        return self.loaded.model

    def ask(self, case: Case) -> Told:
        """Let the model read one case, with everything that deployment does before."""
        code, box = self._region(case)
        ready = prepare(case.pixels, case.aspect, self.model.recipe, box, case.spacing_mm)
        outputs, mirrored = self._answers(ready)
        masks = outputs.get(self.model.mask_output) if self.model.segments else None
        return Told(
            code or self._implausible(case, ready, outputs),
            mirrored,
            1 - _cut(masks, ready) if masks is not None and is_pair(self.model) else 1.0,
            self._figure(case, ready, masks, outputs.get("logits")),
            outputs["logits"][:, 0].astype(np.float64) if self.model.classifies else np.zeros(0),
        )

    def _answers(self, ready: Prepared) -> tuple[dict[str, Tensor], float]:
        tensor = with_mirror(ready.tensor)
        runs = [self.loaded.engine.run(tensor[at : at + BATCH]) for at in range(0, len(tensor), BATCH)]
        both = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
        outputs = {name: values[: len(ready.tensor)] for name, values in both.items()}
        if self.model.segments:
            return outputs, agreement(both[self.model.mask_output])
        return outputs, _steadiness(both["logits"] / np.float32(self.model.temperature))

    def _region(self, case: Case) -> tuple[str, Box | None]:
        """Return why the segmenter before refuses, and the box around its lungs: the whole film if it does."""
        if self.before is None:
            return "", None
        gate, ready = self.before.model.gate, prepare(case.pixels, case.aspect, self.before.model.recipe)
        outputs, mirrored = self.before._answers(ready)
        content = ready.grid.content
        sides = infer.lungs(outputs["logits"][0, 0], (content.y1 - content.y0, content.x1 - content.x0))
        if sides is None:
            return "NOT-A-CHEST", None
        code = "INCONSISTENT" if mirrored < gate.mirrored else ""
        code = code or ("CUT-OFF" if _cut(outputs["logits"], ready) > gate.lungs_cut else "")
        both = np.logical_or(*sides).astype(np.float32)
        return code, bounds(both, ready.grid, 0.5, self.model.recipe.region_margin)

    def _implausible(self, case: Case, ready: Prepared, outputs: dict[str, Tensor]) -> str:
        """Return the code of what deployment says of an outline that no such organ has."""
        if not self.model.segments:
            return ""
        prediction = Prediction(self.loaded.identity, outputs, ready.grid)
        try:
            drawn = infer.outlines(self.model, prediction, ready.grid)
            infer.regions(self.loaded, _image(case), [back_mask_stack(one, ready.grid) for one in drawn])
        except NotRead as refusal:
            return refusal.code
        return ""

    def _figure(self, case: Case, ready: Prepared, masks: Tensor | None, logits: Tensor | None) -> float:
        if masks is not None and case.masks is not None:
            stacks = masks[0] if self.model.recipe.depth else masks.swapaxes(0, 1)
            found = [back_mask_stack(stack, ready.grid) for stack in stacks]
            counted = case.masks != IGNORED
            return float(np.mean([dice(one, case.masks == label, counted) for label, one in enumerate(found, 1)]))
        if masks is None and logits is not None and case.present is not None:
            probability = 1 / (1 + np.exp(-logits[:, 0] / self.model.temperature))
            return float(((probability >= self.model.labels[0].threshold) == case.present).mean())
        return float("nan")


def _cut(masks: Tensor, ready: Prepared) -> float:
    return lowest_edge(masks[0, 0] > 0, ready.tensor[0, 0], ready.grid.content)


def _steadiness(logits: NDArray[Any]) -> float:
    """Return 1 less the mean change of the probability from the images to their mirror images.

    Parameters
    ----------
    logits
        (2n, k) float32, calibrated, as a classifier answers `with_mirror`.
    """
    plain, mirrored = np.split(1.0 / (1.0 + np.exp(-np.asarray(logits, np.float64))), 2)
    return float(1.0 - np.abs(plain - mirrored).mean())


def _image(case: Case) -> Image:
    return Image(case.pixels, case.spacing_mm, case.aspect, "", "", "", "", "", ("1",), "", "", header=None)


def subject_of(models: Path, name: str) -> Subject:
    """Load a model of a models folder; a classifier of lungs with the segmenter before it.

    Raises
    ------
    BadInput
        It is not there: it was not certified.
    """
    if not (models / name / "model.toml").is_file():
        raise BadInput(f"expected a certified {name} in {models}, found none; certify it first")
    model = infer.read(models / name)
    loaded = infer.load(model, infer.candidates(model)[0])
    return Subject(loaded, subject_of(models, "cxr-lungs") if model.recipe.region == "lungs" else None)
