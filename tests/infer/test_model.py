"""A model loads only if it is what it says, and answers as it should."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests import toy
from wetread import infer
from wetread.errors import EngineError, GoldenMismatch, ModelDigestError, ModelError, SettingsError
from wetread.infer.engine import installed
from wetread.infer.profile import Profile
from wetread.prepare import prepare
from wetread.records import Recipe
from wetread.settings import Settings, load

ENGINES = sorted(installed())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    builds = {"fp32": toy.lungs_graph(), "other": toy.lungs_graph(gain=1.01)}
    return toy.make_model(tmp_path / "cxr-lungs", "segmentation", builds)


def edit(folder: Path, old: str, new: str) -> None:
    path, certificate = folder / "model.toml", folder / "certificate.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    if len(old) == 64:  # a digest: the certificate is for that file
        certificate.write_text(certificate.read_text().replace(old, new))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_reproduces_the_golden_output(folder: Path, engine: str) -> None:
    loaded = infer.load(infer.read(folder), infer.Choice("fp32", engine))
    assert loaded.identity.engine == engine
    assert loaded.identity.build == "fp32"
    assert loaded.identity.device_uid.startswith("2.25.")


def test_engines_agree(folder: Path) -> None:
    model = infer.read(folder)
    image = np.random.default_rng(5).random((90, 70)).astype(np.float32)
    prepared = prepare(image, 1.0, model.recipe)
    answers = [infer.load(model, infer.Choice("fp32", e)).predict(prepared).outputs["logits"] for e in ENGINES]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], atol=1e-4)


def test_a_label_is_one_of_a_pair_where_its_folder_says_so(folder: Path) -> None:
    assert not infer.read(folder).labels[0].one_of_pair
    edit(folder, "threshold = 0.5", "threshold = 0.5\none_of_pair = true")
    assert infer.read(folder).labels[0].one_of_pair


def test_both_labels_of_the_hippocampus_are_one_of_a_pair() -> None:
    (model,) = [one for one in infer.find(load().models_dir) if one.id == "mr-hippocampus"]
    assert [label.one_of_pair for label in model.labels] == [True, True]


def test_two_folders_of_one_model_are_both_named(folder: Path) -> None:
    shutil.copytree(folder, folder.with_name("cxr-lungs.old"))
    with pytest.raises(ModelError, match=r"cxr-lungs and .*cxr-lungs\.old: expected one folder of the model cxr-lungs"):
        infer.find(folder.parent)


def test_changed_weights_do_not_load(folder: Path) -> None:
    path = folder / "fp32.onnx"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelDigestError, match="expected SHA-256"):
        infer.load(infer.read(folder), infer.Choice("fp32", ENGINES[0]))


def test_changed_golden_file_does_not_load(folder: Path) -> None:
    (folder / "golden.npz").write_bytes((folder / "golden.npz").read_bytes() + b"x")
    with pytest.raises(ModelDigestError):
        infer.load(infer.read(folder), infer.Choice("fp32", ENGINES[0]))


@pytest.mark.parametrize("engine", ENGINES)
def test_build_that_answers_otherwise_does_not_load(tmp_path: Path, engine: str) -> None:
    """The golden output of another graph: the digest is right, the answer is not."""
    folder = toy.make_model(tmp_path / "cxr-lungs", "segmentation", {"fp32": toy.lungs_graph()})
    other = toy.lungs_graph(gain=1.02)
    old = toy._digest((folder / "fp32.onnx").read_bytes())
    (folder / "fp32.onnx").write_bytes(other)
    edit(folder, old, toy._digest(other))
    with pytest.raises(GoldenMismatch, match="logits differs"):
        infer.load(infer.read(folder), infer.Choice("fp32", engine))


def arrays(**given: object) -> bytes:
    packed = io.BytesIO()
    np.savez_compressed(packed, **given)  # type: ignore[arg-type]
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04 none", "expected an NPZ of numbers, got File is not a zip file"),
        (arrays(image=np.array(["none"])), "expected an NPZ of numbers, got could not convert"),
        (arrays(image=np.array([{}])), "expected an NPZ of numbers, got Object arrays"),
        (arrays(other=np.zeros(1)), r"expected an array `image`, got \['other'\]"),
        (arrays(image=np.zeros((1, 1, 64, 64))), "expected at most 30000 bytes unpacked, got 32896"),
    ],
)
def test_golden_file_that_holds_no_image_does_not_load(
    folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, said: str
) -> None:
    edit(folder, toy._digest((folder / "golden.npz").read_bytes()), toy._digest(data))
    (folder / "golden.npz").write_bytes(data)
    monkeypatch.setattr("wetread.infer.host.MOST_BYTES", 30_000)
    with pytest.raises(ModelError, match=said):
        infer.load(infer.read(folder), infer.Choice("fp32", ENGINES[0]))


@pytest.mark.parametrize("engine", ENGINES)
def test_graph_with_two_logits_for_one_label_does_not_load(tmp_path: Path, engine: str) -> None:
    """They would be taken for those of two slices."""
    folder = toy.make_model(tmp_path / "cxr-pneumonia", "classification", {"fp32": toy.pneumonia_graph(logits=2)})
    with pytest.raises(ModelError, match=r"output logits with one channel a label, \(1, 1, \.\.\.\), got \(1, 2\)"):
        infer.load(infer.read(folder), infer.Choice("fp32", engine))


def test_golden_without_the_build_does_not_load(folder: Path) -> None:
    edit(folder, 'name = "other"', 'name = "third"')
    rows = json.loads((folder / "certificate.json").read_text())
    for row in rows["builds"][2:]:
        row["build"] = "third"
    (folder / "certificate.json").write_text(json.dumps(rows))
    with pytest.raises(GoldenMismatch, match="no output of build third"):
        infer.load(infer.read(folder), infer.Choice("third", ENGINES[0]))


def test_build_without_certificate_does_not_load(tmp_path: Path) -> None:
    builds = {"fp32": toy.lungs_graph(), "int8": toy.lungs_graph(gain=1.01)}
    model = infer.read(toy.make_model(tmp_path / "cxr-lungs", "segmentation", builds, certified=False))
    assert [choice.build for choice in infer.candidates(model)] == ["fp32"] * len(ENGINES)
    with pytest.raises(ModelError, match="no certificate"):
        infer.load(model, infer.Choice("int8", ENGINES[0]))
    with pytest.raises(ModelError, match="no certificate"):
        infer.candidates(model, build="int8")
    with pytest.raises(SettingsError, match="build: expected auto or a build of cxr-lungs, fp32, int8; got 'nope'"):
        infer.candidates(model, build="nope")


def test_certificate_counts_engine_by_engine(folder: Path) -> None:
    rows = json.loads((folder / "certificate.json").read_text())
    passed = next(row for row in rows["builds"] if (row["build"], row["engine"]) == ("other", "openvino"))
    rows["builds"].append(passed | {"data": "outside", "passed": False})
    (folder / "certificate.json").write_text(json.dumps(rows))
    model = infer.read(folder)
    assert [choice.engine for choice in infer.candidates(model) if choice.build == "other"] == ["onnxruntime"]
    with pytest.raises(ModelError, match="no certificate for openvino"):
        infer.load(model, infer.Choice("other", "openvino"))


@pytest.mark.parametrize("able", [True, False])
def test_precision_that_the_host_would_emulate_is_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    declared = 'file = "other.onnx"\nprecision = "{}"'
    edit(folder, declared.format("fp32"), declared.format("bf16"))
    monkeypatch.setattr("wetread.infer.openvino.capabilities", lambda device: ("FP32", "BF16") if able else ("FP32",))
    found = [choice.engine for choice in infer.candidates(infer.read(folder)) if choice.build == "other"]
    assert found == (["openvino"] if able else [])


def test_certificate_of_another_file_does_not_count(folder: Path) -> None:
    rows = json.loads((folder / "certificate.json").read_text())
    for row in rows["builds"][2:]:
        row["sha256"] = "0" * 64
    (folder / "certificate.json").write_text(json.dumps(rows))
    assert not infer.read(folder).build("other").certified


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "cxr-lungs"', "id = ", "TOML"),
        ('version = "0.0.1"\n', "", "version"),
        ("grid = [64, 64]", "grid = [64, 4]", "grid"),
        ("grid = [64, 64]", "grid = [64, 64]\ncrop = 3", "crop"),
        ("grid = [64, 64]", "grid = [64, 64]\npercentiles = [99, 1]", "percentiles"),
        ("grid = [64, 64]", "grid = [64, 64]\nchannels = 2", "channels"),
        ('region = "image"', 'region = "hat"', "region"),
        ('file = "fp32.onnx"', 'file = "../fp32.onnx"', "bare file name"),
        ('file = "golden.npz"', 'file = "/etc/passwd"', "bare file name"),
        ('version = "0.0.1"\n', 'version = "0.0.1"\ntemperature = 0\n', "temperature: expected a number above 0"),
        ('version = "0.0.1"\n', 'version = "0.0.1"\ntemperature = "hot"\n', "another type than expected: .*'hot'"),
        ('version = "0.0.1"\n', "version = 1\n", "version: expected text, got 1"),
        ('version = "0.0.1"\n', 'version = "0.0.1"\nseries_description = "t2*"\n', "expected a list of texts"),
        ("threshold = 0.5", "threshold = 7", "label .*: expected a threshold of 0 to 1, got 7"),
        ("threshold = 0.5", "threshold = 0.5\nlargest = -1", "label .*: largest: expected a finite number"),
        ('scheme = "SCT"', "scheme = 7", "label .*: scheme: expected text, got 7"),
        ('scheme = "SCT"', 'scheme = ""', "label .*: scheme: expected text, got ''"),
        ("threshold = 0.5", "treshold = 0.5", r"\[label\]: expected .* threshold,.*; got treshold"),
        ("views =", "view =", "views,.*; got view"),
        ("[golden]", "[Intended]\nage_years = [1, 5]\n[golden]", "intended, .*; got Intended"),
        ('precision = "fp32"', 'precision = "fp64"', "build fp32: precision: expected one of .*, got 'fp64'"),
        ('precision = "fp32"', 'precision = "fp32"\nengine = "x"', r"\[build\]: expected .*; got engine"),
        ("tolerance = 0.001", "tolerance = inf", r"\[golden\] tolerance: expected a finite number, 0 to 1, got inf"),
        ("tolerance = 0.001", "tolerance = 0.001\nrule = 1", r"\[golden\]: expected .*; got rule"),
        ('version = "0.0.1"\n', 'version = "0.0.1"\nmap_bound = nan\n', "map_bound: expected a finite number, 0 to 1"),
    ],
)
def test_ill_declared_model_says_what_is_wrong(folder: Path, old: str, new: str, said: str) -> None:
    edit(folder, old, new)
    with pytest.raises(ModelError, match=said):
        infer.read(folder)


@pytest.mark.parametrize("place", ["w.bin", "../w.bin"])
def test_external_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Weights outside the file would not be covered by its digest; engines look for them in the current folder."""
    import onnx

    graph = onnx.load_from_string(toy.lungs_graph())
    weight = graph.graph.initializer[0]
    (tmp_path / "w.bin").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)
    monkeypatch.chdir(tmp_path)
    folder = toy.make_model(tmp_path / "cxr-lungs", "segmentation", {"fp32": toy.lungs_graph()})
    old = toy._digest((folder / "fp32.onnx").read_bytes())
    data = graph.SerializeToString()
    (folder / "fp32.onnx").write_bytes(data)
    edit(folder, old, toy._digest(data))
    for engine in ENGINES:
        with pytest.raises(ModelError, match="expected all weights in the file"):
            infer.load(infer.read(folder), infer.Choice("fp32", engine))


def test_tensor_of_another_recipe_is_refused(folder: Path) -> None:
    loaded = infer.load(infer.read(folder), infer.Choice("fp32", ENGINES[0]))
    prepared = prepare(np.random.default_rng(0).random((80, 80)).astype(np.float32), 1.0, Recipe((64, 64)))
    with pytest.raises(EngineError, match="another recipe"):
        loaded.predict(prepared)


@pytest.mark.parametrize("engine", ENGINES)
def test_answer_that_is_no_number_is_never_passed_on(folder: Path, engine: str) -> None:
    model = infer.read(folder)
    loaded = infer.load(model, infer.Choice("fp32", engine))
    prepared = prepare(np.random.default_rng(0).random((80, 80)).astype(np.float32), 1.0, model.recipe)
    prepared.tensor[0, 0, 3, 3] = np.nan
    with pytest.raises(EngineError, match="finite"):
        loaded.predict(prepared)


def test_engine_that_fails_gives_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preferred engine cannot compile: the next candidate loads."""
    from wetread.infer import engine, host

    real = engine.loader

    def failing(name: str) -> object:
        if name == "openvino":
            raise EngineError("no")
        return real(name)

    monkeypatch.setattr(host, "loader", failing)
    (loaded,) = infer.open_all([infer.read(folder)], Profile("here"), Settings())
    assert loaded.identity.engine == "onnxruntime"
