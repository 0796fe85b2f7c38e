"""The row: acquire -> prepare -> infer -> explain -> report.  The only file that knows its order.

Every stage is timed.  Whatever happens to one image, it ends in a result: findings
with documents, or a coded refusal with its document.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from wetread import acquire, explain, infer, prepare, report
from wetread.errors import REFUSALS, DocumentError, EngineError, ModelError, NotRead
from wetread.memory import keep_freed
from wetread.records import (
    Box,
    Document,
    Explanation,
    Finding,
    Image,
    Mask,
    Picture,
    Prepared,
    Reading,
    Refusal,
    Region,
    Rejected,
    Result,
    Study,
    Timing,
)
from wetread.settings import Settings


@dataclass(slots=True)
class Clock:
    """Wall time by stage; a stage that runs in parts is added up."""

    ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside; also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - start) * 1e3

    @property
    def timings(self) -> tuple[Timing, ...]:
        """The stages in the order in which they first ended."""
        return tuple(Timing(stage, ms) for stage, ms in self.ms.items())


@dataclass(frozen=True, slots=True)
class Reader:
    """The row with its models loaded: what reads studies."""

    models: tuple[infer.Loaded, ...]
    settings: Settings

    def read_blobs(self, blobs: Sequence[tuple[str, bytes]]) -> tuple[Reading, ...]:
        """Read what came over the network: (name, Part 10 bytes) of one or more studies."""
        start = time.perf_counter()
        studies = acquire.decode(blobs, self.settings)
        decoded = Timing("acquire", (time.perf_counter() - start) * 1e3)
        return tuple(reading for study in studies for reading in self.read(study, decoded))

    def read(self, study: Study, *before: Timing) -> tuple[Reading, ...]:
        """Read every image of a study; `before` are the times of earlier stages.

        Returns
        -------
        One reading an image or rejected instance, each with its checked documents.
        """
        readings = [self._reading(image, before) for image in study.images]
        return (*readings, *(self._refused(study.study_uid, item, before) for item in study.rejected))

    def set_aside(self, study_uid: str, source: str, digest: str, data: bytes, detail: str) -> Reading:
        """Refuse one instance whose reading crashed; needs no model.

        Parameters
        ----------
        study_uid
            The study it was filed under.
        source, digest
            Its file name, and the SHA-256 of its bytes, hex.
        data
            The file, of which only the header is read; b"" leaves the header out, and with it the SR.
        detail
            What happened, without patient identifiers.
        """
        clock = Clock()
        with clock.stage("acquire"):
            header = acquire.read_header(data, self.settings) if data else None
        rejected = Rejected(Refusal("CRASHED", REFUSALS["CRASHED"], detail), source, digest, header)
        return self._refused(study_uid, rejected, clock.timings)

    def answer(self, image: Image) -> Result:
        """Classes, maps and masks of one image, without documents; raises what stops it."""
        blank = Result(image.study_uid, image.source, image.digest, image.header, image)
        return self._row(image, blank, Clock())

    def _reading(self, image: Image, before: Sequence[Timing]) -> Reading:
        clock = Clock({timing.stage: timing.ms for timing in before})
        blank = Result(image.study_uid, image.source, image.digest, image.header, image)
        try:
            result = self._row(image, blank, clock)
            with clock.stage("draw"):
                result = replace(result, pictures=_drawn(image, result))
        except NotRead as error:
            result = replace(blank, refusal=Refusal(error.code, error.sentence, error.detail))
        except EngineError as error:
            result = replace(blank, refusal=Refusal("MODEL-FAILED", REFUSALS["MODEL-FAILED"], str(error)))
        return self._documented(result, clock)

    def _refused(self, study_uid: str, item: Rejected, before: Sequence[Timing]) -> Reading:
        result = Result(study_uid, item.source, item.digest, item.header, None, refusal=item.refusal)
        return self._documented(result, Clock({timing.stage: timing.ms for timing in before}))

    def _documented(self, result: Result, clock: Clock) -> Reading:
        result = replace(result, timings=clock.timings, read_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        with clock.stage("report"):
            try:
                documents = report.documents(result, self.settings.institution)
            except DocumentError as error:
                result, documents = self._set_aside(result, str(error))
        return Reading(result, documents, clock.timings)

    def _set_aside(self, result: Result, reason: str) -> tuple[Result, tuple[Document, ...]]:
        """Take back what was said, as a document about it failed our own checker; a refusal stands.

        If not even the SR of the refusal passes, what is left are the documents without one.
        """
        if result.refusal is None:
            bare = Result(result.study_uid, result.source, result.digest, result.header, result.image)
            refusal = Refusal("CRASHED", REFUSALS["CRASHED"], reason)
            result = replace(bare, refusal=refusal, timings=result.timings, read_at=result.read_at)
            try:
                return result, report.documents(result, self.settings.institution)
            except DocumentError:
                pass
        return result, report.documents(replace(result, header=None, image=None), self.settings.institution)

    def _row(self, image: Image, blank: Result, clock: Clock) -> Result:
        """Lungs first, then the classifiers on what the lungs bound."""
        chosen = {model.id for model in infer.route([loaded.model for loaded in self.models], image)}
        loaded = [item for item in self.models if item.model.id in chosen]
        pixels = image.pixels[0]
        lungs = self._lungs(next(item for item in loaded if item.model.task == "segmentation"), image, clock)
        findings: list[Finding] = []
        explanations: list[Explanation] = []
        for item in (one for one in loaded if one.model.task == "classification"):
            with clock.stage("prepare"):
                box = lungs.box(item.model.recipe.region_margin) if item.model.recipe.region == "lungs" else None
                prepared = prepare.prepare(pixels, image.pixel_aspect, item.model.recipe, box)
            with clock.stage("infer"):
                prediction = item.predict(prepared)
                found = infer.findings(item.model, prediction, image)
            with clock.stage("explain"):
                maps = [prepare.back(explain.positive(heat), prepared.grid) for heat in prediction.outputs["map"][0]]
                explanations += [
                    explain.explain(f, heat, lungs.mask, prepared.grid.region, item.model.map_bound)
                    for f, heat in zip(found, maps, strict=True)
                ]
            findings += found
        return replace(
            blank,
            findings=tuple(findings),
            regions=lungs.regions,
            explanations=tuple(explanations),
            models=tuple(item.identity for item in loaded),
        )

    def _lungs(self, loaded: infer.Loaded, image: Image, clock: Clock) -> Lungs:
        """Segment the lungs, or refuse what holds no plausible pair of them."""
        with clock.stage("prepare"):
            prepared = prepare.prepare(image.pixels[0], image.pixel_aspect, loaded.model.recipe)
        with clock.stage("infer"):
            logits = loaded.predict(prepared).outputs["logits"][0, 0]
            content = prepared.grid.content
            pair = infer.lungs(logits, (content.y1 - content.y0, content.x1 - content.x0))
        if pair is None:
            raise NotRead("NOT-A-CHEST", f"Model {loaded.model.id} found no pair of lungs of plausible size and place.")
        with clock.stage("prepare"):
            left, right = (prepare.back_mask(infer.soft(side, logits), prepared.grid) for side in pair)
        return Lungs(infer.pair(loaded, image, (left, right)), left | right, prepared, pair[0] | pair[1])


def _drawn(image: Image, result: Result) -> tuple[Picture, ...]:
    """The film, the contours and the heat, the stronger the surer the model is."""
    masks = [region.mask[0] for region in result.regions]
    heat = result.explanations[0].map if result.explanations else None
    sure = min(1.0, result.findings[0].probability / result.findings[0].threshold) if result.findings else 0.0
    return explain.pictures(explain.display(image.pixels[0], image.pixel_aspect), masks, heat, 0.25 + 0.5 * sure)


@dataclass(frozen=True, slots=True)
class Lungs:
    """The lungs of one film, on its grid and on the model's."""

    regions: tuple[Region, ...]
    mask: Mask  # (y, x) bool, the image's grid
    prepared: Prepared
    small: Mask  # (y, x) bool, the model's grid

    def box(self, margin: float) -> Box:
        """The box around both lungs on the image."""
        found = prepare.bounds(self.small.astype(np.float32), self.prepared.grid, 0.5, margin)
        if found is None:
            raise NotRead("NOT-A-CHEST", "The lung mask is empty.")
        return found


def open_reader(settings: Settings) -> Reader:
    """Load every model of the models folder, each in its fastest certified build on this host.

    Raises
    ------
    ModelError
        A model folder must not be loaded, or the folder holds none.
    EngineError
        No installed engine runs a model.
    """
    keep_freed()
    models = infer.find(settings.models_dir)
    if not models:
        raise ModelError(f"models folder {settings.models_dir}: expected at least one model, found none")
    return Reader(infer.open_all(models, infer.read_profile(settings.profile_path), settings), settings)
