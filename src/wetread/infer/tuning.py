"""Measures every certified build on every engine of this host, and certifies engines that no certificate names."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wetread.errors import EngineError, GoldenMismatch
from wetread.infer.choice import Choice, candidates, certified
from wetread.infer.engine import DEVICES, Engine, finite, installed, loader, natively
from wetread.infer.host import difference, golden, load
from wetread.infer.model import Build, Model, read_graph
from wetread.infer.profile import Failure, Measured, Profile, Site
from wetread.records import Tensor
from wetread.settings import Settings

#: Images that go through a graph at a time; a volume goes alone.
BATCHES = (1, 4, 16)
#: Inputs on which an engine is held against a certified one.
INPUTS = 32


@dataclass(frozen=True, slots=True)
class Trial:
    """One build on one engine: its times in every shape, or why there are none."""

    model: Model
    choice: Choice
    rows: tuple[Measured, ...] = ()
    failure: str = ""


def plan(models: Sequence[Model], settings: Settings, profile: Profile) -> list[tuple[Model, Choice]]:
    """What there is to measure; a model without a certified build has nothing."""
    return [
        (model, option)
        for model in models
        if any(build.certified for build in model.builds)
        for option in candidates(model, settings.engine, settings.build, profile)
    ]


def shapes(threads: int) -> list[tuple[int, int]]:
    """Threads and streams to measure: one thread, all of them, and a stream a core."""
    cores = os.cpu_count() or 1
    if threads:
        return [(threads, 1), *([(threads, threads)] if threads > 1 else [])]
    return [(0, 1)] if cores == 1 else [(0, 1), (1, 1), (0, cores)]


def trial(model: Model, option: Choice, settings: Settings, profile: Profile, seconds: float = 0.3) -> Trial:
    """Measure one build on one engine.

    Parameters
    ----------
    seconds
        How long each shape is measured for; at least three answers are.
    """
    build, image = model.build(option.build), golden(model)["image"]
    batches = BATCHES if model.recipe.depth == 0 else (1,)
    rows: list[Measured] = []
    try:
        for threads, streams in shapes(settings.threads):
            asked = Choice(option.build, option.engine, threads, streams)
            engine = load(model, asked, 0, settings.state_dir / "compiled", profile).engine
            alone = _alone(engine, image, seconds)
            for batch in batches:
                rate = throughput(engine, np.repeat(image[:1], batch, axis=0), streams, seconds)
                times = statistics.median(alone), min(alone)
                key = (build.device_uid, build.sha256, option.engine)
                rows.append(Measured(*key, threads, streams, batch, *times, rate, len(alone)))
    except (EngineError, GoldenMismatch) as error:
        return Trial(model, option, failure=str(error))
    return Trial(model, option, tuple(rows))


def merged(before: Profile, trials: Sequence[Trial], models: Sequence[Model], threads: int) -> Profile:
    """What was measured now, and what was known of the builds, engines and threads that were not.

    Parameters
    ----------
    models
        All that there are: what was known of other files is forgotten.
    threads
        The setting that the trials ran under; 0: any number was tried.
    """
    files = {(build.device_uid, build.sha256) for model in models for build in model.builds}
    tried: dict[tuple[str, str, str], tuple[Measured, ...]] = {}
    for one in trials:
        build = one.model.build(one.choice.build)
        tried[build.device_uid, build.sha256, one.choice.engine] = one.rows

    def stays(row: Measured) -> bool:
        key = row.device_uid, row.sha256, row.engine
        return key[:2] in files and (key not in tried or (bool(tried[key]) and threads not in (0, row.threads)))

    rows = [*(row for fresh in tried.values() for row in fresh), *filter(stays, before.rows)]
    known = [one for one in before.failures if (one.device_uid, one.sha256) in files]
    failures = [one for one in known if (one.device_uid, one.sha256, one.engine) not in tried]
    failures += [Failure(*key) for key, fresh in tried.items() if not fresh]
    return replace(before, rows=tuple(rows), failures=tuple(failures))


def _alone(engine: Engine, image: Tensor, seconds: float) -> list[float]:
    """Times of single answers, milliseconds, after two that do not count."""
    times: list[float] = []
    for _ in range(2):
        engine.run(image)
    while len(times) < 3 or sum(times) < 1e3 * seconds:
        start = time.perf_counter()
        engine.run(image)
        times.append((time.perf_counter() - start) * 1e3)
    return times


def throughput(engine: Engine, images: Tensor, streams: int, seconds: float) -> float:
    """Images a second with every stream busy."""
    engine.run(images)
    start = time.perf_counter()

    def busy(_: int) -> int:
        done = 0
        while done < 2 or time.perf_counter() - start < seconds:
            engine.run(images)
            done += 1
        return done

    with ThreadPoolExecutor(streams) as pool:
        answers = sum(pool.map(busy, range(streams)))
    return answers * len(images) / (time.perf_counter() - start)


def certify_here(models: Sequence[Model], settings: Settings, say: Callable[[str], None]) -> Iterator[Site]:
    """Hold engines of graphics processors that no certificate names against a certified engine of this host.

    Each certified build answers to its golden input and to varied copies of it, on both; the
    engine passes if all values are finite and differ by no more than the model's golden tolerance.

    Parameters
    ----------
    say
        Told of each build that did not pass, and why.
    """
    for model in models:
        for build in model.builds:
            known = [kind for kind in build.engines if kind in installed() and natively(kind, build.precision)]
            for kind in (name for name in installed() if name in DEVICES and not certified(build, name)):
                if known and natively(kind, build.precision):
                    try:
                        yield compared(model, build, known[0], kind, settings.state_dir / "compiled")
                    except (EngineError, GoldenMismatch) as error:
                        say(str(error))


def compared(model: Model, build: Build, reference: str, kind: str, cache: Path) -> Site:
    """The certificate of one build on one engine of this host.

    Raises
    ------
    EngineError
        One of the engines failed.
    GoldenMismatch
        The answers differ by more than the model's golden tolerance.
    """
    data = read_graph(build)
    known, new = (loader(name)(data, build.precision, 0, cache) for name in (reference, kind))
    worst = 0.0
    for image in varied(golden(model)["image"]):
        expected, found = known.run(image), finite(new.run(image), f"model {model.id} on {kind}")
        worst = max([worst, *(difference(found.get(name), value) for name, value in expected.items())])
    if not worst <= model.golden_tolerance:
        raise GoldenMismatch(
            f"model {model.id} build {build.name}: {kind} differs from {reference} by {worst:.3g} of the range on "
            f"{INPUTS} inputs, expected at most {model.golden_tolerance:g}; it stays out"
        )
    return Site(build.device_uid, build.sha256, kind, reference, INPUTS, worst, model.golden_tolerance)


def varied(image: Tensor) -> Iterator[Tensor]:
    """The golden input, and copies with noise, other contrast, mirrored or moved."""
    random = np.random.default_rng(0)
    yield image
    for number in range(1, INPUTS):
        copy = image * random.uniform(0.7, 1.3) + random.uniform(-0.2, 0.2)
        copy = copy + random.normal(0, 0.1, image.shape)
        copy = np.roll(copy, int(random.integers(-8, 9)), axis=-1 - number % 2)
        yield np.ascontiguousarray(copy[..., ::-1] if number % 3 == 0 else copy, np.float32)
