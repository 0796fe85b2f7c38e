"""A model as it ships, tried on images: what it says, how right that is, and what would have refused before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wetread import infer
from wetread.errors import NotRead
from wetread.infer.gate import Signals, refusal
from wetread.infer.signals import chances, measured, signals, with_mirror
from wetread.lab.cases import Cases, Directions
from wetread.lab.certify import certified
from wetread.lab.damage import Damage, Span
from wetread.lab.data import Films
from wetread.measures import dice
from wetread.prepare import back_mask_stack, bounds, prepare
from wetread.records import Box, Image, Prediction, Prepared, Recipe, Tensor

__all__ = [
    "Case",
    "Subject",
    "Told",
    "damaged",
    "film_cases",
    "rivals",
    "series_cases",
    "span_of",
    "subject_of",
    "without",
]

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
    directions: Directions | None = None  # unit, in which (z, y, x) grow in the patient; None: nobody knows


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one case."""

    before: str  # code of what refuses it before this model is asked; "" if nothing does
    after: str  # code of what refuses its outline if its gate does not; "" if nothing does
    signals: Signals
    figure: float  # mean Dice over the labels, or the share of slices that were called right; NaN without a truth
    given: tuple[float, ...]  # what falls: that Dice, and of a classifier the mean probability given to the truth
    logits: NDArray[np.float64]  # (z,) of the first label; (0,) of a model that only outlines
    measured: Sequence[Mapping[str, float]] = ()  # of each image that a classifier saw: `wetread.infer.signals`


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
        at = int(row)
        where = (cases.aspect_of(at), cases.spacing_of(at))
        yield Case(cases.images[at], *where, masks, present, cases.directions_of(at))


def without(case: Case) -> Case | None:
    """Return the slices of a series that do not show the first label, as a series of its own; None: there are none."""
    if case.present is None or case.present.all():
        return None
    rows = case.present == 0
    return replace(case, pixels=case.pixels[rows], masks=None, present=case.present[rows])


def rivals(model: infer.Model) -> list[str]:
    """Return the signals of which one is asked, the cheapest first."""
    if model.classifies and not model.recipe.depth:
        return ["steady"]
    # An organ that may be absent leaves an empty mask of a sound image too.
    always = all(label.expected for label in model.labels)
    return ["certain", "mirrored"] if always else ["mirrored"]


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

    def behind(self, gate: infer.Gate) -> Subject:
        """Return the same subject whose signals are those of a gate."""
        return replace(self, loaded=replace(self.loaded, model=replace(self.model, gate=gate)))

    def running(self, loaded: infer.Loaded) -> Subject:
        """Return the same subject with another build of its model."""
        return replace(self, loaded=replace(loaded, model=self.model))

    def ask(self, case: Case) -> Told:
        """Let the model read one case, with everything that deployment does before."""
        code, box = self._region(case)
        ready = prepare(case.pixels, case.aspect, self.model.recipe, box, case.spacing_mm, case.directions)
        both = self._answers(ready)
        outputs = {name: values[: len(ready.tensor)] for name, values in both.items()}
        figure, given = self._figures(case, ready, outputs)
        return Told(
            code,
            self._implausible(case, ready, outputs),
            signals(self.model, ready, both, [*rivals(self.model), "polarity", "inside"]),
            figure,
            given,
            outputs["logits"][:, 0].astype(np.float64) if self.model.classifies else np.zeros(0),
            measured(self.model, ready, outputs) if "steady" in rivals(self.model) else (),
        )

    def _answers(self, ready: Prepared) -> dict[str, Tensor]:
        """Return what it says of the images and, where the two may be compared, of their mirror images."""
        tensor = with_mirror(ready.tensor) if "mirrored" in rivals(self.model) else ready.tensor
        runs = [self.loaded.engine.run(tensor[at : at + BATCH]) for at in range(0, len(tensor), BATCH)]
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}

    def _region(self, case: Case) -> tuple[str, Box | None]:
        """Return why the segmenter before refuses, and the box around its lungs: the whole film if it has none."""
        if self.before is None:
            return "", None
        model, ready = self.before.model, prepare(case.pixels, case.aspect, self.before.model.recipe)
        both = self.before._answers(ready)
        refused = refusal(model.id, model.gate, signals(model, ready, both, model.gate.least))
        code = refused.code if refused else ""
        try:
            sides = infer.outlines(model, Prediction(self.before.loaded.identity, both, ready.grid), ready.grid)
        except NotRead as none:
            return code or none.code, None
        lungs = np.logical_or(*(side[0] > 0 for side in sides)).astype(np.float32)
        return code, bounds(lungs, ready.grid, 0.5, self.model.recipe.region_margin)

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

    def _figures(self, case: Case, ready: Prepared, outputs: Mapping[str, Tensor]) -> tuple[float, tuple[float, ...]]:
        """Return the figure and what falls, as `Told` has them."""
        overlap = self._overlap(case, ready, outputs[self.model.mask_output]) if self.model.segments else float("nan")
        if not self.model.classifies:
            return overlap, (overlap,)
        right, given = self._called(case, outputs)
        return (overlap, (overlap, given)) if self.model.segments else (right, (given,))

    def _called(self, case: Case, outputs: Mapping[str, Tensor]) -> tuple[float, float]:
        """Return the share of images that are called right, and the mean probability given to the truth."""
        if case.present is None:
            return float("nan"), float("nan")
        said = chances(self.model, outputs)
        right = (said >= self.model.labels[0].threshold) == case.present
        return float(right.mean()), float(np.where(case.present == 1, said, 1 - said).mean())

    def _overlap(self, case: Case, ready: Prepared, masks: Tensor) -> float:
        if case.masks is None:
            return float("nan")
        stacks = masks[0] if self.model.recipe.depth else masks.swapaxes(0, 1)
        drawn = [infer.kept(one, label.largest) for one, label in zip(stacks, self.model.labels, strict=True)]
        found = [back_mask_stack(one, ready.grid) for one in drawn]
        counted = case.masks != IGNORED
        return float(np.mean([dice(one, case.masks == label, counted) for label, one in enumerate(found, 1)]))


def _image(case: Case) -> Image:
    return Image(case.pixels, case.spacing_mm, case.aspect, "", "", "", "", "", ("1",), "", "", header=None)


def subject_of(models: Path, name: str) -> Subject:
    """Load a model of a models folder; a classifier of lungs with the segmenter before it.

    Raises
    ------
    BadInput
        It is not there: it was not certified.
    """
    model = certified(models, name)
    loaded = infer.load(model, infer.candidates(model)[0])
    return Subject(loaded, subject_of(models, "cxr-lungs") if model.recipe.region == "lungs" else None)
