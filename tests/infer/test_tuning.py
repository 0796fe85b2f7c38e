"""What is measured on a host, what is remembered, and what is chosen from it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import toy
from wetread import infer
from wetread.errors import EngineError
from wetread.infer import Measured, Profile
from wetread.infer.choice import lighter
from wetread.infer.engine import installed
from wetread.infer.profile import fingerprint
from wetread.infer.tuning import shapes
from wetread.settings import Settings

ENGINES = sorted(installed())


@pytest.fixture
def model(tmp_path: Path) -> infer.Model:
    builds = {"fp32": toy.lungs_graph(), "other": toy.lungs_graph(gain=1.01)}
    return infer.read(toy.make_model(tmp_path / "cxr-lungs", "segmentation", builds))


def test_a_precision_that_the_processor_lacks_is_named(model: infer.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wetread.infer.choice.natively", lambda kind, precision: False)
    with pytest.raises(EngineError, match="in a precision that it has on this processor, got other"):
        infer.choose(model, Profile("here"), build="other")


def row(model: infer.Model, build: str, engine: str, ms: float, **more: float) -> Measured:
    one = model.build(build)
    plain = Measured(one.device_uid, one.sha256, engine, 0, 1, 1, ms, ms, 1000 / ms, 3)
    return replace(plain, **more)  # type: ignore[arg-type]


def measured(model: infer.Model, *ms: float) -> Profile:
    """Times of fp32 and other on openvino, then of both on onnxruntime."""
    pairs = [(build, engine) for engine in ("openvino", "onnxruntime") for build in ("fp32", "other")]
    return Profile("here", tuple(row(model, *pair, one) for pair, one in zip(pairs, ms, strict=True)))


def test_fastest_measured_build_is_chosen(model: infer.Model) -> None:
    profile = measured(model, 3.0, 9.0, 4.0, 2.0)
    fast = infer.choose(model, profile)
    assert (fast.build, fast.engine, fast.batch) == ("other", "onnxruntime", 1)
    assert infer.choose(model, profile, build="fp32").engine == "openvino"
    assert infer.choose(model, profile, engine="openvino").build == "fp32"
    assert infer.choose(model, Profile("here")) == infer.Choice("fp32", "openvino")


def test_times_of_another_file_do_not_count(model: infer.Model) -> None:
    stale = replace(row(model, "other", "onnxruntime", 0.1), sha256="0" * 64)
    assert infer.choose(model, Profile("here", (stale,))) == infer.Choice("fp32", "openvino")


@pytest.mark.parametrize(
    ("more", "chosen"),
    [
        ({"batch": 16, "images_s": 300.0}, (0, 1, 16)),  # batches pay
        ({"batch": 16, "images_s": 105.0}, (0, 1, 1)),  # they hardly do: the simpler one
        ({"streams": 2, "images_s": 300.0}, (0, 2, 1)),  # streams pay and delay nothing
        ({"streams": 2, "images_s": 300.0, "median_ms": 15.0}, (0, 1, 1)),  # they delay a study that is alone
    ],
)
def test_shape_is_the_simplest_that_pays(model: infer.Model, more: dict[str, float], chosen: tuple[int, ...]) -> None:
    rows = (row(model, "fp32", "openvino", 10.0), row(model, "fp32", "openvino", 10.0, **more))
    choice = infer.choose(model, Profile("here", rows), "openvino", "fp32")
    assert (choice.threads, choice.streams, choice.batch) == chosen


@pytest.mark.parametrize(
    ("ms", "deadline_ms", "chosen", "late_ms"),
    [
        ((20.0, 90.0, 30.0, 18.0), 0.0, ("fp32", "openvino"), None),  # nearly as fast, and preferred
        ((20.0, 90.0, 30.0, 18.0), 19.0, ("other", "onnxruntime"), None),  # the only one in time
        ((20.0, 90.0, 30.0, 18.0), 25.0, ("fp32", "openvino"), None),
        ((20.0, 90.0, 30.0, 18.0), 10.0, ("fp32", "openvino"), 20.0),  # none is
    ],
)
def test_what_meets_the_deadline_comes_first(
    model: infer.Model, ms: tuple[float, ...], deadline_ms: float, chosen: tuple[str, str], late_ms: float | None
) -> None:
    profile, settings = measured(model, *ms), Settings(deadline_ms=deadline_ms)
    choice = infer.chosen_by(settings, model, profile)
    assert (choice.build, choice.engine) == chosen
    assert infer.missed(model, profile, settings) == late_ms


def test_shape_that_would_miss_the_deadline_is_not_taken(model: infer.Model) -> None:
    rows = (row(model, "fp32", "openvino", 10.0), row(model, "fp32", "openvino", 10.4, batch=16, images_s=900.0))
    for deadline_ms, batch in ((0.0, 16), (10.2, 1)):
        choice = infer.choose(model, Profile("here", rows), "openvino", "fp32", deadline_ms=deadline_ms)
        assert choice.batch == batch


def test_times_decide_only_where_all_are_known(
    model: infer.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The files of one build are new: it may be the fastest, or not."""
    full = measured(model, 9.0, 3.0, 5.0, 2.0)
    slow, settings = model.build("fp32"), Settings(state=tmp_path)
    partial = replace(full, rows=tuple(one for one in full.rows if one.sha256 == slow.sha256))
    failed = tuple(
        infer.Failure(one.device_uid, one.sha256, one.engine) for one in full.rows if one not in partial.rows
    )
    found = [infer.choose(model, one).engine for one in (full, partial, replace(partial, failures=failed))]
    assert found == ["onnxruntime", "openvino", "onnxruntime"]
    every = replace(full, rows=(replace(full.rows[0], sha256="0" * 64),))  # all its files are new
    with caplog.at_level(logging.WARNING):
        for profile in (partial, full, Profile("here"), every):
            infer.open_all([model], profile, settings)
    told: list[Any] = [one for one in caplog.records if one.getMessage() == "profile is stale: run wetread tune"]
    others = "other on openvino, other on onnxruntime"
    assert [one.reason for one in told] == [
        f"not measured: {others}",
        f"not measured: fp32 on openvino, fp32 on onnxruntime, {others}",
    ]


@pytest.mark.parametrize("threads", [0, 1])
def test_a_partial_measurement_forgets_nothing_else(model: infer.Model, threads: int) -> None:
    before = measured(model, 1.0, 2.0, 3.0, 4.0)
    before = replace(before, rows=(*before.rows, row(model, "other", "onnxruntime", 5.0, threads=1)))
    gone = replace(before.rows[0], sha256="0" * 64)
    fresh = row(model, "other", "onnxruntime", 6.0, threads=1)
    trials = [
        infer.Trial(model, infer.Choice("other", "onnxruntime"), (fresh,)),
        infer.Trial(model, infer.Choice("fp32", "onnxruntime"), failure="it broke"),
    ]
    found = infer.merged(replace(before, rows=(*before.rows, gone)), trials, [model], threads)
    at_all_threads = before.rows[3:4] if threads else ()
    assert found.rows == (fresh, *before.rows[:2], *at_all_threads)
    lost = model.build("fp32")
    assert found.failures == (infer.Failure(lost.device_uid, lost.sha256, "onnxruntime"),)
    again = infer.merged(found, [infer.Trial(model, infer.Choice("fp32", "onnxruntime"), (fresh,))], [model], 0)
    assert again.failures == ()


def test_profile_counts_on_one_processor_and_one_device(tmp_path: Path) -> None:
    """What Linux says of an ARM core, of NVIDIA's driver and device, and of a device on the bus."""
    files = {
        "proc/cpuinfo": "BogoMIPS\t: 243.75\nCPU implementer\t: 0x41\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA Kernel Module  535.104.05\nGCC version: 12\n",
        "proc/driver/nvidia/gpus/0000:17:00.0/information": "Model: \t\t NVIDIA A100\nIRQ: 55\n",
        "sys/class/drm/renderD128/device/vendor": "0x8086\n",
        "sys/class/drm/renderD128/device/device": "0x56a0\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    processor, *_, driver, device, bus = fingerprint(tmp_path).split("/")
    assert processor == "0x41 0x3 0xd0c"
    assert (driver, device, bus) == ("NVIDIA Kernel Module 535.104.05", "NVIDIA A100", "0x8086 0x56a0")


def test_every_build_is_measured_on_every_engine_in_every_shape(model: infer.Model, tmp_path: Path) -> None:
    settings = Settings(state=tmp_path / "state", threads=2)
    steps = infer.plan([model], settings, Profile("here"))
    trials = [infer.trial(*step, settings, Profile("here"), seconds=0.0) for step in steps]
    rows = [one for trial in trials for one in trial.rows]
    assert {(one.device_uid, one.engine) for one in rows} == {(b.device_uid, e) for b in model.builds for e in ENGINES}
    assert {(one.threads, one.streams, one.batch) for one in rows} == {
        (2, streams, batch) for streams in (1, 2) for batch in (1, 4, 16)
    }
    assert all(0 < one.best_ms <= one.median_ms and one.images_s > 0 and one.runs >= 3 for one in rows)
    assert (0, 1) in shapes(0)


def test_build_that_cannot_be_measured_says_why(model: infer.Model, tmp_path: Path) -> None:
    broken = replace(model, golden_tolerance=-1.0)
    trial = infer.trial(broken, infer.Choice("fp32", "openvino"), Settings(state=tmp_path), Profile("here"))
    assert trial.rows == ()
    assert "golden" in trial.failure


def test_profile_is_remembered_and_a_stale_one_is_noticed(
    model: infer.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state" / "profile.json"
    assert infer.read_profile(path) == Profile(infer.read_profile(path).host)
    site = infer.Site("2.25.1", "0" * 64, "cuda", "openvino", 32, 0.0, 0.01)
    failure = infer.Failure("2.25.1", "0" * 64, "onnxruntime")
    written = Profile(infer.read_profile(path).host, (row(model, "fp32", "openvino", 4.0),), (failure,), (site,))
    infer.write_profile(path, written)
    assert infer.read_profile(path) == written
    assert [one.name for one in path.parent.iterdir()] == ["profile.json"]
    table = json.loads(path.read_text())
    for change, said in [
        ({"host": "another"}, "another processor"),
        ({"version": 1}, "expected version"),
        ({"rows": [{"engine": "x"}]}, "cannot be read"),
    ]:
        path.write_text(json.dumps(table | change))
        stale = infer.read_profile(path)
        assert stale.rows == ()
        assert said in stale.stale
    with caplog.at_level(logging.WARNING):
        infer.open_all([model], stale, Settings(state=tmp_path))
    assert "profile is stale: run wetread tune" in [record.getMessage() for record in caplog.records]


def test_deadline_that_no_build_meets_is_said(
    model: infer.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    profile = measured(model, 30.0, 90.0, 90.0, 20.0)
    settings = Settings(state=tmp_path, deadline_ms=10.0)
    assert infer.missed(model, profile, settings) == 20.0
    assert infer.missed(model, profile, replace(settings, deadline_ms=25.0)) is None
    assert infer.missed(model, profile, replace(settings, deadline_ms=0.0)) is None
    with caplog.at_level(logging.WARNING):
        infer.open_all([model], profile, settings)
    assert "model misses its deadline" in [record.getMessage() for record in caplog.records]


def test_the_lighter_build_is_faster_on_this_host(model: infer.Model) -> None:
    rows = (row(model, "fp32", "onnxruntime", 4.0), row(model, "other", "onnxruntime", 2.0))
    profile, engine = Profile("here", rows), "onnxruntime"
    found = lighter(model, infer.Choice("fp32", engine), profile, engine)
    assert found is not None
    assert found.build == "other"
    assert lighter(model, infer.Choice("other", engine), profile, engine) is None
    nothing = Profile("here")  # not measured: by preference, in which fp32 comes before a build with no known name
    assert lighter(model, infer.Choice("fp32", engine), nothing, engine) is None
    assert lighter(model, infer.Choice("other", engine), nothing, engine) == infer.Choice("fp32", engine)
    assert lighter(model, infer.Choice("other", "lost"), nothing, engine) is None


def test_a_lighter_build_stands_by_where_another_one_is_set(model: infer.Model, tmp_path: Path) -> None:
    def opened(given: infer.Model = model, **settings: Any) -> infer.Loaded:
        state = Settings(state=tmp_path / "state", engine="onnxruntime", **settings)
        return infer.open_all([given], Profile("here"), state)[0]

    loaded = opened(build="other")
    assert loaded.identity.build == "other"
    assert loaded.lighter is not None
    assert loaded.lighter.identity.build == "fp32"
    assert loaded.lighter.model is model  # the same gate and thresholds
    others: tuple[dict[str, Any], ...] = ({}, {"build": "fp32"}, {"build": "other", "degrade": "pictures"})
    for settings in others:
        assert opened(**settings).lighter is None
    assert opened(build="other", degrade_after_s=0.0).lighter is None


def test_a_build_without_a_certificate_never_stands_by(tmp_path: Path) -> None:
    builds = {"fp32": toy.lungs_graph(), "pruned-int8": toy.lungs_graph(gain=1.01)}
    bare = infer.read(toy.make_model(tmp_path / "bare", "segmentation", builds, certified=False))
    held = infer.read(toy.make_model(tmp_path / "held", "segmentation", builds))
    settings = Settings(state=tmp_path / "state", engine="onnxruntime", build="fp32")
    found = [infer.open_all([one], Profile("here"), settings)[0].lighter for one in (bare, held)]
    assert found[0] is None
    assert found[1] is not None
    assert found[1].identity.build == "pruned-int8"
