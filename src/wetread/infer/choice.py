"""Which build of a model runs here, on which engine, in which shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wetread.errors import EngineError, ModelError, SettingsError
from wetread.infer.engine import ENGINES, installed, natively
from wetread.infer.model import Build, Model
from wetread.infer.profile import Measured, Profile

#: Before anything was measured, the build that is usually fastest comes first.
PREFERENCE = ("pruned-bf16", "pruned-int8", "bf16", "int8", "pruned-fp32", "fp32")
#: A build is nearly as fast as another if it takes at most so many times as long.
NEARLY = 1.25
#: A shape may delay an image that is asked alone by so much, and must bring so many more images a second.
DELAY, GAIN = 1.05, 1.1


@dataclass(frozen=True, slots=True)
class Choice:
    """Which build runs on which engine, and how."""

    build: str
    engine: str
    threads: int = 0  # of all streams together; 0: all cores
    streams: int = 1  # answers that are computed side by side
    batch: int = 16  # images that go through the graph at a time


def candidates(model: Model, engine: str = "auto", build: str = "auto", profile: Profile | None = None) -> list[Choice]:
    """Every build on every installed engine on which it is certified, in order of preference.

    A precision that the host would have to emulate is left out.

    Parameters
    ----------
    profile
        What was certified on this host counts as well: `wetread tune --certify`.

    Raises
    ------
    SettingsError
        As `check_build`.
    ModelError
        The build asked for holds no certificate.
    EngineError
        The engine asked for is not installed.
    """
    engines = list(installed()) if engine == "auto" else [engine]
    if engine not in ("auto", *ENGINES):
        raise EngineError(f"engine: expected auto or one of {', '.join(ENGINES)}, got {engine!r}")
    if not engines or (engine != "auto" and engine not in installed()):
        packages = "openvino onnxruntime" if engine == "auto" else ENGINES[engine][0]
        raise EngineError(f"engine {engine}: not installed, or without its device; pip install {packages}")
    check_build(model, build)
    builds = [b for b in model.builds if b.certified] if build == "auto" else [model.build(build)]
    if not all(b.certified for b in builds):
        raise ModelError(f"model {model.id}: build {build!r} holds no certificate and does not load")
    order = {name: i for i, name in enumerate(PREFERENCE)}
    builds.sort(key=lambda b: order.get(b.name, len(order)))
    return [Choice(b.name, e) for b in builds for e in engines if certified(b, e, profile) and natively(e, b.precision)]


def check_build(model: Model, build: str) -> None:
    """Refuse a build that a model does not have: it would not load.

    Raises
    ------
    SettingsError
        Neither auto nor one of its builds.
    """
    names = [one.name for one in model.builds]
    if build not in ("auto", *names):
        raise SettingsError(f"setting build: expected auto or a build of {model.id}, {', '.join(names)}; got {build!r}")


def certified(build: Build, engine: str, profile: Profile | None = None) -> bool:
    """Whether a build may answer on an engine: by its certificate, or by one that was made on this host."""
    return engine in build.engines or (
        profile is not None and engine in profile.certified(build.device_uid, build.sha256)
    )


def choose(
    model: Model,
    profile: Profile,
    engine: str = "auto",
    build: str = "auto",
    threads: int = 0,
    deadline_ms: float = 0.0,
) -> Choice:
    """The first in order of preference among those nearly as fast as the fastest on this host, in its best shape.

    If any meets the deadline, one that does.  Times within a quarter of each other are taken for
    equal: they differ by the load of the moment, and one engine for all models shares its threads.
    Where there is one that was not measured, times do not decide, but preference alone: see `unmeasured`.

    Parameters
    ----------
    deadline_ms
        The longest that one image may take; 0: no limit.

    Raises
    ------
    EngineError
        No build is certified on an installed engine.
    """
    options = candidates(model, engine, build, profile)
    if not options:
        raise EngineError(
            f"model {model.id}: expected a build that is certified on one of {list(installed())}, in a precision that "
            f"it has on this processor, got {'none' if build == 'auto' else build}"
        )
    measured = [(rows, option) for option in options if (rows := _rows(model, profile, option, threads))]
    if not measured or unmeasured(model, profile, options, threads):
        return options[0]
    bound = _longest(min(fastest(rows) for rows, _ in measured), NEARLY, deadline_ms)
    rows, option = next((rows, option) for rows, option in measured if fastest(rows) <= bound)
    row = shape(rows, deadline_ms)
    return Choice(option.build, option.engine, row.threads, row.streams, row.batch)


def unmeasured(model: Model, profile: Profile, options: Sequence[Choice], threads: int = 0) -> list[Choice]:
    """Those of which a profile knows neither times nor that they fail here; none where nothing was measured at all.

    Their files are new, or they were left out when others were measured: they may be the fastest.
    """
    if not profile.rows:
        return []
    return [one for one in options if not _rows(model, profile, one, threads) and not _failed(model, profile, one)]


def _failed(model: Model, profile: Profile, option: Choice) -> bool:
    build = model.build(option.build)
    return profile.failed(build.device_uid, build.sha256, option.engine)


def lighter(
    model: Model,
    than: Choice,
    profile: Profile,
    engine: str = "auto",
    threads: int = 0,
    deadline_ms: float = 0.0,
) -> Choice | None:
    """What would read where time is short: certified as the other is, and faster on this host; None if nothing is.

    Without measurements the order of preference tells which is.
    """
    best = choose(model, profile, engine, threads=threads, deadline_ms=deadline_ms)
    times = [fastest(rows) for one in (best, than) if (rows := _rows(model, profile, one, threads))]
    if len(times) == 2:
        return best if times[0] < times[1] else None
    order = [(one.build, one.engine) for one in candidates(model, engine, profile=profile)]
    here = (than.build, than.engine)
    return best if here in order and order.index((best.build, best.engine)) < order.index(here) else None


def _rows(model: Model, profile: Profile, option: Choice, threads: int) -> Sequence[Measured]:
    build = model.build(option.build)
    rows = profile.of(build.device_uid, build.sha256, option.engine)
    return [row for row in rows if threads in (0, row.threads)]


def fastest(rows: Sequence[Measured]) -> float:
    """The shortest time of one image asked alone, milliseconds."""
    return min(row.median_ms for row in rows)


def _longest(least_ms: float, factor: float, deadline_ms: float) -> float:
    """How long what is taken for as fast as the fastest may take, ms: not past a deadline that the fastest meets."""
    return min(factor * least_ms, deadline_ms) if least_ms <= deadline_ms else factor * least_ms


def shape(rows: Sequence[Measured], deadline_ms: float = 0.0) -> Measured:
    """The simplest shape that hardly delays an image asked alone and gives nearly the most images a second."""
    bound = _longest(fastest(rows), DELAY, deadline_ms)
    quick = [row for row in rows if row.median_ms <= bound]
    most = max(row.images_s for row in quick)
    enough = [row for row in quick if row.images_s * GAIN >= most]
    return min(enough, key=lambda row: (row.streams, row.batch, row.threads))
