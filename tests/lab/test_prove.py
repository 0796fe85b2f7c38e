"""An imported model gets its certificate on its owner's images, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wetread import infer
from wetread.errors import BadInput
from wetread.infer.answers import calibrated, pooled
from wetread.lab import commands
from wetread.lab.intake.take import take_in
from wetread.lab.nifti import read_nifti
from wetread.prepare import prepare

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
SIDE, PEOPLE = 32, 40
DESCRIPTION = """
id = "mr-theirs"
task = "{task}"
[recipe]
grid = [32, 32]
percentiles = [0.5, 99.5]
[ship]
version = "1.0.0"
summary = "Finds bright balls."
licence = "MIT"
training_data = ["theirs"]
modality = ["MR"]
body_part = ["HEAD"]
views = []
[[ship.label]]
name = "ball"
code = "108369006"
scheme = "SCT"
meaning = "Neoplasm"
"""


def graph(task: str, bias: float, gain: float = 1.0) -> bytes:
    """Blur, and call bright what is left: the share of it for a class, the pixels of it for a mask."""
    rng = np.random.default_rng(0)
    blur = np.zeros((8, 1, 5, 5), np.float32)
    blur[:] = 1 / 25 + rng.normal(0, 1e-3, blur.shape)
    weights = {"blur": blur, "low": np.full(8, -0.7, np.float32), "join": np.full((1, 8, 1, 1), 1.5, np.float32)}
    nodes = [
        helper.make_node("Conv", ["image", "blur", "low"], ["soft"], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["soft"], ["bright"]),
    ]
    last = "bright"
    shape: list[str | int | None] = ["batch", 1, SIDE, SIDE]
    if task == "classification":
        nodes.append(helper.make_node("GlobalAveragePool", ["bright"], ["mean"]))
        weights |= {"join": np.full((1, 8, 1, 1), 40.0 * gain, np.float32), "flat": np.array([0, -1], np.int64)}
        last, shape = "mean", ["batch", 1]
    weights["shift"] = np.array([bias], np.float32)
    out = "logits" if task == "segmentation" else "cells"
    nodes.append(helper.make_node("Conv", [last, "join", "shift"], [out]))
    if task == "classification":
        nodes.append(helper.make_node("Reshape", ["cells", "flat"], ["logits"]))
    made = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return bytes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )


def imported(tmp_path: Path, task: str, bias: float = -1.0) -> Path:
    source, description = tmp_path / "theirs.onnx", tmp_path / "theirs.toml"
    source.write_bytes(graph(task, bias))
    onnx.checker.check_model(onnx.load(source))
    description.write_text(DESCRIPTION.format(task=task))
    return take_in(source, description, tmp_path / "models")


def drawn(tmp_path: Path, masks: bool) -> Path:
    """Two images a patient: grain, and in half of them a bright ball."""
    folder = tmp_path / "mine"
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE]
    lines = ["image,mask,label,patient"]
    (folder / "masks").mkdir(parents=True)
    for at in range(2 * PEOPLE):
        place = rng.uniform(8, 24, 2)
        ball = np.hypot(y - place[0], x - place[1]) < 5
        there = masks or at % 4 < 2
        image = rng.normal(60, 25, ball.shape) + 120 * (ball & there)
        cv2.imwrite(str(folder / f"{at}.png"), np.clip(image, 0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{at}.png"), ball.astype(np.uint8) * 255)
        lines.append(f"{at}.png,{f'masks/{at}.png' if masks else ''},{'ball' if there else 'none'},p{at // 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def prove(model: Path, data: Path, **given: Any) -> dict[str, Any]:
    return commands.certify_imported(model, [data], label="", patient="", patient_from="", **given)


def test_a_classifier_gets_figures_beside_rivals_and_loads(tmp_path: Path) -> None:
    model = imported(tmp_path, "classification")
    assert not infer.read(model).build("fp32").certified
    certificate = prove(model, drawn(tmp_path, False), sensitivity=0.9)
    figures = certificate["figures"]["fp32"]["ball"]
    assert figures["auroc"]["value"] > 0.95
    assert figures["auroc"]["groups"] == 0.8 * PEOPLE
    assert {"fp32", "int8"} <= {row["build"] for row in certificate["builds"]}
    assert all(row["passed"] for row in certificate["builds"])
    declared = infer.read(model)
    for choice in infer.candidates(declared):
        assert infer.load(declared, choice, threads=1).identity.build == choice.build
    assert "sensitivity 0.9" in declared.labels[0].threshold_rule
    card = (model / "card.md").read_text()
    for word in ("what a figure must beat", "The builds", "first set aside", "Nobody here knows"):
        assert word in card
    assert str(tmp_path) not in card + json.dumps(certificate)


def test_a_segmenter_is_judged_by_dice(tmp_path: Path) -> None:
    model = imported(tmp_path, "segmentation", bias=-0.1)
    certificate = prove(model, drawn(tmp_path, True))
    assert certificate["figures"]["fp32"]["ball"]["dice"]["value"] > 0.5
    assert {row["metric"] for row in certificate["builds"]} == {"dice"}
    assert infer.read(model).build("fp32").certified
    assert prove(model, tmp_path / "mine")["builds"] == certificate["builds"], "it can be tried again"


def test_a_split_that_fails_is_refused_unless_taken_on(tmp_path: Path) -> None:
    model, data = imported(tmp_path, "classification"), drawn(tmp_path, False)
    before = (model / "certificate.json").read_text()
    with pytest.raises(BadInput, match="the same patient"):
        prove(model, data, split="images:5")
    assert (model / "certificate.json").read_text() == before
    certificate = prove(model, data, split="images:5", accepted="a toy")
    assert certificate["baselines"]["accepted"] == "a toy"
    assert "accepted: a toy" in (model / "card.md").read_text()


def test_a_build_that_lost_too_much_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = imported(tmp_path, "classification")
    deaf = lambda parent, samples, path: path.write_bytes(graph("classification", 0.0, gain=0.0))  # noqa: E731
    monkeypatch.setattr("wetread.lab.intake.prove.quantize_onnx", deaf)
    certificate = prove(model, drawn(tmp_path, False))
    assert {row["build"] for row in certificate["builds"] if not row["passed"]} == {"int8"}
    assert not (model / "int8.onnx").exists()
    assert "int8" not in {choice.build for choice in infer.candidates(infer.read(model))}
    assert "no: does not ship" in (model / "card.md").read_text()


def test_classes_that_the_model_does_not_know_are_named(tmp_path: Path) -> None:
    model = imported(tmp_path, "classification")
    data = drawn(tmp_path, False)
    (data / "manifest.csv").write_text((data / "manifest.csv").read_text().replace(",ball,", ",tumour,"))
    with pytest.raises(BadInput, match=r"\['none', 'tumour'\].*--positive"):
        prove(model, data)
    assert prove(model, data, positive="tumour")["figures"]["fp32"]["ball"]["auroc"]["value"] > 0.95


def test_a_segmenter_needs_masks(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected images with masks"):
        prove(imported(tmp_path, "segmentation"), drawn(tmp_path, False))


def test_what_is_judged_of_a_volume_is_what_a_node_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three surest slices are averaged after calibration: before, thresholds were fixed on other values."""
    source, description, data = tmp_path / "theirs.onnx", tmp_path / "theirs.toml", tmp_path / "mine"
    source.write_bytes(graph("classification", -1.0, gain=3.0))
    same = lambda parent, samples, path: path.write_bytes(parent.read_bytes())  # noqa: E731
    monkeypatch.setattr("wetread.lab.intake.prove.quantize_onnx", same)
    told = DESCRIPTION.format(task="classification").replace("views = []", 'views = []\npool = "mean-top-3"')
    description.write_text(told)
    model = take_in(source, description, tmp_path / "models")
    rng, lines = np.random.default_rng(0), ["image,label,patient,split"]
    data.mkdir()
    for at in range(40):
        bright = rng.uniform(0, 0.3, (5, 1, 1)) * (at % 2) + rng.uniform(0, 0.12, (5, 1, 1))
        voxels = np.where(rng.random((5, SIDE, SIDE)) < bright, 200, rng.normal(60, 5, (5, SIDE, SIDE)))
        image = nibabel.Nifti1Image(voxels.astype(np.int16).transpose(), np.eye(4))  # type: ignore[no-untyped-call]
        nibabel.save(image, data / f"{at}.nii")
        lines.append(f"{at}.nii,{'ball' if at % 2 else 'none'},p{at},{'train' if at < 20 else 'test'}")
    (data / "manifest.csv").write_text("\n".join(lines) + "\n")
    prove(model, data, sensitivity=0.9, accepted="drawn")
    declared = infer.read(model)
    assert declared.temperature != 1
    loaded = infer.load(declared, infer.Choice("fp32", "onnxruntime"), threads=1)
    said = []
    for at in range(1, 20, 2):
        pixels, spacing = read_nifti(data / f"{at}.nii")
        answer = loaded.predict(prepare(pixels, 1.0, declared.recipe, None, spacing))
        slices = calibrated(np.asarray(answer.outputs["logits"], np.float64)[:, 0], declared.temperature)
        said.append(pooled(slices, "mean-top-3"))
    assert declared.labels[0].threshold == pytest.approx(sorted(said)[1], abs=2e-4), "nine of the ten set aside"
