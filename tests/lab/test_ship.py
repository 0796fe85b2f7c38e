"""From weights to a folder that loads: export, pruning, int8 and the certificate."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import tomllib
from collections import OrderedDict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from tests.lab.films import drawn_films
from tests.toy import make_models, pneumonia_graph
from wetread import infer
from wetread.errors import BadInput, GoldenMismatch
from wetread.infer import engine
from wetread.lab import certify, ship
from wetread.lab import folder as folders
from wetread.lab.card import card, standing_text
from wetread.lab.certify import document, fit_temperature, standing, verdict
from wetread.lab.data import Films
from wetread.lab.export import export_onnx, fold_norms
from wetread.lab.folder import passing, sha256_of, write_folder
from wetread.lab.gate import kept_gate
from wetread.lab.half import halved, whole
from wetread.lab.phantom import LUNGS, chest
from wetread.lab.plan import load_plan, recipe_of
from wetread.lab.prune import cut
from wetread.lab.quantize import JUDGED, agreement, quantize_onnx
from wetread.lab.recover import with_standing_builds
from wetread.lab.subgroups import Paired, subgroup_rows
from wetread.lab.taught import course_of
from wetread.lab.train import Course, logits
from wetread.lab.weights import load_weights, save_weights
from wetread.lab.zoo import ARCHITECTURES, build
from wetread.prepare import prepare
from wetread.records import Recipe, Tensor
from wetread.settings import load

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
SHIPPED = Path(__file__).parents[2] / "models"
PARENT = {"what": "a toy", "sha256": "0" * 64}
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


class Shown(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What a network is shown, brighter from row to row; there is no truth."""

    def __init__(self, image: Tensor) -> None:
        self.image = torch.from_numpy(image[0])

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.image * (1 + 0.2 * key[1]), torch.zeros(1)


def course(image: Tensor) -> Course:
    return Course(Shown(image), np.arange(4), lambda answer, _: logits(answer).square().mean(), lambda model: {})


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


def test_weights_are_stored_in_16_bits_and_come_back(tmp_path: Path) -> None:
    path = export_onnx(trained("unet"), RECIPE, ("logits",), tmp_path / "model.onnx")
    kinds = {item.data_type for item in onnx.load(path).graph.initializer if np.prod(item.dims) >= 1024}
    assert kinds == {onnx.TensorProto.FLOAT16}
    again = whole(onnx.load(path))
    onnx.checker.check_model(again, full_check=True)
    assert not any(item.data_type == onnx.TensorProto.FLOAT16 for item in again.graph.initializer)
    stored, restored = (
        engine.loader("onnxruntime")(data, "fp32", 1, None).run(film())["logits"]
        for data in (path.read_bytes(), again.SerializeToString())
    )
    np.testing.assert_array_equal(stored, restored)
    assert b"site-packages" not in path.read_bytes()
    assert path.stat().st_size < 0.55 * len(again.SerializeToString())


def test_weights_beyond_16_bits_stay_as_they_are() -> None:
    weights = onnx.numpy_helper.from_array(np.full((64, 64), 1e5, np.float32), "w")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["image", "w"], ["logits"])],
        "toy",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 64])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 64])],
        [weights],
    )
    assert halved(onnx.helper.make_model(graph)).graph.initializer[0].data_type == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("name", sorted(SMALL))
def test_pruning_keeps_the_shapes_of_the_answers(name: str, tmp_path: Path) -> None:
    parent = trained(name)
    child = cut(parent, recipe_for(name), 0.4, course(seen(name))).eval()
    assert sum(p.numel() for p in child.parameters()) < 0.75 * sum(p.numel() for p in parent.parameters())
    expected = answers(child, seen(name))
    assert [one.shape for one in expected] == [one.shape for one in answers(parent, seen(name))]
    save_weights(tmp_path / "pruned.pt", {"model": SMALL[name], "task": "none"}, child)
    _, again = load_weights(tmp_path / "pruned.pt")
    for ours, theirs in zip(answers(again, seen(name)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_channels_without_which_the_loss_is_the_same_go_however_large_they_are() -> None:
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.Conv2d(16, 16, 3, padding=1)
    layers = [("first", first), ("norm", nn.BatchNorm2d(16)), ("relu", nn.ReLU()), ("second", second)]
    parent = nn.Sequential(OrderedDict([*layers, ("head", nn.Conv2d(16, 1, 1))])).eval()
    with torch.no_grad():
        first.weight[::2] *= 100
        second.weight[:, ::2] = 0
    child: Any = cut(parent, RECIPE, 0.5, course(film()))
    np.testing.assert_array_equal(child.first.weight.detach(), first.weight[1::2].detach())
    assert child.norm.momentum == 0.1
    assert child.norm.running_var.min() < 0.5, "measured anew"
    assert all(weight.requires_grad and weight.grad is None for weight in child.parameters())


def test_cutting_nothing_from_a_transformer_changes_nothing() -> None:
    parent = trained("hybrid-transformer")
    for ours, theirs in zip(
        answers(cut(parent, RECIPE, 0.0, course(film())), film()), answers(parent, film()), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_what_adds_nothing_to_a_transformer_goes_first() -> None:
    """Half of the heads, hidden units and inner channels are silenced: without them the answer is the same."""
    parent: Any = copy.deepcopy(trained("hybrid-transformer"))
    with torch.no_grad():
        for block in parent.transformer:
            block.out.weight[:, : block.size] = 0
            block.mlp[3].weight[:, ::2] = 0
        for block in list(parent.blocks)[1:]:
            block.body[-2].weight[:, ::2] = 0
        for pair in parent.fuse:
            pair[1][0].weight[:, 1::2] = 0
    child: Any = cut(parent, RECIPE, 0.5, course(film()))
    assert child.transformer[0].qkv.out_features == parent.transformer[0].qkv.out_features // 2
    assert child.transformer[1].mlp[1].out_features == 48
    assert child.fuse[0][0][0].out_channels == 32
    for ours, theirs in zip(answers(child, film()), answers(parent, film()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["efficientnet-lite0", "hybrid-transformer"])
def test_frozen_blocks_are_not_cut(name: str) -> None:
    torch.manual_seed(0)
    parent: Any = build({**SMALL[name], "frozen": 3}).eval()
    child: Any = cut(parent, RECIPE, 0.5, course(film()))
    kept = list(zip([parent.stem, *parent.blocks[:3]], [child.stem, *child.blocks[:3]], strict=True))
    for ours, theirs in kept:
        for key, value in ours.state_dict().items():
            np.testing.assert_array_equal(theirs.state_dict()[key], value, err_msg=key)
        assert not any(p.requires_grad for p in theirs.parameters())
    sizes = [
        [sum(p.numel() for p in block.parameters()) for block in network.blocks[3:]] for network in (parent, child)
    ]
    assert all(ours > theirs for ours, theirs in zip(*sizes, strict=True))
    assert all(p.requires_grad for block in child.blocks[3:] for p in block.parameters())


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="train the model first"):
        load_weights(tmp_path / "weights.pt")


def test_a_classifier_of_films_comes_after_the_lungs_that_bound_it(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a certified cxr-lungs"):
        course_of(load_plan("cxr-pneumonia"), tmp_path, tmp_path, tmp_path)


def test_certificate_and_card_say_whose_boxes_a_classifier_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, plan = make_models(tmp_path / "models"), load_plan("cxr-pneumonia")
    plan["recipe"] = {"grid": [64, 64], "region": "lungs", "mean": [0.5], "std": [0.25]}
    plan |= {"model": SMALL["efficientnet-lite0"], "train": plan["train"] | {"held_back": 0.5}}
    save_weights(tmp_path / "cxr-pneumonia" / "weights.pt", plan, trained("efficientnet-lite0"))
    (tmp_path / "cxr-pneumonia" / "builds").mkdir()
    (tmp_path / "cxr-pneumonia" / "builds" / "fp32.onnx").write_bytes(pneumonia_graph())
    monkeypatch.setattr(ship, "_verdicts", lambda *_: [])
    monkeypatch.setattr(ship, "write_folder", lambda *_: None)
    for name in ("kermany", "nih"):
        monkeypatch.setattr(ship, name, lambda *_: drawn_films())
    told = ship.certify(plan, tmp_path, tmp_path, models)["boxes"]
    choice = infer.candidates(infer.read(models / "cxr-lungs"))[0]
    lungs = sha256_of(models / "cxr-lungs" / "fp32.onnx")
    assert told == {"model": "cxr-lungs 0.0.1+fp32", "engine": choice.engine, "sha256": lungs}
    shipped = SHIPPED / "cxr-pneumonia"
    figures = json.loads((shipped / "figures.json").read_text())["figures"]
    certificate = json.loads((shipped / "certificate.json").read_text())
    declared, line = infer.read(shipped), f"are those of cxr-lungs 0.0.1+fp32 on {choice.engine} (`{lungs[:16]}`)."
    assert line not in card(declared, figures, certificate, ""), "a certificate of before tells of none"
    assert card(declared, figures | {"boxes": told}, certificate | {"boxes": told}, "").count(line) == 2


def folder(tmp_path: Path, passed: bool, gate: str = "") -> Path:
    """Quantize a small segmenter and write its folder."""
    table = load_plan("cxr-lungs")
    table["recipe"] = {"grid": [64, 96], "percentiles": [1, 99], "mean": [0.5], "std": [0.25]}
    assert recipe_of(table["recipe"]) == RECIPE
    table["ship"]["intended"] = {"age_years": [1, 5], "field_mm": 200, "rule": "a toy"}
    parent = export_onnx(trained("unet"), RECIPE, ("logits",), tmp_path / "fp32.onnx")
    rng = np.random.default_rng(0)
    samples = [(film() + rng.normal(0, 0.3, film().shape)).astype(np.float32) for _ in range(8)]
    files = {"fp32": parent, "int8": quantize_onnx(parent, samples, tmp_path / "int8.onnx")}
    truth, patient = np.zeros(40), np.arange(40).astype(str)
    score = np.linspace(0.94, 0.98, 40)
    rows = []
    for name, path in files.items():
        loss = 0.0 if passed or name == "fp32" else 0.02
        paired = Paired("dice", truth, score, score - loss, patient)
        rows.append({"data": "a toy", **verdict(name, "onnxruntime", path, paired, 0.005)})
    (tmp_path / "cxr-lungs").mkdir()
    if gate:
        gate = gate.replace("OWN", hashlib.sha256(parent.read_bytes()).hexdigest())
        (tmp_path / "cxr-lungs" / "model.toml").write_text(f"[gate]\n{gate}\n")
    return write_folder(tmp_path / "cxr-lungs", table, files, document("cxr-lungs", PARENT, ["a toy"], rows, {}))


def test_where_no_build_passes_the_folder_stays(tmp_path: Path) -> None:
    """A model.toml whose graphs were deleted keeps all models of the folder from loading."""
    made = tmp_path / "cxr-lungs"
    made.mkdir()
    for name in ("fp32.onnx", "model.toml", "certificate.json"):
        (made / name).write_text("as it was")
    row = {"build": "fp32", "engine": "onnxruntime", "metric": "dice", "difference": -0.25, "patients": 9}
    with pytest.raises(BadInput, match=r"got none: fp32 on onnxruntime \(dice -0.2500, 9 patients\); the folder stays"):
        write_folder(made, load_plan("cxr-lungs"), {}, {"builds": [row | {"passed": False}]})
    assert {file.read_text() for file in made.iterdir()} == {"as it was"}
    assert len(list(made.iterdir())) == 3


def test_where_the_disk_is_full_the_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path, passed=True)
    before = {file.name: file.read_bytes() for file in made.iterdir()}
    rows = json.loads((made / "certificate.json").read_text())["builds"]

    def full(*_: object) -> float:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folders, "_write_golden", full)
    with pytest.raises(OSError, match="No space left"):
        write_folder(made, load_plan("cxr-lungs"), {"fp32": tmp_path / "fp32.onnx"}, {"builds": rows})
    assert {file.name: file.read_bytes() for file in made.iterdir()} == before


def test_folder_loads_with_every_build_on_every_engine(tmp_path: Path) -> None:
    model = infer.read(folder(tmp_path, passed=True))
    choices = infer.candidates(model)
    assert {choice.build for choice in choices} == {"fp32", "int8"}
    assert model.intended == infer.Intended((1, 5), 200.0)
    assert model.golden_tolerance <= 0.2
    for choice in choices:
        assert infer.load(model, choice, threads=1).identity.build == choice.build
    assert (tmp_path / "int8.onnx").stat().st_size < 0.7 * (tmp_path / "fp32.onnx").stat().st_size


def rounded_layers(path: Path) -> int:
    return sum(node.op_type == "DequantizeLinear" for node in onnx.load(path).graph.node)


def test_a_loss_is_bounded_by_layers_that_stay_in_float(tmp_path: Path) -> None:
    parent = export_onnx(trained("unet"), replace(RECIPE, grid=(64, 64)), ("logits",), tmp_path / "fp32.onnx")
    rng = np.random.default_rng(0)
    samples = [rng.normal(0, 1, (1, 1, 64, 64)).astype(np.float32) for _ in range(8)]
    free = quantize_onnx(parent, samples, tmp_path / "free.onnx")

    def drop(path: Path) -> float:
        ours, theirs = (engine.loader("onnxruntime")(one.read_bytes(), "int8", 1, None) for one in (path, parent))
        pairs = [(ours.run(one), theirs.run(one)) for one in samples[::JUDGED]]
        return 1 - float(np.mean([agreement(tuple(a), list(a.values()), list(b.values())) for a, b in pairs]))

    most = drop(free) / 2
    bound = quantize_onnx(parent, samples, tmp_path / "bound.onnx", max_drop=most)
    assert most > 0
    assert drop(bound) <= most + 1e-6
    assert 0 < rounded_layers(bound) < rounded_layers(free)


def test_masks_agree_by_dice_and_labels_by_probability() -> None:
    one = [np.array([[[[3.0, -1.0, 2.0, -4.0]]]]), np.array([[0.0]]), np.zeros((1, 1, 1, 1))]
    two = [np.array([[[[3.0, 1.0, -2.0, -4.0]]]]), np.array([[np.log(3)]]), np.ones((1, 1, 1, 1))]
    assert agreement(("mask", "logits", "map"), one, two) == 0.5
    assert agreement(("logits", "map"), one[1:], two[1:]) == pytest.approx(0.75)
    assert agreement(("mask", "logits", "map"), one, one) == 1.0


def test_a_build_that_was_not_compared_does_not_pass() -> None:
    """As bf16 on a host that has none."""
    files = {name: Path(f"{name}.onnx") for name in ("fp32", "bf16", "int8")}
    rows = [{"build": "fp32", "passed": True}, {"build": "int8", "passed": True}, {"build": "int8", "passed": False}]
    assert list(passing(files, rows)) == ["fp32"]


def test_a_build_that_the_recipe_leaves_out_stays_in_the_lab(tmp_path: Path) -> None:
    made = folder(tmp_path, passed=True)
    certificate = json.loads((made / "certificate.json").read_text())
    table = load_plan("cxr-lungs") | {
        "recipe": {"grid": [64, 96], "percentiles": [1, 99], "mean": [0.5], "std": [0.25]}
    }
    table["ship"]["without"] = ["int8"]
    write_folder(made, table, {name: tmp_path / f"{name}.onnx" for name in ("fp32", "int8")}, certificate)
    assert [build.name for build in infer.read(made).builds] == ["fp32"]
    assert [path.name for path in made.glob("*.onnx")] == ["fp32.onnx"]


def test_what_nothing_runs_here_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As bf16 on a host that has none; here int8 stands for it."""
    made = folder(tmp_path, passed=True)
    model = infer.read(made)
    before, files = infer.golden(model), {name: tmp_path / f"{name}.onnx" for name in ("fp32", "int8")}
    rows = json.loads((made / "certificate.json").read_text())["builds"]
    for module in (folders, certify):
        monkeypatch.setattr(module, "engines_for", lambda precision: [] if precision == "int8" else ["onnxruntime"])
    assert standing(made, files, rows[:1]) == rows[1:]
    assert standing(made, files, [rows[0] | {"margin": 0.004}]) == []
    table = load_plan("cxr-lungs") | {
        "recipe": {"grid": [64, 96], "percentiles": [1, 99], "mean": [0.5], "std": [0.25]}
    }
    write_folder(made, table, passing(files, rows), document("cxr-lungs", PARENT, ["a toy"], rows, {}))
    after = infer.golden(infer.read(made))
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    assert infer.read(made).golden_tolerance >= model.golden_tolerance
    files["int8"].write_bytes(b"another")
    assert standing(made, files, rows[:1]) == []
    figures = {"builds": {"fp32": {"auc": 1}}}
    assert with_standing_builds(figures, model, made) == figures
    (made / "figures.json").write_text(json.dumps({"date": "2026-11-24", "figures": {"builds": {"int8": {"auc": 2}}}}))
    whole = with_standing_builds(figures, model, made)
    assert list(whole["builds"]) == ["fp32", "int8"]
    assert "int8 of 2026-11-24" in standing_text(whole)


def test_one_patient_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "one.onnx").write_bytes(b"x")
    for many in (1, 2):
        score = np.linspace(0.9, 0.95, 2)
        paired = Paired("dice", np.zeros(2), score, score, np.array(["p", "p" if many == 1 else "q"]))
        assert verdict("int8", "onnxruntime", tmp_path / "one.onnx", paired, 0.01)["passed"] is (many > 1)


def test_another_network_does_not_reproduce_the_golden_output(tmp_path: Path) -> None:
    """One that differs by as little as 5 % of each weight."""
    where = folder(tmp_path, passed=True)
    other = copy.deepcopy(trained("unet"))
    with torch.no_grad():
        for weights in other.parameters():
            weights.mul_(1 + 0.05 * torch.randn(weights.shape, generator=torch.Generator().manual_seed(1)))
    old = sha256_of(where / "fp32.onnx")
    new = sha256_of(export_onnx(other, RECIPE, ("logits",), where / "fp32.onnx"))
    for file in ("model.toml", "certificate.json"):
        (where / file).write_text((where / file).read_text().replace(old, new))
    with pytest.raises(GoldenMismatch, match="output logits differs"):
        infer.load(infer.read(where), infer.Choice("fp32", "onnxruntime"), threads=1)


def test_golden_answers_are_kept_in_16_bits(tmp_path: Path) -> None:
    where = folder(tmp_path, passed=True)
    with np.load(where / "golden.npz") as arrays:
        assert {arrays[name].dtype for name in arrays.files} == {np.dtype(np.float16)}
    kept = infer.golden(infer.read(where))
    found = engine.loader("openvino")((where / "fp32.onnx").read_bytes(), "fp32", 1, None).run(kept["image"])
    assert np.abs(found["logits"] - kept["fp32/logits"]).max() < 1e-3 * np.abs(found["logits"]).max()


@pytest.mark.parametrize("name", ["cxr-pneumonia", "ct-lungs"])
def test_shipped_models_are_made_for_what_their_recipe_says(name: str) -> None:
    declared = tomllib.loads((load(environ={}).models_dir / name / "model.toml").read_text(encoding="utf-8"))
    assert declared["intended"] == load_plan(name)["ship"]["intended"]


@pytest.mark.parametrize(("of", "bound"), [("OWN", 0.9), ("another file", 0.0)])
def test_gate_stays_with_the_bytes_that_it_was_fixed_on(of: str, bound: float, tmp_path: Path) -> None:
    made = folder(tmp_path, True, f'mirrored = 0.9\nsha256 = "{of}"\nrule = "a toy"')
    assert infer.read(made).gate.mirrored == bound
    assert kept_gate(made) is None, "nothing tells what was tried on these bytes: certify fixes the gate again"
    own = infer.read(made).builds[0].sha256
    (made / "gate.json").write_text(json.dumps({"sha256": own, "builds": [{"sha256": own}, {"sha256": "gone"}]}))
    assert kept_gate(made) == {"sha256": own, "builds": [{"sha256": own}]}


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
    paired = Paired("dice", np.zeros(30), parent, build, np.arange(30).astype(str))
    row = verdict("int8", "onnxruntime", tmp_path / "int8.onnx", paired, 0.005)
    assert row["interval_95"][0] < -0.005
    assert row["passed"] is False


def test_comparison_of_areas_is_paired() -> None:
    """The same ranking in another unit is no loss at all."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200)
    logits = truth + rng.normal(size=200)
    patient = np.arange(200).astype(str)
    change, _ = Paired("auc", truth, logits, 3 * logits - 1, patient).change(0.01)
    assert (change.value, change.low, change.high) == (0.0, 0.0, 0.0)
    worse, p = Paired("auc", truth, logits, rng.normal(size=200), patient).change(0.01)
    assert worse.high < 0
    assert p > 0.9


def test_a_loss_in_one_subgroup_fails_the_build(tmp_path: Path) -> None:
    """Nothing is lost in the mean, as what one half loses the other gains; ten children are too few to judge."""
    rng = np.random.default_rng(0)
    parent = rng.normal(0.95, 0.01, 100)
    half = np.repeat(["a", "b"], 50)
    few = np.where(np.arange(100) < 10, "child", "adult")
    build = parent + np.where(half == "a", -0.02, 0.02) + rng.normal(0, 0.001, 100)
    (tmp_path / "int8.onnx").write_bytes(b"")
    patient = np.arange(100).astype(str)
    paired = Paired("dice", np.zeros(100), parent, build, patient, {"half": half, "age": few})
    row = verdict("int8", "onnxruntime", tmp_path / "int8.onnx", paired, 0.005)
    found = {one["subgroup"]: one for one in row["subgroups"]}
    assert row["interval_95"][0] > -0.005
    assert row["passed"] is False
    assert found["half: a"]["passed"] is False
    assert found["half: b"]["passed"] is True
    assert "passed" not in found["age: child"]
    assert found["half: b"]["p_holm"] == pytest.approx(3 * found["half: b"]["p"])


def test_few_cases_are_not_judged_for_the_many_that_they_stand_against() -> None:
    """Five patients with a virus among a hundred sound ones: the loss in them proves nothing either way."""
    truth = np.repeat([0, 1, 1], [100, 40, 5])
    kind = np.repeat(["normal", "bacteria", "virus"], [100, 40, 5])
    score = truth + np.random.default_rng(0).normal(size=145)
    paired = Paired("auc", truth, score, score, np.arange(145).astype(str), {"kind": kind})
    found = {row["subgroup"]: row for row in subgroup_rows(paired, 0.01)}
    assert found["kind: virus"]["patients"] == 105
    assert "passed" not in found["kind: virus"]
    assert found["kind: bacteria"]["passed"] is True


def test_patients_for_whom_the_model_is_not_made_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    sex = np.repeat(["F", "M"], 50)
    score = rng.normal(0.9, 0.01, 100)
    meant = np.arange(100) >= 40
    paired = Paired("dice", np.zeros(100), score, score, np.arange(100).astype(str), {"sex": sex}, meant)
    women, men = subgroup_rows(paired, 0.01)
    assert "passed" not in women
    assert men["passed"] is True


def test_films_know_for_whom_a_model_is_made() -> None:
    ages = np.array([0.9, 1, 5.5, 6, np.nan, 70])
    none = np.zeros((6, 1, 1), np.uint8)
    names = np.full(6, "")
    films = Films(none, none, np.ones(6), np.zeros(6, np.int64), names, names, np.zeros((6, 2), np.int64), ages)
    assert films.meant([1, 5]).tolist() == [False, True, True, False, True, False]
    assert films.meant(None).all()


def test_cases_of_one_kind_stand_against_all_sound_ones() -> None:
    truth = np.array([0, 0, 0, 1, 1, 1])
    kind = np.array(["normal", "normal", "normal", "virus", "virus", "bacteria"])
    score = np.arange(6.0)
    paired = Paired("auc", truth, score, score, np.arange(6).astype(str), {"kind": kind, "sex": np.full(6, "F")})
    assert {name: len(part.truth) for name, part in paired.groups()} == {
        "kind: bacteria": 4,
        "kind: normal": 6,
        "kind: virus": 5,
    }


def test_temperature_of_overconfident_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20000)
    truth = (rng.random(20000) < 1 / (1 + np.exp(-true))).astype(int)
    assert fit_temperature(truth, 3 * true) == pytest.approx(3, rel=0.1)
