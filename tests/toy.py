"""Toy models in real model folders, small enough to make in a test: they see what the phantoms show.

`cxr-lungs` calls dark pixels inside the body lung; `cxr-pneumonia` calls bright lungs pneumonia.
`ct-heart` outlines what is brighter than 200 HU, slice by slice; `ct-bleed` calls slices with much of it positive;
`mr-heart` outlines the same in a volume; `mr-tumour` does both at once.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from wetread.uids import derive

Array = npt.NDArray[np.float32]


def _array(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def _save(nodes: list[Any], weights: list[Any], outputs: dict[str, list[Any]], channels: int, size: int) -> bytes:
    return _graph(nodes, weights, ["n", channels, size, size], outputs)


def lungs_graph(size: int = 64, gain: float = 1.0) -> bytes:
    """Logits = 8 * (0.45 - image) * gain on an image blurred by 3 x 3."""
    weights = [_array("w", np.full((1, 1, 3, 3), -8.0 * gain / 9)), _array("b", [8.0 * 0.45 * gain])]
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["logits"], pads=[1, 1, 1, 1])]
    return _save(nodes, weights, {"logits": ["n", 1, size, size]}, 1, size)


def pneumonia_graph(size: int = 64, logits: int = 1) -> bytes:
    """Features = 8 x 8 means; the head weighs them; the map is the weighed features."""
    head, bias = _array("head", [[[[20.0]]]] * logits), _array("b", [-9.0] * logits)
    weights = [_array("w", np.full((1, 1, 8, 8), 1 / 64)), head, bias]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["features"], strides=[8, 8]),
        helper.make_node("Conv", ["features", "head"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Add", ["flat", "b"], ["logits"]),
    ]
    outputs: dict[str, list[Any]] = {"logits": ["n", logits], "map": ["n", logits, size // 8, size // 8]}
    return _save(nodes, weights, outputs, 1, size)


def _outputs(data: bytes, image: Array) -> dict[str, Array]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": image}), strict=True))


def make_model(folder: Path, task: str, builds: dict[str, bytes], certified: bool = True) -> Path:
    """Write a complete model folder; `builds` is name -> ONNX bytes, the first the fp32 parent."""
    folder.mkdir(parents=True)
    size = 64
    image = np.random.default_rng(1).random((1, 1, size, size), np.float32)
    golden: dict[str, Array] = {"image": image}
    for name, data in builds.items():
        (folder / f"{name}.onnx").write_bytes(data)
        golden |= {f"{name}/{output}": value for output, value in _outputs(data, image).items()}
    np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]
    (folder / "model.toml").write_text(_toml(folder, task, builds, size), encoding="utf-8")
    rows = [
        {"build": name, "engine": kind, "sha256": _digest(data), "passed": certified or name == "fp32"}
        for name, data in builds.items()
        for kind in ("openvino", "onnxruntime")
    ]
    (folder / "certificate.json").write_text(json.dumps({"builds": rows}), encoding="utf-8")
    return folder


def make_models(folder: Path) -> Path:
    """Both toy models below one folder."""
    make_model(folder / "cxr-lungs", "segmentation", {"fp32": lungs_graph()})
    make_model(folder / "cxr-pneumonia", "classification", {"fp32": pneumonia_graph()})
    return folder


def bright_graph(axes: int, output: str = "logits") -> bytes:
    """Logits = 16 * (image - 0.6) on slices (2 axes) or volumes (3 axes) of any size."""
    weights = [_array("w", np.full((1, 1, *(1,) * axes), 16.0)), _array("b", [-9.6])]
    nodes = [helper.make_node("Conv", ["image", "w", "b"], [output])]
    sizes = ["z", "y", "x"][-axes:]
    return _graph(nodes, weights, ["n", 1, *sizes], {output: ["n", 1, *sizes]})


def bleed_graph(also_mask: bool = False) -> bytes:
    """Logits = 400 * the mean of what is bright - 6; the map are its 8 x 8 means; with a mask, what is bright."""
    weights = [_array("w", np.full((1, 1, 1, 1), 16.0)), _array("b", [-9.6]), _array("bias", [-6.0])]
    weights.append(_array("gain", [400.0]))
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["mask"]),
        helper.make_node("Sigmoid", ["mask"], ["bright"]),
        helper.make_node("AveragePool", ["bright"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Mul", ["cells", "gain"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Add", ["flat", "bias"], ["logits"]),
    ]
    outputs: dict[str, list[Any]] = {"logits": ["n", 1], "map": ["n", 1, "h", "w"]}
    if also_mask:
        outputs["mask"] = ["n", 1, "y", "x"]
    return _graph(nodes, weights, ["n", 1, "y", "x"], outputs)


def _graph(nodes: list[Any], weights: list[Any], image: list[Any], outputs: dict[str, list[Any]]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


HEART = {"name": "heart", "code": "80891009", "scheme": "SCT", "meaning": "Heart"}
BLEED = {"name": "haemorrhage", "code": "50960005", "scheme": "SCT", "meaning": "Hemorrhage", "threshold": 0.5}
TUMOUR = {"name": "tumour", "code": "108369006", "scheme": "SCT", "meaning": "Tumor", "abnormal": True}
CT_WINDOW = {"grid": [64, 64], "window": [-1000, 1000]}


def make_series_model(
    folder: Path, task: str, graph: bytes, label: dict[str, Any], recipe: dict[str, Any], **top: Any
) -> Path:
    """Write a model folder that reads CT or MR series; `top` are further keys of its declaration."""
    folder.mkdir(parents=True)
    sizes = recipe["grid"]
    image = np.random.default_rng(1).random((1, 1, *sizes), np.float32)
    golden = {"image": image} | {f"fp32/{name}": value for name, value in _outputs(graph, image).items()}
    (folder / "fp32.onnx").write_bytes(graph)
    np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]
    table = {
        "id": folder.name,
        "version": "0.0.1",
        "task": task,
        "licence": "Apache-2.0",
        "training_data": ["none: a toy"],
        "modality": ["CT" if folder.name.startswith("ct") else "MR"],
        "body_part": ["CHEST"],
        **top,
    }
    lines = [*_pairs(table), "[[label]]", *_pairs(label), "[recipe]", *_pairs(recipe), "[golden]"]
    lines += _pairs({"file": "golden.npz", "sha256": _digest((folder / "golden.npz").read_bytes()), "tolerance": 0.001})
    build = {"name": "fp32", "file": "fp32.onnx", "precision": "fp32", "sha256": _digest(graph)}
    lines += ["[[build]]", *_pairs({**build, "device_uid": derive("device", folder.name, _digest(graph))})]
    (folder / "model.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [
        {"build": "fp32", "engine": kind, "sha256": _digest(graph), "passed": True}
        for kind in ("openvino", "onnxruntime")
    ]
    (folder / "certificate.json").write_text(json.dumps({"builds": rows}), encoding="utf-8")
    return folder


def make_series_models(folder: Path) -> Path:
    """The four of them below one folder: two for the chest in CT, two for the brain in MR."""
    heart = {**HEART, "plausible_share": [0.001, 0.3], "largest": 1}
    make_series_model(folder / "ct-heart", "segmentation", bright_graph(2), heart, CT_WINDOW)
    make_series_model(
        folder / "ct-bleed", "classification", bleed_graph(), BLEED, CT_WINDOW, body_part=["HEAD"], needs_body_part=True
    )
    volume = {"grid": [32, 48, 48], "spacing_mm": [2.0, 1.0, 1.0], "window": [-1000, 1000], "axes": "HPL"}
    make_series_model(
        folder / "mr-heart",
        "segmentation",
        bright_graph(3),
        {**HEART, "plausible_ml": [0.5, 500]},
        {**volume, "percentiles_of": "series"},
        series_description=["*t1*"],
        min_slices=4,
        secondary=True,
    )
    make_series_model(
        folder / "mr-tumour",
        "segmentation+classification",
        bleed_graph(also_mask=True),
        TUMOUR,
        {**CT_WINDOW, "axes": "HPL"},
        body_part=["BRAIN", "HEAD"],
        series_description=["*flair*"],
        series_description_not=["*scout*"],
        orientation="axial",
        pool="mean-top-3",
    )
    return folder


def _pairs(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _toml(folder: Path, task: str, builds: dict[str, bytes], size: int) -> str:
    label = ("pneumonia", "233604007", "Pneumonia") if task == "classification" else ("lung", "39607008", "Lung")
    region = "lungs" if task == "classification" else "image"
    lines = [
        f'id = "{folder.name}"',
        'version = "0.0.1"',
        f'task = "{task}"',
        'licence = "Apache-2.0"',
        'training_data = ["none: a toy"]',
        'modality = ["CR", "DX"]',
        'body_part = ["CHEST", "THORAX"]',
        'views = ["PA", "AP"]',
        "[[label]]",
        f'name = "{label[0]}"',
        f'code = "{label[1]}"',
        'scheme = "SCT"',
        f'meaning = "{label[2]}"',
        "threshold = 0.5",
        'threshold_rule = "none: a toy"',
        "[recipe]",
        f"grid = [{size}, {size}]",
        f'region = "{region}"',
        "region_margin = 0.05",
        "[golden]",
        'file = "golden.npz"',
        f'sha256 = "{_digest((folder / "golden.npz").read_bytes())}"',
        "tolerance = 0.001",
    ]
    for name, data in builds.items():
        lines += ["[[build]]", f'name = "{name}"', f'file = "{name}.onnx"', 'precision = "fp32"']
        lines += [f'sha256 = "{_digest(data)}"', f'device_uid = "{derive("device", _digest(data))}"']
    return "\n".join(lines) + "\n"
