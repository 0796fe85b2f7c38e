"""Models loaded on this host: verified, the fastest certified build, ready to answer."""

from __future__ import annotations

import io
import logging
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wetread.errors import EngineError, GoldenMismatch, ModelError, NotRead
from wetread.infer.choice import Choice, candidates, certified, choose, lighter, unmeasured
from wetread.infer.engine import DEVICES, Engine, finite, loader
from wetread.infer.foreseen import NONE, Answer, Answers
from wetread.infer.gate import refusal
from wetread.infer.joining import Joining
from wetread.infer.model import MOST_BYTES, Build, Model, read_graph, read_verified
from wetread.infer.profile import Profile
from wetread.infer.recipe import digest
from wetread.infer.signals import batches, signals
from wetread.records import Code, ModelIdentity, Prediction, Prepared, Tensor
from wetread.settings import Settings
from wetread.threads import each

log = logging.getLogger("wetread.infer")

#: CID 7162 Surface Processing/AI families: PS3.16.
FAMILY = Code("123110", "DCM", "Artificial Intelligence")
#: A graphics processor that failed is left alone for so long, seconds.
REST_S = 60.0


class Rest:
    """How long an engine that failed is left alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until, self.code = clock, float("-inf"), ""

    def begin(self, code: str) -> None:
        """Leave the engine alone from now on; `code` says why."""
        self._until, self.code = self._clock() + REST_S, code

    @property
    def on(self) -> bool:
        """Whether it is still left alone."""
        return self._clock() < self._until


class StoodIn(NotRead):
    """Another engine answered instead of the one that failed, and what the model must not read was found by it.

    Parameters
    ----------
    model
        Who answered, and in whose stead.
    """

    def __init__(self, refused: NotRead, model: ModelIdentity) -> None:
        super().__init__(refused.code, refused.detail)
        self.model = model


@dataclass(frozen=True, slots=True)
class Loaded:
    """One model whose chosen build is loaded and has reproduced its golden output."""

    model: Model
    identity: ModelIdentity
    engine: Engine
    batch: int = 16  # images that go through the graph at a time; a volume goes alone
    spare: Loaded | None = None  # answers where this engine does not
    lighter: Loaded | None = None  # answers where time is short
    rest: Rest = field(default_factory=Rest)

    def predict(
        self, prepared: Prepared, pause: Callable[[], None] = lambda: None, known: Answers = NONE
    ) -> Prediction:
        """Run a prepared tensor, the slices of a series in batches; several threads may ask at once.

        Before each batch `pause` is called: a reading that can wait stops there for one that cannot.
        What `known` tells of a slice is not asked again.

        A segmenter whose gate asks for it is asked about the mirror image too.  Where the engine fails or
        answers with what is no number, the spare answers, an alarm is logged, and the
        prediction's model tells who answered and in whose stead.

        Raises
        ------
        NotRead
            INCONSISTENT, INVERTED, UNCERTAIN or CUT-OFF: its gate does not let the image through; `StoodIn` where the
            spare answered.
        EngineError
            The tensor was made by another recipe, the engine and its spare failed, or an answer
            is not a finite number: such an answer is never passed on.
        """
        if prepared.recipe != self.model.recipe:
            raise EngineError(f"model {self.model.id}: the tensor was prepared by another recipe")
        if self.spare is None:
            return self._predict(prepared, pause, known)
        if not self.rest.on:
            try:
                return self._predict(prepared, pause, known)
            except EngineError as error:
                return self._stand_in(self.spare, prepared, pause, error.code, alarm=True)
        return self._stand_in(self.spare, prepared, pause, self.rest.code)

    def _stand_in(
        self, spare: Loaded, prepared: Prepared, pause: Callable[[], None], code: str, alarm: bool = False
    ) -> Prediction:
        """Let the spare answer; only if it can, were it with a refusal, was it the engine's fault."""
        answer: Prediction | NotRead
        try:
            answer = spare.predict(prepared, pause)
        except NotRead as error:
            answer = error
        if alarm:
            self.rest.begin(code)
            log.error("engine failed, another answers", extra={"reason": code, "where": self.engine.name})
        who = replace(spare.identity, instead_of=f"{self.engine.name} {code}")
        if isinstance(answer, NotRead):
            raise StoodIn(answer, who) from answer
        return replace(answer, model=who)

    def answering(self, answer: Prediction | StoodIn) -> Loaded:
        """The same model under the identity of who answered."""
        return replace(self, identity=answer.model)

    @property
    def foresees(self) -> bool:
        """Whether its answer to a slice needs no other slice, so that it may be had before they are here."""
        recipe = self.model.recipe
        alone = recipe.window is not None or recipe.percentiles_of == "slice"
        others = recipe.depth or recipe.beside or recipe.region != "image" or self.model.gate.mirrored
        return alone and not others

    def foresee(self, prepared: Prepared) -> dict[str, Tensor]:
        """Answer slices of which nobody knows yet whether they belong to a series that may be read.

        Raises
        ------
        EngineError
            The engine failed, or an answer is not a finite number.
        """
        return self._answers(prepared.tensor, lambda: None)

    def _predict(self, prepared: Prepared, pause: Callable[[], None], known: Answers) -> Prediction:
        gate = self.model.gate
        outputs = self._answers(prepared.tensor, pause, known)
        refused = refusal(self.model.id, gate, signals(self.model, prepared, outputs, gate.least))
        if refused is not None:
            raise refused
        if gate.mirrored:
            outputs = {name: values[: len(prepared.tensor)] for name, values in outputs.items()}
        return Prediction(self.identity, outputs, prepared.grid)

    def _answers(self, tensor: Tensor, pause: Callable[[], None], known: Answers = NONE) -> dict[str, Tensor]:
        """What the engine says of images, and of their mirror images where the gate asks for them."""
        mirrored = bool(self.model.gate.mirrored)
        told = known.to(self.identity, tensor) if self.foresees else []
        if any(told):
            return self._completed(told, tensor, pause)
        count, at = 2 * len(tensor) if mirrored else len(tensor), 0
        outputs: dict[str, Tensor] = {}
        for images in batches(tensor, mirrored, self.batch):
            run = self._run(images, pause)
            if len(images) == count:
                return run
            for name, values in run.items():
                if not at:
                    outputs[name] = np.empty((count, *values.shape[1:]), values.dtype)
                outputs[name][at : at + len(images)] = values
            at += len(images)
        return outputs

    def _completed(self, told: Sequence[Answer | None], tensor: Tensor, pause: Callable[[], None]) -> dict[str, Tensor]:
        """What was told of images, and what the engine says of the others."""
        first = next(answer for answer in told if answer is not None)
        outputs = {name: np.empty((len(tensor), *values.shape), values.dtype) for name, values in first.items()}

        def lay(row: int) -> None:
            for name, value in (told[row] or {}).items():
                outputs[name][row] = value

        each(len(told), lay)
        left = [row for row, answer in enumerate(told) if answer is None]
        for at in range(0, len(left), self.batch):
            rows = left[at : at + self.batch]
            for name, values in self._run(tensor[rows], pause).items():
                outputs[name][rows] = values
        return outputs

    def _run(self, images: Tensor, pause: Callable[[], None]) -> dict[str, Tensor]:
        pause()
        return finite(self.engine.run(images), f"model {self.model.id}")


def load(
    model: Model, choice: Choice, threads: int = 0, cache: Path | None = None, profile: Profile | None = None
) -> Loaded:
    """Load one build and let it prove itself.

    Parameters
    ----------
    threads
        Instead of the choice's; 0: those.
    profile
        What was certified on this host counts as well.

    Raises
    ------
    ModelError
        The build holds no certificate for the engine, its weights stand in another file, the golden file holds
        no arrays, or an output has another number of channels than there are labels.
    ModelDigestError
        A file is not the one that `model.toml` declares.
    GoldenMismatch
        The build does not reproduce its golden output on this host.
    EngineError
        The engine cannot run the graph.
    """
    build = model.build(choice.build)
    if not certified(build, choice.engine, profile):
        raise ModelError(
            f"model {model.id}: build {build.name} holds no certificate for {choice.engine} and does not load"
        )
    data = read_graph(build)
    engine = loader(choice.engine)(data, build.precision, threads or choice.threads, cache, choice.streams)
    _prove(model, build, engine)
    batch = 1 if model.recipe.depth else choice.batch
    joining = Joining(engine, batch, choice.streams) if batch > 1 else engine
    return Loaded(model, identify(model, build, engine), joining, batch)


def identify(model: Model, build: Build, engine: Engine) -> ModelIdentity:
    """Everything that a document says about who answered."""
    return ModelIdentity(
        id=model.id,
        version=model.version,
        build=build.name,
        sha256=build.sha256,
        device_uid=build.device_uid,
        manufacturer=model.manufacturer,
        family=FAMILY,
        engine=engine.name,
        engine_version=engine.version,
        device=engine.device,
        recipe=digest(model.recipe),
    )


def golden(model: Model) -> dict[str, npt.NDArray[np.float32]]:
    """The golden arrays: ``image`` and ``<build>/<output>``.

    Raises
    ------
    ModelError
        The file is no NPZ of numbers, unpacks to more than `MOST_BYTES`, or holds no image.
    ModelDigestError
        It is not the declared one.
    """
    data = read_verified(model.golden_path, model.golden_sha256)
    try:
        unpacked = sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(data)).infolist())
        if unpacked > MOST_BYTES:
            raise ModelError(f"{model.golden_path}: expected at most {MOST_BYTES} bytes unpacked, got {unpacked}")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name], np.float32) for name in stored.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{model.golden_path}: expected an NPZ of numbers, got {error}") from error
    if "image" not in arrays:
        raise ModelError(f"{model.golden_path}: expected an array `image`, got {sorted(arrays)}")
    return arrays


def _prove(model: Model, build: Build, engine: Engine) -> None:
    """Compare the answer to the golden input with the golden output."""
    arrays = golden(model)
    expected = {name.split("/", 1)[1]: value for name, value in arrays.items() if name.startswith(f"{build.name}/")}
    if not expected:
        raise GoldenMismatch(f"model {model.id}: golden.npz holds no output of build {build.name}")
    found = engine.run(arrays["image"])
    _check_channels(model, build, found, len(arrays["image"]))
    for name, value in expected.items():
        apart = difference(found.get(name), value)
        if not apart <= model.golden_tolerance:
            raise GoldenMismatch(
                f"model {model.id} build {build.name} on {engine.name} {engine.version}: output {name} differs from "
                f"the golden one by {apart:.3g} of its range, expected at most {model.golden_tolerance:g}; "
                "try another engine with --engine, and report it"
            )


def _check_channels(model: Model, build: Build, outputs: dict[str, Tensor], images: int) -> None:
    """See that each image has one channel a label: others would be taken for more images, or for nothing."""
    needed = [*([model.mask_output] if model.segments else []), *(["logits"] if model.classifies else [])]
    for name in (*needed, *(["map"] if "map" in outputs else [])):
        shape = outputs[name].shape if name in outputs else ()
        if shape[:2] != (images, len(model.labels)) or (name == "map" and len(shape) != 4):
            raise ModelError(
                f"model {model.id} build {build.name}: expected an output {name} with one channel a label, "
                f"({images}, {len(model.labels)}, ...), got {shape or sorted(outputs)}"
            )


def difference(found: Tensor | None, expected: Tensor) -> float:
    """Largest difference as a share of the largest expected value; infinite if shapes differ."""
    if found is None or found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-6))


def open_all(models: Sequence[Model], profile: Profile, settings: Settings) -> tuple[Loaded, ...]:
    """Load the chosen build of every model; an engine that fails gives way to the next candidate.

    A model of which no build is certified, such as an imported one, is left out.  A build on a
    graphics processor gets a spare on the CPU.  What a person should know is logged: a
    profile that no longer counts, as a whole or for a model, a deadline that a model does not meet.
    Where another build is set than the fastest, that one is loaded too, for the step "builds" of
    the setting `degrade`.

    Raises
    ------
    ModelError
        A file is not the declared one, no engine reproduces the golden output, or no model is certified.
    EngineError
        No engine can run any build.
    """
    found = holding(models)
    if profile.stale:
        log.warning("profile is stale: run wetread tune", extra={"reason": profile.stale})
    # Not in two threads: the first answers of OpenVINO 2026.4, asked at once, can wait for each other for ever.
    return tuple(_opened(model, profile, settings) for model in found)


def holding(models: Sequence[Model]) -> tuple[Model, ...]:
    """The models of which a build holds a certificate: only they are ever loaded.

    Raises
    ------
    ModelError
        There are models, and none of them holds one.
    """
    found = tuple(model for model in models if any(build.certified for build in model.builds))
    if models and not found:
        raise ModelError(f"expected a certified model, got {[model.id for model in models]}: none of them holds one")
    return found


def _opened(model: Model, profile: Profile, settings: Settings) -> Loaded:
    loaded = _with_spare(model, profile, settings)
    unknown = unmeasured(model, profile, _options(model, profile, settings), settings.threads)
    if unknown:
        told = f"not measured: {', '.join(f'{one.build} on {one.engine}' for one in unknown)}"
        log.warning("profile is stale: run wetread tune", extra={"where": model.id, "reason": told})
    late = missed(model, profile, settings)
    if late is not None:
        log.warning("model misses its deadline", extra={"where": model.id, "count": round(late, 1)})
    return replace(loaded, lighter=_lighter(loaded, profile, settings)) if "builds" in settings.steps else loaded


def _lighter(loaded: Loaded, profile: Profile, settings: Settings) -> Loaded | None:
    """The fastest certified build, where another one is set and it is faster."""
    than = Choice(loaded.identity.build, loaded.engine.name)
    limits = settings.engine, settings.threads, settings.deadline_ms
    if lighter(loaded.model, than, profile, *limits) is None:
        return None
    return _with_spare(loaded.model, profile, replace(settings, build="auto"))


def _with_spare(model: Model, profile: Profile, settings: Settings) -> Loaded:
    """The first choice that works; one on a graphics processor with another that stands by, if any works."""
    options = _in_order(model, profile, settings)
    loaded = _first_that_works(model, options, profile, settings)
    if loaded.engine.name not in DEVICES:
        return loaded
    spares = [option for option in options if option.engine not in DEVICES]
    try:
        return replace(loaded, spare=_first_that_works(model, spares, profile, settings))
    except (EngineError, GoldenMismatch) as error:
        log.error("no processor stands by for the device", extra={"where": model.id, "reason": str(error)})
        return loaded


def _in_order(model: Model, profile: Profile, settings: Settings) -> list[Choice]:
    """The chosen one, then the others in order of preference; the CPU's stand by for a device that was asked for."""
    chosen = chosen_by(settings, model, profile)
    others = _options(model, profile, settings)
    if settings.engine in DEVICES:
        others += [one for one in candidates(model, build=settings.build) if one.engine not in DEVICES]
    return [chosen, *(one for one in others if (one.build, one.engine) != (chosen.build, chosen.engine))]


def _options(model: Model, profile: Profile, settings: Settings) -> list[Choice]:
    return candidates(model, settings.engine, settings.build, profile)


def chosen_by(settings: Settings, model: Model, profile: Profile) -> Choice:
    """What `choose` takes under the node's settings."""
    return choose(model, profile, settings.engine, settings.build, settings.threads, settings.deadline_ms)


def missed(model: Model, profile: Profile, settings: Settings) -> float | None:
    """Milliseconds that the chosen build takes here, if that is more than the deadline; None if not, or not known."""
    if not (settings.deadline_ms and _options(model, profile, settings)):
        return None
    choice = chosen_by(settings, model, profile)
    build, shape = model.build(choice.build), (choice.threads, choice.streams, choice.batch)
    rows = profile.of(build.device_uid, build.sha256, choice.engine)
    took = max((row.median_ms for row in rows if (row.threads, row.streams, row.batch) == shape), default=0.0)
    return took if took > settings.deadline_ms else None


def _first_that_works(model: Model, options: Sequence[Choice], profile: Profile, settings: Settings) -> Loaded:
    failure: EngineError | GoldenMismatch | None = None
    for option in options:
        try:
            return load(model, option, settings.threads, settings.state_dir / "compiled", profile)
        except (EngineError, GoldenMismatch) as error:
            failure = failure or error
            where = f"{model.id} {option.build} on {option.engine}"
            about = {"where": where, "reason": str(error)}
            log.warning("%s fails on this host and is left out; see wetread doctor", where, extra=about)
            if option.engine in DEVICES:
                log.error("device does not answer, another engine is tried", extra={"where": option.engine})
    raise failure or EngineError(f"model {model.id}: no build to load")
