"""Foreign models: those that are what they say become folders, all others are refused before anything is opened."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from monai.bundle.scripts import init_bundle
from monai.networks.nets.unet import UNet
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import nn

from tests import toy
from wetread import cli, infer
from wetread.errors import BadInput, ModelError
from wetread.infer import engine
from wetread.lab import zoo
from wetread.lab.intake import checkpoint, container
from wetread.lab.intake.description import read_description
from wetread.lab.intake.graph import Meaning
from wetread.lab.intake.take import take_in
from wetread.lab.intake.trial import try_once

#: torch's exporter warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
}
METADATA = {
    "version": "0.3.0",
    "description": "Finds the lungs.",
    "license": "Apache-2.0",
    "data_source": "a toy, no patient",
    "network_data_format": {},
}
DESCRIPTION = """
id = "cxr-theirs"
task = "{task}"
{graph}
[recipe]
grid = [64, 64]
{model}
[ship]
{ship}
modality = ["CR", "DX"]
body_part = ["CHEST"]
views = ["PA"]
[[ship.label]]
name = "lung"
code = "39607008"
scheme = "SCT"
meaning = "Lung"
"""
SHIP = 'version = "1"\nsummary = "A toy."\nlicence = "MIT"\ntraining_data = ["none: a toy"]'


def describe(path: Path, task: str = "segmentation", graph: str = "", model: str = "", ship: str = SHIP) -> Path:
    text = DESCRIPTION.format(
        task=task, graph=graph and f"[graph]\n{graph}", model=model and f"[model]\n{model}", ship=ship
    )
    path.write_text(text, encoding="utf-8")
    return path


def bundle(folder: Path, network: Mapping[str, Any] = NETWORK, state: object = None, file: str = "model.pt") -> Path:
    """Write a MONAI bundle as its makers do."""
    torch.manual_seed(0)
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs/metadata.json").write_text(json.dumps(METADATA))
    config = {"imports": ["$import os"], "channels": [4, 8], "device": "$os.name", "network_def": dict(network)}
    (folder / "configs/inference.json").write_text(json.dumps(config))
    torch.save(theirs().state_dict() if state is None else state, folder / "models" / file)
    return folder


def theirs() -> nn.Module:
    torch.manual_seed(0)
    return UNet(spatial_dims=2, in_channels=1, out_channels=2, channels=(4, 8), strides=(2,)).eval()


def bundle_of_monai(folder: Path) -> Path:
    """Let MONAI make the bundle, and fill in what it leaves to its makers."""
    init_bundle(str(folder), network=theirs())
    config = json.loads((folder / "configs/inference.json").read_text())
    config["network_def"] |= {**NETWORK, "norm": ["instance", {"affine": False}]}
    (folder / "configs/inference.json").write_text(json.dumps(config))
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    (folder / "configs/metadata.json").write_text(json.dumps(metadata | METADATA))
    return folder


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{folder.name}/{file.relative_to(folder)}")
    return path


def answers(folder: Path, image: Any) -> dict[str, Any]:
    model = infer.read(folder)
    return engine.loader("onnxruntime")(model.build("fp32").path.read_bytes(), "fp32", 1, None).run(image)


SCORES = 'gives = "scores"\nkeep = [1]'


@pytest.mark.parametrize("make", [bundle, bundle_of_monai])
@pytest.mark.parametrize("packed", [False, True])
def test_monai_bundle_becomes_a_folder(tmp_path: Path, packed: bool, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path / "theirs")
    told = describe(tmp_path / "told.toml", graph=SCORES, ship="")
    made = take_in(zipped(source) if packed else source, told, tmp_path / "models")
    model = infer.read(made)
    assert (model.id, model.version, model.licence) == ("cxr-theirs", "0.3.0", "Apache-2.0")
    assert model.build("fp32").device_uid.startswith("2.25.")
    assert set(infer.golden(model)) == {"image", "fp32/logits"}
    image = np.random.default_rng(0).random((2, 1, 64, 64), np.float32)
    with torch.no_grad():
        expected = theirs()(torch.from_numpy(image)).softmax(1)[:, 1:].numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-answers(made, image)["logits"])), expected, atol=1e-5)
    assert "not certified" in (made / "card.md").read_text()


def test_imported_model_does_not_load_and_does_not_stop_others(tmp_path: Path) -> None:
    from wetread.settings import load

    models = toy.make_models(tmp_path / "models")
    made = take_in(bundle(tmp_path / "theirs"), describe(tmp_path / "told.toml", graph=SCORES), models)
    model = infer.read(made)
    assert not model.build("fp32").certified
    assert infer.candidates(model) == []
    with pytest.raises(ModelError, match="no certificate"):
        infer.load(model, infer.Choice("fp32", "onnxruntime"))
    settings = load(None, state=str(tmp_path / "state"))
    profile = infer.read_profile(settings.profile_path)
    loaded = infer.open_all(infer.find(models), profile, settings)
    assert [one.model.id for one in loaded] == ["cxr-lungs", "cxr-pneumonia"]
    with pytest.raises(ModelError, match="certified"):
        infer.open_all([model], profile, settings)


def test_safetensors_of_a_known_architecture(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = zoo.build({"architecture": "unet", "widths": [8, 8, 8, 8]}).eval()
    (tmp_path / "unet.safetensors").write_bytes(save(network.state_dict()))
    told = describe(tmp_path / "told.toml", model='architecture = "unet"\nwidths = [8, 8, 8, 8]')
    made = take_in(tmp_path / "unet.safetensors", told, tmp_path / "models")
    image = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(answers(made, image)["logits"], expected, atol=1e-4)


def test_a_header_of_safetensors_may_be_of_any_length(tmp_path: Path) -> None:
    """One file in 32 starts with the byte of a pickle."""
    network = zoo.build({"architecture": "unet", "widths": [8, 8, 8, 8]})
    files = (save(network.state_dict(), {"by": "x" * length}) for length in range(256))
    data = next(one for one in files if one.startswith(b"\x80"))
    file, told = tmp_path / "unet.safetensors", describe(tmp_path / "told.toml", model='architecture = "unet"')
    file.write_bytes(data)
    with pytest.raises(ModelError, match="tensors of the network's shapes"):  # of other widths
        take_in(file, told, tmp_path / "models")
    file.write_bytes(struct.pack("<Q", 1 << 63) + data[8:])
    with pytest.raises(ModelError, match="expected a safetensors header that the file can hold"):
        take_in(file, told, tmp_path / "models")


def test_torch_checkpoint_of_a_classifier_keeps_its_map(tmp_path: Path) -> None:
    network = zoo.build({"architecture": "efficientnet-lite0"})
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, tmp_path / "net.pt")
    told = describe(
        tmp_path / "told.toml",
        "classification",
        'map = "map"',
        'architecture = "efficientnet-lite0"\npretrained = true',
    )
    made = take_in(tmp_path / "net.pt", told, tmp_path / "models")
    found = answers(made, np.zeros((1, 1, 64, 64), np.float32))
    assert (found["logits"].shape, found["map"].shape) == ((1, 1), (1, 1, 2, 2))


def graph(nodes: list[Any] | None = None, weights: list[Any] | None = None, **changes: Any) -> onnx.ModelProto:
    """A classifier as TensorFlow exports it: channels last, three classes, softmax inside."""
    shape = changes.get("shape", ["n", 64, 64, 1])
    nodes = nodes or [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["dense"], axis=1),
    ]
    weights = weights or [numpy_helper.from_array(np.array([[2.0, -1.0, 0.5]], np.float32), "w")]
    made = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["n", "k"])],
        weights,
    )
    opsets = [helper.make_opsetid("", changes.get("opset", 17)), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


GRAPH = 'input = "input"\noutput = "dense"\nlayout = "nhwc"\ngives = "probabilities"\nkeep = [2]'


def test_onnx_of_another_layout_answers_the_same(tmp_path: Path) -> None:
    onnx.save_model(graph(), str(tmp_path / "net.onnx"))
    told = describe(tmp_path / "told.toml", "classification", GRAPH)
    made = take_in(tmp_path / "net.onnx", told, tmp_path / "models")
    image = np.random.default_rng(0).random((3, 1, 64, 64), np.float32)
    scores = image.mean((2, 3)) * np.array([[2.0, -1.0, 0.5]])
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    found = 1 / (1 + np.exp(-answers(made, image)["logits"]))
    np.testing.assert_allclose(found, expected[:, 2:], atol=1e-6)


def test_a_graph_that_answers_nothing_but_zero_is_taken_in(tmp_path: Path) -> None:
    onnx.save_model(
        graph(weights=[numpy_helper.from_array(np.zeros((1, 3), np.float32), "w")]), str(tmp_path / "a.onnx")
    )
    told = describe(tmp_path / "told.toml", "classification", GRAPH.replace("probabilities", "logits"))
    model = onnx.load_model(str(tmp_path / "a.onnx"))
    del model.graph.node[-1]
    model.graph.output[0].name = "scores"
    onnx.save_model(model, str(tmp_path / "a.onnx"))
    told.write_text(told.read_text().replace('"dense"', '"scores"'))
    made = take_in(tmp_path / "a.onnx", told, tmp_path / "models")
    assert not answers(made, np.ones((1, 1, 64, 64), np.float32))["logits"].any()


@pytest.mark.parametrize("shape", [[0, 3], [0, 3, 1, 1]], ids=["no place", "three channels for one label"])
def test_a_map_that_is_none_is_refused(tmp_path: Path, shape: list[int]) -> None:
    model = graph()
    size = numpy_helper.from_array(np.array(shape, np.int64), "size")
    model.graph.initializer.append(size)
    model.graph.node.append(helper.make_node("Reshape", ["scores", "size"], ["heat"]))
    model.graph.output.append(helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["n", *shape[1:]]))
    onnx.save_model(model, str(tmp_path / "net.onnx"))
    told = describe(tmp_path / "told.toml", "classification", f'{GRAPH}\nmap = "heat"')
    with pytest.raises(ModelError, match=r"expected a map of shape \(1, 1, y, x\), .* leave \[graph\] map out"):
        take_in(tmp_path / "net.onnx", told, tmp_path / "models")


def unreadable() -> onnx.ModelProto:
    """A name of the right length that is no text."""
    model = graph()
    return onnx.load_model_from_string(model.SerializeToString().replace(b"Softmax", b"Soft\x93ax"))


def external() -> onnx.ModelProto:
    model = graph()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")
    return model


def hidden_external() -> onnx.ModelProto:
    """The same inside an attribute, where a list of weights does not show it."""
    model = graph()
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.zeros(1, np.float32)))
    constant.attribute[0].t.data_location = TensorProto.EXTERNAL
    model.graph.node.insert(0, constant)
    return model


def short() -> onnx.ModelProto:
    model = graph()
    model.graph.initializer[0].dims[1] = 300
    return model


def huge() -> onnx.ModelProto:
    size = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "size")
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["mean", "sum"], ["dense"]),
    ]
    return graph(nodes, [size])


def looping() -> onnx.ModelProto:
    body = helper.make_graph([], "body", [], [])
    return graph([helper.make_node("Loop", ["", ""], ["dense"], body=body)])


def functional() -> onnx.ModelProto:
    model = graph()
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("com.acme", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))
    return model


HOSTILE_GRAPHS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "external weights": (external, "weights inside the file"),
    "external weights in an attribute": (hidden_external, "weights inside the file"),
    "fewer bytes than the shape says": (short, "fit the shape"),
    "a tensor that fills the memory": (huge, "at most"),
    "a loop": (looping, "loops"),
    "functions of its own": (functional, "functions"),
    "an operator of its own": (
        lambda: graph([helper.make_node("Shell", ["input"], ["dense"], domain="com.acme")]),
        "com.acme::Shell",
    ),
    "an unknown operator": (lambda: graph([helper.make_node("Shell", ["input"], ["dense"])]), "ai.onnx::Shell"),
    "an old operator set": (lambda: graph(opset=9), "opset"),
    "an operator that is no text": (unreadable, "names in UTF-8"),
    "another grid": (lambda: graph(shape=["n", 32, 32, 1]), "by the recipe"),
    "a fixed batch": (lambda: graph(shape=[8, 64, 64, 1]), "by the recipe"),
}


@pytest.mark.parametrize("kind", HOSTILE_GRAPHS)
def test_hostile_graph_is_refused_before_an_engine_sees_it(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loader(name: str) -> Any:
        raise AssertionError("an engine was asked")

    make, said = HOSTILE_GRAPHS[kind]
    (tmp_path / "net.onnx").write_bytes(make().SerializeToString())
    monkeypatch.setattr(engine, "loader", loader)
    with pytest.raises(ModelError, match=said):
        take_in(tmp_path / "net.onnx", describe(tmp_path / "told.toml", "classification", GRAPH), tmp_path / "models")
    assert not (tmp_path / "models").exists()


def growing() -> onnx.ModelProto:
    """How large the tensor becomes stands in the image: nothing can infer it."""
    nodes = [
        helper.make_node("ReduceMax", ["input"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "many"], ["float"]),
        helper.make_node("Cast", ["float"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "one"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["mean", "sum"], ["dense"]),
    ]
    many = numpy_helper.from_array(np.array(4e9, np.float32), "many")
    return graph(nodes, [many, numpy_helper.from_array(np.array([1], np.int64), "one")])


def test_graph_that_fills_the_memory_when_it_runs_does_so_elsewhere(tmp_path: Path) -> None:
    onnx.save_model(growing(), str(tmp_path / "net.onnx"))
    told = describe(tmp_path / "told.toml", "classification", GRAPH.replace("keep = [2]", ""))
    with pytest.raises(ModelError, match="does not run within 8 GiB"):
        take_in(tmp_path / "net.onnx", told, tmp_path / "models")


@pytest.mark.parametrize("kept", [[-1, 3], [1, 3]])
def test_graph_that_answers_one_image_alone_is_refused(tmp_path: Path, kept: list[int]) -> None:
    """A node reads the slices of a series together: it could not read one, though each image alone was judged."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Concat", ["mean", "mean", "mean"], ["three"], axis=1),
        helper.make_node("Reshape", ["three", "size"], ["dense"]),
    ]
    made = graph(nodes, [numpy_helper.from_array(np.array(kept, np.int64), "size")], shape=[1, 64, 64, 1])
    onnx.save_model(made, str(tmp_path / "net.onnx"))
    told = describe(tmp_path / "told.toml", "classification", GRAPH)
    if kept[0] < 0:
        assert take_in(tmp_path / "net.onnx", told, tmp_path / "models").is_dir()
        return
    with pytest.raises(ModelError, match="expected of two images the logits of each, got another or none"):
        take_in(tmp_path / "net.onnx", told, tmp_path / "models")


def test_nothing_of_the_current_folder_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.save_model(graph(), str(tmp_path / "net.onnx"))
    (tmp_path / "numpy.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    told = describe(tmp_path / "told.toml", "classification", GRAPH)
    assert take_in(tmp_path / "net.onnx", told, tmp_path / "models").is_dir()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({'input = "input"': 'input = "x"'}, "one input 'x'"),
        ({'output = "dense"': 'output = "x"'}, "an output 'x'"),
        ({"keep = [2]": "keep = [0, 2]"}, "1 labels"),
        ({"keep = [2]": "keep = [7]"}, "keep|run|shapes"),
        ({'"nhwc"': '"nchw"'}, "by the recipe"),
    ],
)
def test_description_that_does_not_fit_the_graph(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    onnx.save_model(graph(), str(tmp_path / "net.onnx"))
    text = GRAPH
    for old, new in changed.items():
        text = text.replace(old, new)
    with pytest.raises(ModelError, match=said):
        take_in(tmp_path / "net.onnx", describe(tmp_path / "told.toml", "classification", text), tmp_path / "models")


class Evil:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('the pickle ran')",)


def evil_checkpoint(path: Path) -> None:
    torch.save({"state_dict": Evil()}, path)


def hidden_evil(path: Path) -> None:
    """Protocol 4 names its functions from the stack, where a list of GLOBALs does not show them."""
    torch.save({"state_dict": Evil()}, path, pickle_protocol=4)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def scripted(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("net/data.pkl", "net/constants.pkl", "net/code/__torch__.py"):
            archive.writestr(name, b"\x80\x02}.")


def two_pickles(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("net/more.pkl", pickle.dumps(Evil()))


def cut_pickle(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}q\x00X\xff\xff")


def no_tensors(path: Path) -> None:
    torch.save({"weights": [1, 2, 3]}, path)


HOSTILE_WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a program": (evil_checkpoint, "exec"),
    "a hidden program": (hidden_evil, "STACK_GLOBAL"),
    "a bare pickle": (bare_pickle, "pickle"),
    "TorchScript": (scripted, "TorchScript"),
    "a second pickle": (two_pickles, "2 pickles"),
    "a damaged pickle": (cut_pickle, "damaged"),
    "no tensors": (no_tensors, "tensors by name"),
    "HDF5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64)), "Keras"),
    "nothing": (lambda path: path.write_bytes(b""), "ONNX"),
    "text": (lambda path: path.write_bytes(b"Dear colleague, see attached."), "ONNX"),
}


@pytest.mark.parametrize("kind", HOSTILE_WEIGHTS)
def test_hostile_weights_are_refused_before_torch_sees_them(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, said = HOSTILE_WEIGHTS[kind]
    make(tmp_path / "net.pt")
    if kind != "no tensors":
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch was asked"))
    told = describe(tmp_path / "told.toml", model='architecture = "unet"')
    with pytest.raises(ModelError, match=said):
        take_in(tmp_path / "net.pt", told, tmp_path / "models")


def test_hostile_weights_of_a_bundle_are_refused(tmp_path: Path) -> None:
    source = bundle(tmp_path / "theirs", state={"model": Evil()})
    with pytest.raises(ModelError, match="exec"):
        take_in(source, describe(tmp_path / "told.toml", graph=SCORES), tmp_path / "models")


def test_bundle_with_torchscript_alone_is_refused(tmp_path: Path) -> None:
    source = bundle(tmp_path / "theirs", file="model.ts")
    with pytest.raises(ModelError, match="only TorchScript"):
        take_in(source, describe(tmp_path / "told.toml", graph=SCORES), tmp_path / "models")


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"_target_": "os.system", "command": "true"}, "os.system"),
        ({"_target_": "evil.UNet"}, "evil.UNet"),
        ({**NETWORK, "channels": "$__import__('os').abort()"}, "expressions are programs"),
        ({**NETWORK, "channels": "@device"}, "expressions are programs"),
        ({**NETWORK, "act": ["relu", {"_target_": "os.abort"}]}, "expressions are programs"),
        ({**NETWORK, "act": ["relu", {"inplace": "$print()"}]}, "expressions are programs"),
        ({**NETWORK, "channels": [1 << 40, 1 << 40]}, "differ|refuses"),
        ({**NETWORK, "out_channels": 3}, "expected .* got"),
        ({**NETWORK, "colour": 1}, "refuses"),
        ({}, "network_def"),
    ],
)
def test_config_that_is_a_program_or_does_not_fit(tmp_path: Path, network: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        take_in(
            bundle(tmp_path / "theirs", network), describe(tmp_path / "told.toml", graph=SCORES), tmp_path / "models"
        )


def test_reference_to_a_plain_value_is_followed(tmp_path: Path) -> None:
    source = bundle(tmp_path / "theirs", {**NETWORK, "channels": "@channels"})
    assert take_in(source, describe(tmp_path / "told.toml", graph=SCORES), tmp_path / "models").is_dir()


def archive(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, data in entries:
            made.writestr(name, data)
    return stream.getvalue()


def linked() -> bytes:
    entry = zipfile.ZipInfo("theirs/models/model.pt")
    entry.external_attr = 0o120777 << 16
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr(entry, "/etc/passwd")
    return stream.getvalue()


def lying() -> bytes:
    """The entry says 10 bytes; there are more."""
    data = bytearray(archive(("configs/metadata.json", b"{}" + bytes(500)), method=zipfile.ZIP_STORED))
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 10)
    return bytes(data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (lambda: archive(("../configs/metadata.json", b"{}")), "leads out"),
        (lambda: archive(("/configs/metadata.json", b"{}")), "leads out"),
        (lambda: archive(("configs\\..\\..\\x", b"{}")), "leads out"),
        (lambda: archive(("a", bytes(64 << 20))), "bomb"),
        (lambda: archive(("a", b"1"), ("a", b"2")), "different names"),
        (lambda: archive(("a", b"1"), method=zipfile.ZIP_BZIP2), "deflated"),
        (linked, "link"),
        (lying, "bytes|damaged"),
        (lambda: archive(("a", b"1"))[:-9], "damaged"),
    ],
)
def test_hostile_archive_is_refused(tmp_path: Path, data: Callable[[], bytes], said: str) -> None:
    (tmp_path / "theirs.zip").write_bytes(data())
    with pytest.raises(ModelError, match=said):
        take_in(tmp_path / "theirs.zip", describe(tmp_path / "told.toml"), tmp_path / "models")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["theirs.zip", "told.toml"]


def test_link_out_of_a_bundle_folder_is_refused(tmp_path: Path) -> None:
    source = bundle(tmp_path / "theirs")
    (tmp_path / "secret").write_bytes(b"x")
    (source / "models/more.pt").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="leads out"):
        take_in(source, describe(tmp_path / "told.toml"), tmp_path / "models")


def test_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "MOST_BYTES", 1000)
    (tmp_path / "net.onnx").write_bytes(bytes(1001))
    with pytest.raises(ModelError, match="at most 1000 bytes"):
        take_in(tmp_path / "net.onnx", describe(tmp_path / "told.toml"), tmp_path / "models")


def tensors(header: object, body: bytes = bytes(16)) -> bytes:
    told = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(told)) + told + body


GOOD = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "data",
    [
        tensors({"a": {**GOOD, "data_offsets": [0, 12]}}),
        tensors({"a": {**GOOD, "shape": [2, 1 << 40]}}),
        tensors({"a": {**GOOD, "data_offsets": [4, 20]}}),
        tensors({"a": GOOD, "b": GOOD}),
        tensors({"a": GOOD}, bytes(20)),
        tensors({"a": {**GOOD, "dtype": "PICKLE"}}),
        tensors({"a": [1]}),
        tensors({"a": {**GOOD, "data_offsets": [0]}}),
        tensors(b'{"a": '),
        tensors(b'{"a": ' + b"[" * 100_000),
    ],
)
def test_safetensors_that_contradict_themselves_are_refused(data: bytes) -> None:
    assert checkpoint.is_safetensors(data)
    with pytest.raises(ModelError):
        checkpoint.load_safetensors("net", data)


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = '{"logits": {"shape": [1, 1], "finite": false, "together": true}}'
    done = subprocess.CompletedProcess([], 0, told, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ModelError, match=r"^net: expected numbers in its logits, got NaN or infinite ones$"):
        try_once("net", tmp_path / "net.onnx", (1, 32, 32))


def test_a_short_header_of_safetensors_is_said_to_be_no_json() -> None:
    whole = tensors({"a": GOOD})
    with pytest.raises(ModelError, match=r"expected a header of 9 bytes with .* in JSON, got no JSON; fetch it again"):
        checkpoint.load_safetensors("net", (9).to_bytes(8, "little") + whole[8:])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('id = "cxr-theirs"', 'id = "../cxr"', "id"),
        ('id = "cxr-theirs"', "", "id"),
        ('task = "segmentation"', 'task = "poetry"', "task"),
        ("grid = [64, 64]", "grid = [4, 4]", "grid"),
        ('meaning = "Lung"', "", "meaning"),
        ('licence = "MIT"', "", "licence"),
        ("[recipe]", "[recipe", "TOML"),
        ('gives = "scores"', 'gives = "hope"', "hope"),
        ("keep = [1]", "kept = [1]", "kept"),
        ("keep = [1]", "keep = 0", "keep: expected a list of channels"),
        ("keep = [1]", 'keep = ["a"]', "keep: expected a list of channels"),
        ('gives = "scores"', "gives = 1", "gives: expected text"),
        ("[graph]", "[[graph]]", r"expected a table \[graph\]"),
        ("[[ship.label]]", "[ship.label]", r"expected a table \[\[ship.label\]\] for each label"),
        ("grid = [64, 64]", "grid = [64, 64]\nstd = [0.0]", "std"),
    ],
)
def test_description_says_what_is_wrong_with_it(tmp_path: Path, old: str, new: str, said: str) -> None:
    onnx.save_model(graph(), str(tmp_path / "net.onnx"))
    told = describe(tmp_path / "told.toml", graph=SCORES)
    text = told.read_text()
    assert old in text
    told.write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=said):
        take_in(tmp_path / "net.onnx", told, tmp_path / "models")


@pytest.fixture(scope="module")
def one_label(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that a description with one label fits."""
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save_model(graph(), str(path))
    return path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[ship]", '[ship]\npool = "median"', "pool: expected one of .*'median'"),
        ("[ship]", '[ship]\norientation = "oblique"', "orientation: expected one of .*'oblique'"),
        ("[ship]", "[ship]\ntemperature = 0.0", "temperature: expected a number above 0"),
        ("[ship]", "[ship]\nmanufacturer = 1", "manufacturer: expected text"),
        ('modality = ["CR", "DX"]', 'modality = "CR"', "modality: expected a list of texts"),
        ('meaning = "Lung"', 'meaning = "Lung"\nthreshold = "high"', "could not convert string to float: 'high'"),
        ('meaning = "Lung"', 'meaning = "Lung"\nthreshold = 7', "label lung: expected a threshold of 0 to 1, got 7"),
    ],
)
def test_what_no_node_could_read_is_not_taken_in(
    tmp_path: Path, one_label: Path, old: str, new: str, said: str
) -> None:
    """Such a folder would keep every other model from loading."""
    told = describe(tmp_path / "told.toml", "classification", GRAPH)
    text = told.read_text()
    assert old in text
    told.write_text(text.replace(old, new))
    with pytest.raises(BadInput, match=f"told.toml: .*{said}"):
        take_in(one_label, told, tmp_path / "models")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(("ship", "maker"), [("", "unknown"), ('\nmanufacturer = "Theirs, Inc."', "Theirs, Inc.")])
def test_a_model_is_made_by_its_makers(tmp_path: Path, one_label: Path, ship: str, maker: str) -> None:
    told = describe(tmp_path / "told.toml", "classification", GRAPH, ship=SHIP + ship)
    assert infer.read(take_in(one_label, told, tmp_path / "models")).manufacturer == maker


def test_weights_without_an_architecture_name_the_known(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(tensors({"a": GOOD}))
    with pytest.raises(BadInput, match="efficientnet-lite0"):
        take_in(tmp_path / "a.safetensors", describe(tmp_path / "told.toml"), tmp_path / "models")
    with pytest.raises(BadInput, match="found nothing"):
        take_in(tmp_path / "b.safetensors", describe(tmp_path / "told.toml"), tmp_path / "models")


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["wetread", "--models", str(tmp_path / "models"), *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    source, told = bundle(tmp_path / "theirs"), describe(tmp_path / "told.toml", graph=SCORES)
    code, out, _ = call("lab", "import", source, told, "--json")
    assert (code, json.loads(out)["certified"]) == (0, False)
    code, out, _ = call("models")
    assert code == 0
    assert "no: does not load" in out
    assert call("lab", "import", source, told)[0] == 4
    bare_pickle(tmp_path / "net.pkl")
    code, _, err = call("lab", "import", tmp_path / "net.pkl", told)
    assert code == 1
    assert "a pickle, which is a program" in err


def test_example_of_the_how_to_page_is_a_description(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/bring-your-own.md").read_text(encoding="utf-8")
    blocks = [block.split("```")[0] for block in page.split("```toml\n")[1:]]
    (described,) = [block for block in blocks if "[graph]" in block]
    (tmp_path / "describe.toml").write_text(described, encoding="utf-8")
    told = read_description(tmp_path / "describe.toml", {})
    assert told.meaning == Meaning(input="input_1", output="dense_3")
    assert told.recipe.channels == 3
