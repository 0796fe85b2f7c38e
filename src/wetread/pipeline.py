"""The row: acquire -> prepare -> infer -> explain -> report.  The only file that knows its order.

Every stage is timed.  Whatever happens to one image, it ends in a result: findings
with documents, or a coded refusal with its document.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from wetread import acquire, explain, infer, prepare, report
from wetread.contain.decoder import Decoder
from wetread.errors import REFUSALS, DocumentError, EngineError, ModelError, NotRead, SettingsError
from wetread.memory import keep_freed
from wetread.records import (
    USUAL,
    Box,
    Circumstances,
    Document,
    Explanation,
    Finding,
    Grid,
    Image,
    Mask,
    ModelIdentity,
    Picture,
    Prediction,
    Prepared,
    Reading,
    Recipe,
    Refusal,
    Region,
    Rejected,
    Result,
    Stored,
    Study,
    Timing,
    Unread,
)
from wetread.routes import UNROUTED, Decision, decide, named_models
from wetread.settings import Settings
from wetread.threads import share
from wetread.turns import Turns

log = logging.getLogger("wetread.pipeline")


@dataclass(slots=True)
class Clock:
    """Wall time by stage; a stage that runs in parts is added up.

    Before a stage, and between the batches of a series, whoever reads something more urgent goes first.
    """

    ms: dict[str, float] = field(default_factory=dict)
    pause: Callable[[], None] = field(default=lambda: None)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside; also when it fails."""
        self.pause()
        with self.beside(name):
            yield

    @contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """As `stage`, in another thread: it pauses for nobody, as who reads waits for it."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - start) * 1e3

    @property
    def timings(self) -> tuple[Timing, ...]:
        """The stages in the order in which they first ended."""
        return tuple(Timing(stage, ms) for stage, ms in self.ms.items())


#: Gives a result its pictures.
Illustrate = Callable[[Result], Result]


def _same(result: Result) -> Result:
    return result


def _illustrator(image: Image, result: Result, window: tuple[float, float] | None, clock: Clock) -> Illustrate:
    """What draws the pictures of a result when it is first asked, and knows them from then on."""

    @cache
    def pictures() -> tuple[Picture, ...]:
        with clock.beside("draw"):
            return explain.drawn(image, result, window)

    return lambda result: replace(result, pictures=pictures(), timings=clock.timings)


@dataclass(frozen=True, slots=True)
class Reader:
    """The row with its models loaded: what reads studies.

    Where only those for certain images were loaded, `known` holds every model: a refusal names what each asks for.
    """

    models: tuple[infer.Loaded, ...]
    settings: Settings
    turns: Turns = field(default_factory=Turns)
    decoder: Decoder = acquire
    known: tuple[infer.Model, ...] = ()
    foreseen: infer.Foreseen = field(default_factory=infer.Foreseen)

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        """Read what came over the network: (name, Part 10 file) of one or more studies.

        Parameters
        ----------
        given
            What was said of them before: a result that rests on more images than an earlier one names that.
            And what is left out, as otherwise the result would come too late: its documents say so.
            And the site's rules with who sent what; by default no rule applies.
            And reports about earlier studies of the patient, whose values stand beside the new ones if a rule says so.

        Returns
        -------
        One reading an image or rejected instance; none of what was made of images (`wetread.acquire.is_made`).
        """
        with self.turns.busy():
            start = time.perf_counter()
            studies = self.decoder.decode(blobs, self.settings)
            decoded = Timing("acquire", (time.perf_counter() - start) * 1e3)
            return tuple(
                reading
                for study in studies
                for reading in self.read(replace(study, rejected=_of_images(study.rejected)), decoded, given=given)
            )

    def foresee(self, images: Iterable[Image]) -> None:
        """Let models answer slices of studies of which more are to come, while there is time to spare.

        A reading that asks a model exactly the same does not ask again.  Whatever goes wrong, it will meet itself.
        """
        site = Circumstances(routes=self.settings.routes)  # who sent them, and so what rules say of that, shows later
        for image in images:
            with suppress(NotRead, EngineError):
                for item in self._asked(image, False, _decided(image, site)):
                    if item.foresees and not (
                        item.rest.on or self.foreseen.full(image.study_uid) or self.turns.hurried
                    ):
                        prepared = _prepared(item, image, None)
                        outputs = item.foresee(prepared)
                        self.foreseen.add(image.study_uid, item.identity, prepared.tensor, outputs)

    def read(self, study: Study, *before: Timing, given: Circumstances = USUAL) -> tuple[Reading, ...]:
        """Read every image of a study; `before` are the times of earlier stages.

        Returns
        -------
        One reading an image or rejected instance, each with its checked documents.
        """
        said, known = tuple(report.earlier(given.earlier)), tuple(report.reported(given.priors))
        foreseen = self.foreseen.take(study.study_uid)
        readings = [self._reading(image, before, said, known, given, foreseen) for image in study.images]
        return (*readings, *(self._refused(study.study_uid, item, before, said, given) for item in study.rejected))

    def set_aside(
        self,
        study_uid: str,
        files: Iterable[tuple[str, str, bytes]],
        detail: str,
        given: Circumstances = USUAL,
    ) -> tuple[Reading, ...]:
        """Refuse the instances of one study whose reading crashed; needs no model.

        Parameters
        ----------
        study_uid
            The study they were filed under.
        files
            File name, SHA-256 of the bytes in hex, and the file, of which only the header is
            read; b"" leaves the header out, and with it the SR.  They are taken one by one.
        detail
            What happened, without patient identifiers.
        given
            As `read_blobs`; the rules tell where the refusals go.

        Returns
        -------
        One reading a film, a series of slices, a file without its header; none of what was made of images.
        """
        clock = Clock()
        with clock.stage("acquire"):
            rejected = self.decoder.given_up(files, NotRead("CRASHED", detail), self.settings)
        said = tuple(report.earlier(given.earlier))
        return tuple(self._refused(study_uid, item, clock.timings, said, given) for item in _of_images(rejected))

    def answer(self, image: Image) -> Result:
        """Classes, maps and masks of one image, without documents; raises `NotRead` if no model reads it."""
        blank = Result(image.study_uid, image.source, image.digest, image.header, image)
        return self._row(image, blank, Clock())

    def _reading(
        self,
        image: Image,
        before: Sequence[Timing],
        said: Sequence[report.Earlier],
        known: Sequence[report.Reported],
        given: Circumstances,
        foreseen: infer.Answers,
    ) -> Reading:
        decision, used = _decided(image, given), foreseen.used
        clock = Clock({timing.stage: timing.ms for timing in before}, self.turns.pause)
        blank = Result(image.study_uid, image.source, image.digest, image.header, image)
        blank = replace(blank, revision=report.revision(blank, said), order=given.order)
        illustrate: Illustrate = _same
        try:
            if image.positions_mm and image.series_uid in given.lost:
                raise NotRead("MISSING-SLICES", "Slices that came before were deleted when their result was delivered.")
            result = self._row(image, replace(blank, reduced=given.reduced), clock, decision, foreseen)
            result = replace(result, priors=report.priors(result, known, decision.priors, decision.priors_days))
            if "pictures" not in given.reduced:
                illustrate = _illustrator(image, result, self._window(result), clock)
        except NotRead as error:
            result = replace(blank, refusal=Refusal(error.code, error.sentence, error.detail))
        return replace(self._documented(result, clock, illustrate), decision=decision, foreseen=foreseen.used - used)

    def _window(self, result: Result) -> tuple[float, float] | None:
        """The values between which the models look, for display."""
        asked = {model.id for model in result.models}
        windows = [one.model.recipe.window for one in self.models if one.model.id in asked]
        return next((window for window in windows if window is not None), None)

    def _refused(
        self,
        study_uid: str,
        item: Rejected,
        before: Sequence[Timing],
        said: Sequence[report.Earlier],
        given: Circumstances,
    ) -> Reading:
        result = Result(
            study_uid, item.source, item.digest, item.header, None, sop_uids=item.sop_uids, refusal=item.refusal
        )
        result = replace(result, revision=report.revision(result, said), order=given.order)
        reading = self._documented(result, Clock({timing.stage: timing.ms for timing in before}))
        return replace(reading, decision=_decided(item, given))

    def _documented(self, result: Result, clock: Clock, illustrate: Illustrate = _same) -> Reading:
        result = replace(result, timings=clock.timings, read_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        with clock.stage("report"):
            try:
                documents = self._written(result, self.settings.kinds, illustrate)
                result = illustrate(result)
            except DocumentError as error:
                if result.priors:  # what an old report says must not take the new one away
                    return self._documented(replace(result, priors=()), clock, illustrate)
                result, documents = self._set_aside(result, str(error))
        return Reading(result, documents, clock.timings)

    def _set_aside(self, result: Result, reason: str) -> tuple[Result, tuple[Document, ...]]:
        """Take back what was said, as a document about it failed our own checker; a refusal stands.

        If not even the SR of the refusal passes, what the header tells beside patient, study and image is left
        out; if that does not help, what is left are the documents without an SR.
        """
        if result.refusal is None:
            bare = Result(
                result.study_uid, result.source, result.digest, result.header, result.image, order=result.order
            )
            refusal = Refusal("CRASHED", REFUSALS["CRASHED"], reason)
            result = replace(
                bare, refusal=refusal, revision=result.revision, timings=result.timings, read_at=result.read_at
            )
            with suppress(DocumentError):
                return result, self._written(result, self.settings.kinds)
        if result.header is not None:
            with suppress(DocumentError):
                return result, self._written(replace(result, header=report.bare(result.header)), self.settings.kinds)
        return result, self._written(replace(result, header=None, image=None))

    def _written(
        self, result: Result, kinds: Collection[str] = (), illustrate: Illustrate = _same
    ) -> tuple[Document, ...]:
        settings = self.settings
        failed: dict[str, str] = {}
        more = (settings.public_url, settings.hl7_character_set, report.site_of(settings), illustrate, failed)
        made = report.documents(result, settings.institution, kinds, *more)
        for kind, reason in failed.items():
            log.error("document did not pass our checker, the others leave", extra={"where": kind, "reason": reason})
        return made

    def _row(
        self,
        image: Image,
        blank: Result,
        clock: Clock,
        decision: Decision = UNROUTED,
        foreseen: infer.Answers = infer.NONE,
    ) -> Result:
        """Outlines first, then the classifiers on what they bound; film and volume go the same way.

        A model that must not read the image, finds no plausible organ or fails is left out
        and named with its reason; if all are, the first says why.
        """
        said: list[Said] = []
        unread: list[Unread] = []
        for item in self._asked(image, "builds" in blank.reduced, decision):
            who, organ = item, next((one.organ for one in said if one.organ), None)
            try:
                infer.check_fit(item.model, image)
                prediction = _ask(item, image, organ, clock, foreseen)
                who = item.answering(prediction)
                said.append(_said(who, image, prediction, organ, clock))
            except infer.StoodIn as error:
                unread.append(_unread(item.answering(error), error))
            except (NotRead, EngineError) as error:
                unread.append(_unread(who, error))
        if not said:
            raise NotRead(unread[0].refusal.code, unread[0].refusal.detail)
        return replace(
            blank,
            findings=tuple(finding for one in said for finding in one.findings),
            regions=tuple(region for one in said for region in one.regions),
            explanations=tuple(explanation for one in said for explanation in one.explanations),
            models=tuple(one.model for one in said),
            not_read=tuple(unread),
        )

    def _asked(self, image: Image, lighter: bool, decision: Decision) -> list[infer.Loaded]:
        """The models that are for such an image and may read it, in the order in which they need each other.

        Parameters
        ----------
        lighter
            In a faster certified build than the one that is set, where there is one.
        """
        known = self.known or [one.model for one in self.models]
        chosen = {model.id for model in infer.permitted(known, image, decision)}
        loaded = [(item.lighter if lighter else None) or item for item in self.models if item.model.id in chosen]
        return sorted(loaded, key=lambda item: (item.model.recipe.region == "lungs", not item.model.segments))


def _of_images(rejected: Iterable[Rejected]) -> tuple[Rejected, ...]:
    """Leave out what was made of images."""
    return tuple(one for one in rejected if not acquire.is_made(one, report.MANUFACTURER))


def _decided(item: Image | Rejected, given: Circumstances) -> Decision:
    """What the site's rules say of one film or series."""
    return decide(given.routes, acquire.facts_of(item, given.senders)) if given.routes else UNROUTED


@dataclass(frozen=True, slots=True)
class Organ:
    """The lungs of one film, on its grid and on the model's."""

    mask: Mask  # (y, x) bool, the image's grid
    small: Mask  # (y, x) bool, the model's grid
    grid: Grid

    def box(self, margin: float) -> Box:
        """The box around both lungs on the image."""
        found = prepare.bounds(self.small.astype(np.float32), self.grid, 0.5, margin)
        if found is None:
            raise NotRead("NOT-A-CHEST", "The lung mask is empty.")
        return found


@dataclass(frozen=True, slots=True)
class Said:
    """What one model says of one image."""

    model: ModelIdentity
    findings: tuple[Finding, ...] = ()
    regions: tuple[Region, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    organ: Organ | None = None


def _unread(loaded: infer.Loaded, error: NotRead | EngineError) -> Unread:
    """What is not known because a model did not read."""
    why = error if isinstance(error, NotRead) else NotRead("MODEL-FAILED", str(error))
    about = tuple(label.code for label in loaded.model.labels)
    return Unread(loaded.identity, about, Refusal(why.code, why.sentence, why.detail))


def _ask(loaded: infer.Loaded, image: Image, organ: Organ | None, clock: Clock, foreseen: infer.Answers) -> Prediction:
    """Let one model read one image."""
    with clock.stage("prepare"):
        prepared = _prepared(loaded, image, organ)
    with clock.stage("infer"):
        return loaded.predict(prepared, clock.pause, foreseen)


def _prepared(loaded: infer.Loaded, image: Image, organ: Organ | None) -> Prepared:
    recipe = loaded.model.recipe
    box = _box(recipe, organ)
    return prepare.prepare(image.pixels, image.pixel_aspect, recipe, box, image.spacing_mm, image.directions)


def _said(loaded: infer.Loaded, image: Image, prediction: Prediction, organ: Organ | None, clock: Clock) -> Said:
    """What an answer says; `loaded` is who gave it."""
    model = loaded.model
    with clock.stage("infer"):
        said = Said(loaded.identity, infer.findings(model, prediction, image) if model.classifies else ())
    if model.segments and (not said.findings or any(finding.present for finding in said.findings)):
        said = _outlined(said, loaded, image, prediction, clock)
    if said.findings and "map" in prediction.outputs:
        said = _explained(said, model, image, prediction, organ, clock)
    return said


def _box(recipe: Recipe, organ: Organ | None) -> Box | None:
    if recipe.region != "lungs":
        return None
    if organ is None:
        raise NotRead("NOT-A-CHEST", "No lungs were outlined on which this model could look.")
    return organ.box(recipe.region_margin)


def _outlined(said: Said, loaded: infer.Loaded, image: Image, prediction: Prediction, clock: Clock) -> Said:
    """The regions of a model that segments."""
    grid = prediction.grid
    with clock.stage("infer"):
        drawn = infer.outlines(loaded.model, prediction, grid)
    with clock.stage("prepare"):
        masks = [prepare.back_mask_stack(logits, grid) for logits in drawn]
    with clock.stage("infer"):
        regions = infer.regions(loaded, image, masks)
    if not infer.is_pair(loaded.model):
        return replace(said, regions=regions)
    organ = Organ(masks[0][0] | masks[1][0], (drawn[0][0] > 0) | (drawn[1][0] > 0), grid)
    return replace(said, regions=regions, organ=organ)


def _explained(
    said: Said, model: infer.Model, image: Image, prediction: Prediction, organ: Organ | None, clock: Clock
) -> Said:
    """The map of each finding, on the slice where it is surest."""
    made = []
    with clock.stage("explain"):
        for number, finding in enumerate(said.findings):
            evidence = explain.positive(prediction.outputs["map"][finding.peak, number])
            heat = prepare.back_stack(evidence[None], prediction.grid)[0]
            inside = organ.mask if organ is not None else explain.foreground(image.pixels[finding.peak])
            name, seen = "lungs" if organ is not None else "body", prepare.seen(prediction.grid)
            made.append(explain.explain(finding, heat, inside, seen, model.map_bound, name))
    return replace(said, explanations=tuple(made))


def open_reader(
    settings: Settings,
    turns: Turns | None = None,
    decoder: Decoder = acquire,
    images: Iterable[Image] | None = None,
) -> Reader:
    """Load the models of the models folder, each in its fastest certified build on this host.

    Parameters
    ----------
    turns
        Shared with whoever lets urgent studies go first; None: every reading goes on.
    decoder
        What makes studies of bytes: in this process, or in children (`wetread.contain`).
    images
        All that is to be read: only the models that are for them are loaded; by default every one.

    Raises
    ------
    ModelError
        A model folder must not be loaded, or the folder holds none; or no document can hold a label's code.
    EngineError
        No installed engine runs a model.
    SettingsError
        A rule names a model that there is not.
    """
    keep_freed()
    share()
    models: Sequence[infer.Model] = infer.find(settings.models_dir)
    if not models:
        raise ModelError(f"models folder {settings.models_dir}: expected at least one model, found none")
    known = {model.id for model in models}
    for rule, name in named_models(settings.routes):
        if name not in known:
            expected = ", ".join(sorted(known))
            raise SettingsError(f"routes, {rule.label}: models: expected some of {expected}, got {name!r}")
    models = infer.holding(models)
    for model in models:
        for label in model.labels:
            if why := report.unfit(label.code):  # else every reading would end without a document
                raise ModelError(f"model {model.id}, label {label.name}: expected a code that DICOM can hold: {why}")
    wanted = models if images is None else _for(models, images)
    loaded = infer.open_all(wanted, infer.read_profile(settings.profile_path), settings)
    return Reader(loaded, settings, turns or Turns(), decoder, models)


def _for(models: Sequence[infer.Model], images: Iterable[Image]) -> list[infer.Model]:
    """The models that some of the images would be given to."""
    wanted: set[str] = set()
    for image in images:
        with suppress(NotRead):
            wanted |= {model.id for model in infer.permitted(models, image, UNROUTED)}
    return [model for model in models if model.id in wanted]
