"""Models loaded on this host: verified, the fastest certified build, ready to answer."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wetread.errors import EngineError, GoldenMismatch, ModelError, NotRead
from wetread.infer.engine import Engine, installed, loader, natively
from wetread.infer.gate import agreement, lowest_edge, with_mirror
from wetread.infer.model import Build, Model, read_verified
from wetread.infer.profile import Measured, Profile, row
from wetread.infer.recipe import digest
from wetread.records import Code, Mask, ModelIdentity, Prediction, Prepared, Tensor
from wetread.settings import Settings

#: CID 7162 Surface Processing/AI families: PS3.16.
FAMILY = Code("123110", "DCM", "Artificial Intelligence")
#: Before anything was measured, the build that is usually fastest comes first.
PREFERENCE = ("pruned-bf16", "pruned-int8", "bf16", "int8", "pruned-fp32", "fp32")
#: Slices that go through a graph at a time.
BATCH = 16
#: A build is nearly as fast as another if it takes at most so many times as long.
NEARLY = 1.25


@dataclass(frozen=True, slots=True)
class Choice:
    """Which build runs on which engine."""

    build: str
    engine: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """One model whose chosen build is loaded and has reproduced its golden output."""

    model: Model
    identity: ModelIdentity
    engine: Engine

    def predict(self, prepared: Prepared) -> Prediction:
        """Run a prepared tensor, the slices of a series in batches.

        A segmenter with a gate is asked about the mirror image too.

        Raises
        ------
        NotRead
            INCONSISTENT: it says something else of the mirror image.  CUT-OFF: the film ends before the lungs do.
        EngineError
            The tensor was made by another recipe, the engine failed, or an answer
            is not a finite number: such an answer is never passed on.
        """
        if prepared.recipe != self.model.recipe:
            raise EngineError(f"model {self.model.id}: the tensor was prepared by another recipe")
        gate = self.model.gate
        tensor = with_mirror(prepared.tensor) if gate.mirrored else prepared.tensor
        runs = [self.engine.run(tensor[at : at + BATCH]) for at in range(0, len(tensor), BATCH)]
        outputs = {
            name: np.concatenate([run[name] for run in runs]) if len(runs) > 1 else runs[0][name] for name in runs[0]
        }
        for name, values in outputs.items():
            if not np.isfinite(values).all():
                raise EngineError(f"model {self.model.id}: output {name} holds values that are not finite numbers")
        if gate.mirrored:
            self._agree(agreement(outputs[self.model.mask_output]))
            outputs = {name: values[: len(prepared.tensor)] for name, values in outputs.items()}
        if gate.lungs_cut < 1:
            self._whole(outputs[self.model.mask_output][0, 0] > 0, prepared)
        return Prediction(self.identity, outputs, prepared.grid)

    def _agree(self, found: float) -> None:
        bound = self.model.gate.mirrored
        if not found >= bound:
            raise NotRead(
                "INCONSISTENT",
                f"Model {self.model.id}: expected a Dice of at least {bound:.2f} between its masks of the image and of "
                f"the mirror image, got {found:.2f}.",
            )

    def _whole(self, lungs: Mask, prepared: Prepared) -> None:
        found = lowest_edge(lungs, prepared.tensor[0, 0], prepared.grid.content)
        if found > self.model.gate.lungs_cut:
            raise NotRead(
                "CUT-OFF",
                f"Model {self.model.id}: expected the lower edge to cut at most {self.model.gate.lungs_cut:.0%} of the "
                f"lungs' width, got {found:.0%}.",
            )


def candidates(model: Model, engine: str = "auto", build: str = "auto") -> list[Choice]:
    """Every certified build on every installed engine, in order of preference.

    A precision that the host would have to emulate is left out.

    Raises
    ------
    ModelError
        The build asked for does not exist or holds no certificate.
    EngineError
        The engine asked for is not installed.
    """
    engines = list(installed()) if engine == "auto" else [engine]
    if not engines or (engine != "auto" and engine not in installed()):
        raise EngineError(f"engine {engine}: not installed; pip install openvino onnxruntime")
    builds = [b for b in model.builds if b.certified] if build == "auto" else [model.build(build)]
    if not all(b.certified for b in builds):
        raise ModelError(f"model {model.id}: build {build!r} holds no certificate and does not load")
    order = {name: i for i, name in enumerate(PREFERENCE)}
    builds.sort(key=lambda b: order.get(b.name, len(order)))
    return [Choice(b.name, e) for b in builds for e in engines if natively(e, b.precision)]


def choose(model: Model, profile: Profile, engine: str = "auto", build: str = "auto") -> Choice:
    """The first in order of preference among those nearly as fast as the fastest on this host.

    Without measurements the preferred one.  Times within a quarter of each other are taken for
    equal: they differ by the load of the moment, and one engine for all models shares its threads.
    """
    options = candidates(model, engine, build)
    measured = [
        (ms, option)
        for option in options
        if (ms := profile.median_ms(model.build(option.build).device_uid, option.engine)) is not None
    ]
    if not measured:
        return options[0]
    bound = NEARLY * min(ms for ms, _ in measured)
    return next(option for ms, option in measured if ms <= bound)


def load(model: Model, choice: Choice, threads: int = 0, cache: Path | None = None) -> Loaded:
    """Load one build and let it prove itself.

    Raises
    ------
    ModelDigestError
        A file is not the one that `model.toml` declares.
    GoldenMismatch
        The build does not reproduce its golden output on this host.
    EngineError
        The engine cannot run the graph.
    """
    build = model.build(choice.build)
    if not build.certified:
        raise ModelError(f"model {model.id}: build {build.name} holds no certificate and does not load")
    data = read_verified(build.path, build.sha256)
    engine = loader(choice.engine)(data, build.precision, threads, cache)
    _prove(model, build, engine)
    return Loaded(model, identify(model, build, engine), engine)


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
    """The golden arrays: ``image`` and ``<build>/<output>``."""
    data = read_verified(model.golden_path, model.golden_sha256)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: np.asarray(arrays[name], np.float32) for name in arrays.files}


def _prove(model: Model, build: Build, engine: Engine) -> None:
    """Compare the answer to the golden input with the golden output."""
    arrays = golden(model)
    expected = {name.split("/", 1)[1]: value for name, value in arrays.items() if name.startswith(f"{build.name}/")}
    if not expected:
        raise GoldenMismatch(f"model {model.id}: golden.npz holds no output of build {build.name}")
    found = engine.run(arrays["image"])
    for name, value in expected.items():
        difference = _difference(found.get(name), value)
        if not difference <= model.golden_tolerance:
            raise GoldenMismatch(
                f"model {model.id} build {build.name} on {engine.name} {engine.version}: output {name} differs from "
                f"the golden one by {difference:.3g} of its range, expected at most {model.golden_tolerance:g}; "
                "try another engine with --engine, and report it"
            )


def _difference(found: Tensor | None, expected: Tensor) -> float:
    """Largest difference as a share of the largest expected value; infinite if shapes differ."""
    if found is None or found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-6))


def open_all(models: Sequence[Model], profile: Profile, settings: Settings) -> tuple[Loaded, ...]:
    """Load the chosen build of every model; an engine that fails gives way to the next candidate.

    A model of which no build is certified, such as an imported one, is left out.

    Raises
    ------
    ModelError
        A file is not the declared one, no engine reproduces the golden output, or no model is certified.
    EngineError
        No engine can run any build.
    """
    cache = settings.state_dir / "compiled"
    return tuple(_first_that_works(model, profile, settings, cache) for model in _certified(models))


def _certified(models: Sequence[Model]) -> list[Model]:
    found = [model for model in models if any(build.certified for build in model.builds)]
    if models and not found:
        raise ModelError(f"expected a certified model, got {[model.id for model in models]}: none of them holds one")
    return found


def _first_that_works(model: Model, profile: Profile, settings: Settings, cache: Path) -> Loaded:
    options = candidates(model, settings.engine, settings.build)
    options.sort(key=lambda option: option != choose(model, profile, settings.engine, settings.build))
    failure: EngineError | GoldenMismatch | None = None
    for option in options:
        try:
            return load(model, option, settings.threads, cache)
        except (EngineError, GoldenMismatch) as error:
            failure = failure or error
    raise failure or EngineError(f"model {model.id}: no build to load")


def tune(models: Sequence[Model], settings: Settings) -> Iterator[tuple[Model, Measured]]:
    """Measure every certified build on every installed engine, one after the other."""
    for model in _certified(models):
        for option in candidates(model, settings.engine, settings.build):
            loaded = load(model, option, settings.threads, settings.state_dir / "compiled")
            yield model, row(loaded.identity.device_uid, loaded.engine, golden(model)["image"])
