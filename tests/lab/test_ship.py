"""From weights to a folder that loads: export, pruning, int8 and the certificate."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wetread import infer
from wetread.errors import BadInput
from wetread.infer import engine
from wetread.lab.certify import compare, document, fit_temperature, verdict
from wetread.lab.export import export_onnx, fold_norms
from wetread.lab.folder import write_folder
from wetread.lab.gate import kept_gate
from wetread.lab.phantom import LUNGS, chest
from wetread.lab.plan import load_plan, recipe_of
from wetread.lab.prune import cut
from wetread.lab.quantize import quantize_onnx
from wetread.lab.weights import load_weights, save_weights
from wetread.lab.zoo import ARCHITECTURES, build
from wetread.prepare import prepare
from wetread.records import Recipe, Tensor

#: torch's exporter warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"architecture": "unet", "widths": [16, 16, 32, 32]},
    "efficientnet-lite0": {"architecture": "efficientnet-lite0"},
    "hybrid-transformer": {"architecture": "hybrid-transformer", "width": 32, "depth": 2, "heads": 2},
    "unet3d": {"architecture": "unet3d", "widths": [8, 16], "labels": 2},
}
OUTPUTS = {
    "unet": ("logits",),
    "efficientnet-lite0": ("logits", "map"),
    "hybrid-transformer": ("mask", "logits", "map"),
    "unet3d": ("logits",),
}
#: Torch-Pruning does not follow attention.
PRUNED = ("efficientnet-lite0", "unet", "unet3d")
RECIPE = Recipe(grid=(64, 96), percentiles=(1, 99), mean=(0.5,), std=(0.25,))


@cache
def trained(name: str) -> nn.Module:
    """A network whose norms have seen something, as after training; not to be changed."""
    torch.manual_seed(0)
    model = build(SMALL[name])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.normal_(module.bias, 0, 0.1)
            module.momentum = 0.6
    model.train()
    with torch.no_grad():
        for _ in range(3):
            shown = torch.from_numpy(seen(name))
            model(torch.cat([shown, shown]) + 0.3 * torch.randn(2, *shown.shape[1:]))
    return model.eval()


def film() -> Tensor:
    return prepare(chest(), 1.0, RECIPE, LUNGS).tensor


def recipe_for(name: str) -> Recipe:
    return replace(RECIPE, grid=(32, 32), depth=16, spacing_mm=(1, 1, 1)) if name == "unet3d" else RECIPE


def seen(name: str) -> Tensor:
    """What a network is shown: the film, or a volume of its rows."""
    if name != "unet3d":
        return film()
    return np.ascontiguousarray(
        film()[:, :, None, 16:48, 32:64].repeat(16, 2) * np.linspace(0.5, 1, 16, dtype=np.float32)[:, None, None]
    )


def answers(model: nn.Module, image: Tensor) -> list[Tensor]:
    with torch.no_grad():
        given = model(torch.from_numpy(image))
    return [one.numpy() for one in (given if isinstance(given, tuple) else (given,))]


def test_every_architecture_is_tested() -> None:
    assert set(SMALL) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_folded_norms_change_nothing(name: str) -> None:
    model = trained(name)
    folded = fold_norms(model)
    assert not any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in folded.modules())
    for ours, theirs in zip(answers(folded, seen(name)), answers(model, seen(name)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("name", sorted(SMALL))
def test_export_equals_torch_on_every_engine_and_batch(name: str, tmp_path: Path) -> None:
    model = trained(name)
    path = export_onnx(model, recipe_for(name), OUTPUTS[name], tmp_path / "model.onnx")
    for batch in (1, 3):
        image = np.concatenate([seen(name) * (1 - 0.2 * i) for i in range(batch)])
        for kind in engine.installed():
            found = engine.loader(kind)(path.read_bytes(), "fp32", 1, None).run(image)
            for output, expected in zip(OUTPUTS[name], answers(model, image), strict=True):
                np.testing.assert_allclose(found[output], expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", PRUNED)
def test_pruning_keeps_the_shapes_of_the_answers(name: str, tmp_path: Path) -> None:
    parent = trained(name)
    child = cut(parent, recipe_for(name), 0.4).eval()
    assert sum(p.numel() for p in child.parameters()) < 0.75 * sum(p.numel() for p in parent.parameters())
    expected = answers(child, seen(name))
    assert [one.shape for one in expected] == [one.shape for one in answers(parent, seen(name))]
    save_weights(tmp_path / "pruned.pt", {"model": SMALL[name], "task": "none"}, child)
    _, again = load_weights(tmp_path / "pruned.pt")
    for ours, theirs in zip(answers(again, seen(name)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="train the model first"):
        load_weights(tmp_path / "weights.pt")


def folder(tmp_path: Path, passed: bool, gate: str = "") -> Path:
    """Quantize a small segmenter and write its folder."""
    table = load_plan("cxr-lungs")
    table["recipe"] = {"grid": [64, 96], "percentiles": [1, 99], "mean": [0.5], "std": [0.25]}
    assert recipe_of(table["recipe"]) == RECIPE
    parent = export_onnx(trained("unet"), RECIPE, ("logits",), tmp_path / "fp32.onnx")
    rng = np.random.default_rng(0)
    samples = [(film() + rng.normal(0, 0.3, film().shape)).astype(np.float32) for _ in range(8)]
    files = {"fp32": parent, "int8": quantize_onnx(parent, samples, tmp_path / "int8.onnx")}
    truth, patient = np.zeros(40), np.arange(40)
    score = np.linspace(0.94, 0.98, 40)
    rows = []
    for name, path in files.items():
        loss = 0.0 if passed or name == "fp32" else 0.02
        change = compare("dice", truth, score, score - loss, patient)
        rows.append(verdict(name, "onnxruntime", path, "dice", float(score.mean()), change, 0.005))
    (tmp_path / "cxr-lungs").mkdir()
    if gate:
        gate = gate.replace("OWN", hashlib.sha256(parent.read_bytes()).hexdigest())
        (tmp_path / "cxr-lungs" / "model.toml").write_text(f"[gate]\n{gate}\n")
    return write_folder(tmp_path / "cxr-lungs", table, files, document("cxr-lungs", ["a toy"], rows, {}))


def test_folder_loads_with_every_build_on_every_engine(tmp_path: Path) -> None:
    model = infer.read(folder(tmp_path, passed=True))
    choices = infer.candidates(model)
    assert {choice.build for choice in choices} == {"fp32", "int8"}
    for choice in choices:
        assert infer.load(model, choice, threads=1).identity.build == choice.build
    assert (tmp_path / "int8.onnx").stat().st_size < 0.5 * (tmp_path / "fp32.onnx").stat().st_size


@pytest.mark.parametrize(("of", "bound"), [("OWN", 0.9), ("another file", 0.0)])
def test_gate_stays_with_the_bytes_that_it_was_fixed_on(of: str, bound: float, tmp_path: Path) -> None:
    made = folder(tmp_path, True, f'mirrored = 0.9\nsha256 = "{of}"\nrule = "a toy"')
    assert infer.read(made).gate.mirrored == bound
    assert kept_gate(made) is None, "nothing tells what was tried on these bytes: certify fixes the gate again"
    (made / "gate.json").write_text(json.dumps({"sha256": infer.read(made).builds[0].sha256}))
    assert kept_gate(made) is not None


def test_build_that_lost_too_much_is_not_certified(tmp_path: Path) -> None:
    model = infer.read(folder(tmp_path, passed=False))
    rows = json.loads((model.folder / "certificate.json").read_text())["builds"]
    assert [(row["build"], row["passed"]) for row in rows] == [("fp32", True), ("int8", False)]
    assert {choice.build for choice in infer.candidates(model)} == {"fp32"}


def test_certificate_fails_when_the_loss_cannot_be_ruled_out(tmp_path: Path) -> None:
    """The mean loss is below the margin, but the interval is not."""
    rng = np.random.default_rng(0)
    parent = rng.normal(0.95, 0.01, 30)
    build = parent - 0.003 + np.tile([0.02, -0.02], 15)
    (tmp_path / "int8.onnx").write_bytes(b"")
    change = compare("dice", np.zeros(30), parent, build, np.arange(30))
    row = verdict("int8", "onnxruntime", tmp_path / "int8.onnx", "dice", float(parent.mean()), change, 0.005)
    assert row["interval_95"][0] < -0.005
    assert row["passed"] is False


def test_comparison_of_areas_is_paired() -> None:
    """The same ranking in another unit is no loss at all."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    logits = truth + rng.normal(size=200)
    change = compare("auc", truth, logits, 3 * logits - 1, np.arange(200))
    assert (change.value, change.low, change.high) == (0.0, 0.0, 0.0)
    worse = compare("auc", truth, logits, rng.normal(size=200), np.arange(200))
    assert worse.high < 0


def test_temperature_of_overconfident_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20000)
    truth = (rng.random(20000) < 1 / (1 + np.exp(-true))).astype(int)
    assert fit_temperature(truth, 3 * true) == pytest.approx(3, rel=0.1)
