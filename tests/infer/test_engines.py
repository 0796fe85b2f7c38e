"""Engines answer several threads at once; one that breaks takes no study with it and no NaN goes on."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import toy
from tests.infer.faulty import Faulty, loading
from wetread import infer
from wetread.errors import EngineError, GoldenMismatch, ModelError
from wetread.infer import engine, host, nvidia, tuning
from wetread.infer.gate import Term
from wetread.infer.host import REST_S, Rest
from wetread.infer.profile import Profile
from wetread.prepare import prepare
from wetread.records import Prepared
from wetread.settings import Settings

CPU = ["onnxruntime", "openvino"]
#: Refuses whatever is answered.
UNSTEADY = infer.Gate(steady=0.5, terms=(Term("doubt", 0.0, 0.25, 0.0, 0.0),), constant=5.0)


@pytest.fixture
def model(tmp_path: Path) -> infer.Model:
    return infer.read(toy.make_models(tmp_path / "models") / "cxr-pneumonia")


def film(model: infer.Model, seed: int = 0) -> Prepared:
    image = np.random.default_rng(seed).random((80, 80)).astype(np.float32)
    return prepare(image, 1.0, model.recipe)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("name", CPU)
def test_threads_that_ask_at_once_get_their_own_answers(model: infer.Model, name: str, streams: int) -> None:
    loaded = infer.load(model, infer.Choice("fp32", name, threads=2, streams=streams))
    films = [film(model, seed) for seed in range(16)]
    expected = [loaded.predict(one).outputs["logits"] for one in films]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            found = list(pool.map(lambda one: loaded.predict(one).outputs["logits"], films))
            for ours, theirs in zip(found, expected, strict=True):
                np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert len({float(one[0, 0]) for one in expected}) == len(films)


#: Imports a module on a machine that is no builder's; tells of whatever starts a process or asks for an address.
ALONE = """
import os, pwd, sys
for name in ("CI", "TF_BUILD", "JENKINS_URL"):
    os.environ.pop(name, None)
def told(event, _):
    if event in ("os.fork", "os.posix_spawn", "subprocess.Popen", "socket.getaddrinfo"):
        os.write(2, event.encode())
sys.addaudithook(told)
"""
#: A service's user without a home folder.
HOMELESS = """
def nobody(uid): raise KeyError(uid)
pwd.getpwuid = nobody
os.environ.pop("HOME", None)
import wetread.infer.openvino
"""
#: Torch and its like start processes themselves.
LAB = """
import wetread.lab.quantize
assert sys.modules["openvino_telemetry"] is None
"""


@pytest.mark.parametrize("script", [ALONE + HOMELESS, "import sys" + LAB], ids=["node", "lab"])
def test_openvino_tells_nobody_and_needs_no_home(script: str) -> None:
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def spared(model: infer.Model, fault: str, after: int = 0, clock: Callable[[], float] = lambda: 0.0) -> infer.Loaded:
    spare = infer.load(model, infer.Choice("fp32", "onnxruntime"))
    broken = Faulty(spare.engine, fault, after)
    gpu = replace(spare.identity, engine="cuda", device="GPU")
    return replace(spare, engine=broken, identity=gpu, spare=spare, rest=Rest(clock))


@pytest.mark.parametrize(
    ("fault", "code"),
    [("lost", "ENGINE-FAILED"), ("full", "OUT-OF-MEMORY"), ("nan", "NOT-A-NUMBER"), ("inf", "NOT-A-NUMBER")],
)
def test_broken_device_gives_way_with_an_alarm(
    model: infer.Model, caplog: pytest.LogCaptureFixture, fault: str, code: str
) -> None:
    now = [0.0]
    loaded = spared(model, fault, after=1, clock=lambda: now[0])
    good = loaded.predict(film(model))
    assert (good.model.device, good.model.instead_of) == ("GPU", "")
    with caplog.at_level(logging.ERROR):
        answer = loaded.predict(film(model))
    assert (answer.model.device, answer.model.engine) == ("CPU", "onnxruntime")
    assert answer.model.instead_of == f"cuda {code}"
    np.testing.assert_array_equal(answer.outputs["logits"], good.outputs["logits"])
    assert [record.reason for record in caplog.records] == [code]  # type: ignore[attr-defined]
    assert loaded.answering(answer).identity == answer.model

    assert isinstance(loaded.engine, Faulty)
    calls = loaded.engine.calls
    assert loaded.predict(film(model)).model.instead_of == f"cuda {code}"
    assert loaded.engine.calls == calls  # left alone
    now[0], loaded.engine.fault = REST_S, ""
    assert loaded.predict(film(model)).model.device == "GPU"  # and asked again


def test_device_rests_too_where_the_gate_of_its_spare_refuses(
    model: infer.Model, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = spared(replace(model, gate=UNSTEADY), "lost")
    for _ in range(2):
        with pytest.raises(infer.StoodIn, match="no damage moved its answer") as told:
            loaded.predict(film(model))
        who = loaded.answering(told.value).identity
        assert (who.engine, who.device, who.instead_of) == ("onnxruntime", "CPU", "cuda ENGINE-FAILED")
    assert isinstance(loaded.engine, Faulty)
    assert loaded.engine.calls == 1  # left alone
    assert [record.getMessage() for record in caplog.records] == ["engine failed, another answers"]


def test_input_that_no_engine_can_answer_is_not_the_device_s_fault(model: infer.Model) -> None:
    loaded = spared(model, "")
    bad = film(model)
    bad.tensor[0, 0, 3, 3] = np.nan
    with pytest.raises(EngineError, match="finite") as caught:
        loaded.predict(bad)
    assert caught.value.code == "NOT-A-NUMBER"
    assert loaded.predict(film(model)).model.device == "GPU"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Pretend that CUDA is here, with a fault."""

    def pretend(fault: str, after: int = 1) -> None:
        real = engine.loader
        made = loading(real("onnxruntime"), fault, after)

        def choose_loader(name: str) -> Any:
            return made if name == "cuda" else real(name)

        present = {**engine.installed(), "cuda": "0"}
        for module in (host, tuning):
            monkeypatch.setattr(module, "loader", choose_loader)
        for name in ("choice", "tuning"):
            monkeypatch.setattr(f"wetread.infer.{name}.installed", lambda: present)
            monkeypatch.setattr(f"wetread.infer.{name}.natively", lambda kind, precision: precision != "bf16")

    return pretend


def test_device_without_certificate_is_no_candidate(model: infer.Model, gpu: Callable[[str], None]) -> None:
    gpu("")
    assert {choice.engine for choice in infer.candidates(model)} == set(CPU)
    with pytest.raises(ModelError, match="no certificate for cuda"):
        infer.load(model, infer.Choice("fp32", "cuda"))


def test_device_is_certified_on_site_and_gets_a_spare(
    model: infer.Model, gpu: Callable[[str], None], tmp_path: Path
) -> None:
    gpu("")
    settings, told = Settings(state=tmp_path), list[str]()
    sites = tuple(infer.certify_here([model], settings, told.append))
    assert [(one.engine, one.reference, told) for one in sites] == [("cuda", sites[0].reference, [])]
    assert sites[0].difference <= sites[0].tolerance
    profile = Profile("here", sites=sites)
    assert "cuda" in {choice.engine for choice in infer.candidates(model, profile=profile)}
    (loaded,) = infer.open_all([model], profile, replace(settings, engine="cuda"))
    assert loaded.engine.name == "cuda"
    assert loaded.spare is not None
    assert loaded.spare.identity.device == "CPU"


@pytest.mark.parametrize(("fault", "said"), [("wrong", "differs from"), ("nan", "finite"), ("lost", "lost")])
def test_device_that_answers_otherwise_is_not_certified(
    model: infer.Model, gpu: Callable[..., None], tmp_path: Path, fault: str, said: str
) -> None:
    gpu(fault, 5)
    told: list[str] = []
    assert list(infer.certify_here([model], Settings(state=tmp_path), told.append)) == []
    assert said in told[0]


def test_device_that_breaks_while_it_loads_gives_way(
    model: infer.Model, gpu: Callable[..., None], tmp_path: Path
) -> None:
    gpu("nan", 0)
    build = model.build("fp32")
    site = infer.Site(build.device_uid, build.sha256, "cuda", "onnxruntime", 1, 0.0, 1.0)
    profile = Profile("here", sites=(site,))
    with pytest.raises(GoldenMismatch):
        infer.load(model, infer.Choice("fp32", "cuda"), profile=profile)
    (loaded,) = infer.open_all([model], profile, Settings(state=tmp_path))
    assert loaded.identity.device == "CPU"


def test_device_answers_alone_where_no_processor_build_opens(
    model: infer.Model,
    gpu: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    gpu("")
    profile = Profile("here", sites=tuple(infer.certify_here([model], Settings(state=tmp_path), list[str]().append)))
    real = engine.loader("onnxruntime")
    cuda, broken = loading(real, ""), loading(real, "lost", 0)
    monkeypatch.setattr(host, "loader", lambda name: cuda if name == "cuda" else broken)
    (loaded,) = infer.open_all([model], profile, Settings(state=tmp_path, engine="cuda"))
    assert (loaded.engine.name, loaded.spare) == ("cuda", None)
    assert "no processor stands by for the device" in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("fault", ["wrong", "lost"])
def test_a_build_that_fails_its_proof_is_named(
    model: infer.Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, fault: str
) -> None:
    """Not only of graphics processors: OpenVINO's int8 misses its golden output on some processors."""
    real = engine.loader
    broken = loading(real("openvino"), fault, 0)
    monkeypatch.setattr(host, "loader", lambda name: broken if name == "openvino" else real(name))
    (loaded,) = infer.open_all([model], Profile("here"), Settings(state=tmp_path))
    assert loaded.engine.name == "onnxruntime"
    (record,) = [one for one in caplog.records if "left out" in one.getMessage()]
    about: Any = record
    assert (record.levelname, about.where) == ("WARNING", f"{model.id} fp32 on openvino")
    assert record.getMessage().startswith(f"{model.id} fp32 on openvino fails on this host")
    assert {"wrong": "differs from the golden one by", "lost": "lost"}[fault] in about.reason


def test_bound_transfers_answer_as_plain_ones(model: infer.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine of graphics processors, on ONNX Runtime's CPU provider: the same calls."""
    monkeypatch.setitem(nvidia.PROVIDERS, "cuda", "CPUExecutionProvider")
    data, tensor = model.build("fp32").path.read_bytes(), film(model).tensor
    bound = nvidia.load("cuda", data, "fp32", 1, None)
    plain = engine.loader("onnxruntime")(data, "fp32", 1, None)
    for name, values in plain.run(tensor).items():
        np.testing.assert_array_equal(bound.run(tensor)[name], values)
    with pytest.raises(EngineError, match="cuda failed on a tensor of shape"):
        bound.run(tensor[:, :, :3])


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_cuda_is_told_to_compute_in_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it runs what TensorRT cannot."""
    given: dict[str, dict[str, Any]] = {}

    def session(data: bytes, options: Any, providers: list[Any]) -> None:
        given.update(providers)
        raise RuntimeError("seen")

    monkeypatch.setattr(nvidia, "available", lambda name: True)
    monkeypatch.setattr("onnxruntime.InferenceSession", session)
    with pytest.raises(EngineError, match="seen"):
        nvidia.load(name, b"", "fp32", 1, None)
    assert list(given) == [nvidia.PROVIDERS[one] for one in ("tensorrt", "cuda") if one in (name, "cuda")]
    assert given["CUDAExecutionProvider"] == {"use_tf32": "0"}


def test_provider_that_is_not_there_does_not_answer_from_the_processor(
    model: infer.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = model.build("fp32").path.read_bytes()
    with pytest.raises(EngineError, match="cuda: expected an ONNX Runtime with CUDAExecutionProvider"):
        nvidia.load("cuda", data, "fp32", 1, None)
    with pytest.raises(EngineError, match="got bf16"):
        nvidia.load("tensorrt", data, "bf16", 1, None)
    assert nvidia.failure("cuda", (1,), RuntimeError("CUDA failure 2: out of memory")).code == "OUT-OF-MEMORY"
    assert nvidia.failure("cuda", (1,), RuntimeError("device lost")).code == "ENGINE-FAILED"


def test_openvino_answers_where_its_graphs_cannot_be_kept(model: infer.Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    data = model.build("fp32").path.read_bytes()
    assert engine.loader("openvino")(data, "fp32", 1, tmp_path / "file" / "compiled").name == "openvino"


def test_openvino_without_such_a_device_says_so(model: infer.Model) -> None:
    data = model.build("fp32").path.read_bytes()
    with pytest.raises(EngineError, match="openvino-gpu cannot compile"):
        engine.loader("openvino-gpu")(data, "fp32", 1, None)
