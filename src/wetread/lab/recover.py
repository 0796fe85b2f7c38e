"""Weights of a model that ships, read back from its graphs: who has the folder can prune, quantize and certify anew.

Export folds each batch norm into the convolution before it, so what the norm was is gone. It is measured again: with
the mean and the variance of what enters it on training images, and the scale and shift that undo them, the network
answers as the graph does and its norms are those that training would have left.

References
----------
S. Ioffe, C. Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167, algorithm 2 (what a norm does in use).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from wetread.errors import BadInput
from wetread.infer import Model
from wetread.lab import zoo
from wetread.lab.builds import FLOAT_BUILDS, note_source, weights_folder
from wetread.lab.cases import Cases, used_folds
from wetread.lab.certify import certified
from wetread.lab.courses import read_cases, rows_digest, series_course
from wetread.lab.crossed import OUTPUTS
from wetread.lab.evaluate_series import names_of
from wetread.lab.evidence import data_of
from wetread.lab.folder import REFERENCE, golden_input, sha256_of
from wetread.lab.gridded import Gridded
from wetread.lab.half import whole
from wetread.lab.held_out import fold_answers, trained_network
from wetread.lab.plan import recipe_of
from wetread.lab.predict import built, eager
from wetread.lab.taught import course_of
from wetread.lab.train import Course
from wetread.lab.verdicts import mask_figures, measure_answers
from wetread.lab.weights import fit_shapes, save_weights

__all__ = ["recover", "standing_figures", "with_standing_builds"]

Figures = dict[str, Any]
Norm = nn.BatchNorm2d | nn.BatchNorm3d
#: Training images that the norms are measured on; a volume holds as many values as dozens of slices.
MEASURED = {"slices": 256, "volumes": 32}
#: How far the network may be from the graph, as a share of the largest answer.
APART = 1e-3
#: How far a figure of the fold that ships may be from that of the model's card.
DRIFT = 1e-3


def recover(plan: Mapping[str, Any], data: Path, out: Path, models: Path) -> list[Path]:
    """Write ``weights.pt``, and ``weights-pruned.pt`` of a pruned build, from the graphs of a model folder.

    The graphs are laid beside them as the float builds that `export` would write. Of a recipe with folds it is the
    network of the fold that ships; that it never saw that fold is seen from its figures there, which must be those of
    the folder's ``figures.json``.

    Returns
    -------
    The weights' files.

    Raises
    ------
    BadInput
        The folder is that of another recipe, architecture or data, or a network does not answer as its graph does.
    """
    name = str(plan["id"])
    model, recipe = certified(models, name), recipe_of(plan["recipe"])
    if model.recipe != recipe:
        raise BadInput(f"{name}: expected a model of the recipe at hand, got one whose images are prepared otherwise")
    seen = read_cases(plan, data) if "folds" in plan else None
    course = series_course(plan, *seen, int(plan["ship"]["fold"])) if seen else course_of(plan, data, out, models)
    folder = weights_folder(plan, out)
    folder.mkdir(parents=True, exist_ok=True)
    apart = _left_out(plan, seen) if seen else {}
    shipped = {build.name: build.path for build in model.builds}
    files = []
    for file, build in FLOAT_BUILDS.items():
        if build in shipped:
            graph = Path(shutil.copyfile(shipped[build], _place(out / name / "builds") / f"{build}.onnx"))
            network = _read_back(plan["model"], graph)
            _measure_norms(network, course, MEASURED["volumes" if recipe.depth else "slices"])
            _compare(network, graph, plan)
            save_weights(folder / file, {**plan, **apart, "recovered": sha256_of(graph)}, network)
            note_source(graph, folder / file)
            files.append(folder / file)
    for pruned in files[1:]:
        note_source(pruned, files[0])
    if seen:
        _same_fold(plan, data, seen, out, models / name)
    return files


def standing_figures(table: Mapping[str, Any], out: Path, model: Model) -> Figures | None:
    """Return what ``figures.json`` says of all folds, if the network at hand is one that was recovered.

    The other folds' networks are gone then. `told` is the date of those figures.

    Raises
    ------
    BadInput
        The network at hand is not that of which the model's builds were made: its figures are not theirs.
    """
    trained, network = trained_network(table, weights_folder(table, out))
    parent = json.loads((model.folder / "certificate.json").read_text(encoding="utf-8"))["parent"]["sha256"]
    if network.digest != parent and trained.get("recovered") not in {build.sha256 for build in model.builds}:
        raise BadInput(
            f"{model.folder}: expected builds of the network in {weights_folder(table, out)}, got those of another; "
            "the card tells of what ships: run `wetread lab export`, `quantize` and `certify` first, or name the run "
            "folder of what ships by --run"
        )
    if "recovered" not in trained:
        return None
    note = _note(model.folder)
    kept = {key: note["figures"][key] for key in ("folds", "crossed", "rivals")}
    return kept | {"told": note["figures"].get("told", note["date"])}


def with_standing_builds(figures: Figures, model: Model, folder: Path) -> Figures:
    """Return figures with those that ``figures.json`` has of builds which nothing runs here, in the model's order.

    `not run here` tells of which day they are.
    """
    found, path = figures["builds"], folder / "figures.json"
    missing = [build.name for build in model.builds if build.name not in found]
    note = json.loads(path.read_text(encoding="utf-8")) if missing and path.is_file() else {"figures": {"builds": {}}}
    known, told = note["figures"]["builds"], note["figures"].get("not run here", {})
    kept = {name: told.get(name, note["date"]) for name in missing if name in known}
    builds = {one.name: found.get(one.name, known.get(one.name)) for one in model.builds}
    builds = {name: one for name, one in builds.items() if one is not None}
    return figures | {"builds": builds} | ({"not run here": kept} if kept else {})


def _note(folder: Path) -> Figures:
    """Return a model folder's ``figures.json``; raises `BadInput` where it has none."""
    path = folder / "figures.json"
    if not path.is_file():
        raise BadInput(f"expected {path}, found none; run `wetread lab evaluate` with the run folder of its training")
    note: Figures = json.loads(path.read_text(encoding="utf-8"))
    return note


def _place(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


Seen = tuple[Cases, Gridded, NDArray[np.int64]]


def _left_out(plan: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
    """Return which fold the network never saw, as its training would have noted it."""
    _, gridded, folds = seen
    fold = int(plan["ship"]["fold"])
    return {"fold": fold, "apart": rows_digest(gridded, folds[gridded.series] == fold)}


def _folded(network: nn.Module) -> Iterator[tuple[str, str, Norm]]:
    """Yield each convolution that a norm is folded into: its name, the norm's, the norm."""
    for parent, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            for (name, layer), (after, norm) in pairwise(module.named_children()):
                if isinstance(layer, nn.Conv2d | nn.Conv3d) and isinstance(norm, Norm):
                    yield f"{parent}.{name}", f"{parent}.{after}", norm


def _read_back(options: Mapping[str, Any], path: Path) -> nn.Module:
    """Return the network of a graph; each norm only adds what the graph's convolution adds."""
    network = zoo.build({key: value for key, value in options.items() if key != "pretrained"})
    graph = whole(onnx.load(path)).graph
    stored = {item.name: torch.tensor(numpy_helper.to_array(item)) for item in graph.initializer}
    stored |= _linear(graph, stored)
    state = network.state_dict()
    for convolution, name, norm in _folded(network):
        bias = _stored(stored, f"{convolution}.bias", path)
        stored |= {f"{name}.weight": torch.ones_like(bias), f"{name}.bias": bias}
        stored |= {f"{name}.running_mean": torch.zeros_like(bias)}
        stored |= {f"{name}.running_var": torch.full_like(bias, 1 - norm.eps)}
        stored |= {f"{name}.num_batches_tracked": state[f"{name}.num_batches_tracked"]}
    state = {key: _stored(stored, key, path) for key in state}
    network = fit_shapes(network, state)
    network.load_state_dict(state)
    return network.eval()


def _stored(stored: Mapping[str, Tensor], key: str, path: Path) -> Tensor:
    if key not in stored:
        raise BadInput(f"{path.name}: expected a graph of the recipe's architecture, as export writes it; no {key}")
    return stored[key]


def _linear(graph: onnx.GraphProto, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of linear layers on tokens, which the graph holds transposed, under no name of theirs."""
    made = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        biases = [name for name in node.input if name.endswith(".bias")] if node.op_type == "Add" else []
        products = [made[name] for name in node.input if name in made and made[name].op_type == "MatMul"]
        if biases and products and products[0].input[1] in stored:
            found[biases[0].removesuffix("bias") + "weight"] = stored[products[0].input[1]].T.contiguous()
    return found


@torch.no_grad()
def _measure_norms(network: nn.Module, course: Course, most: int) -> None:
    """Give each norm the mean and variance of what enters it, and the scale and shift that undo them."""
    sums: dict[Norm, list[Tensor]] = {}

    def add(norm: Norm, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].double().transpose(0, 1).flatten(1)
        count = torch.tensor(float(values.shape[1]))
        told = [count, values.sum(1), values.square().sum(1)]
        sums[norm] = [a + b for a, b in zip(sums[norm], told, strict=True)] if norm in sums else told

    hooks = [norm.register_forward_pre_hook(add) for _, _, norm in _folded(network)]
    for images, _ in course.some(most, 8):
        network(images)
    for hook in hooks:
        hook.remove()
    for norm, (count, total, squares) in sums.items():
        mean = total / count
        variance = (squares / count - mean.square()).clamp_min(0)
        norm.running_mean, norm.running_var = mean.float(), variance.float()
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)


def _compare(network: nn.Module, graph: Path, plan: Mapping[str, Any]) -> None:
    """See that the network answers as its graph does."""
    images = golden_input(recipe_of(plan["recipe"]))
    ours = eager(network, OUTPUTS[plan["task"]], bf16=False).answer(images)
    for name, wanted in built(graph, "fp32", REFERENCE).answer(images).items():
        far = float(np.abs(ours[name] - wanted).max() / np.abs(wanted).max())
        if not far < APART:
            raise BadInput(
                f"{plan['id']}, {graph.name}: expected a network that answers as this graph does, got one {far:.1e} of "
                f"its largest {name} away; is [model] of the recipe that of this version?"
            )


def _same_fold(plan: Mapping[str, Any], data: Path, seen: Seen, out: Path, folder: Path) -> None:
    """See that the fold which the recipe leaves out is the one that the network was judged on before."""
    note = _note(folder)
    if note["data"] != data_of(plan, data):
        raise BadInput(f"{plan['id']}: expected the data of its figures.json, got others in {plan['data']}")
    cases, gridded, folds = seen
    fold = int(plan["ship"]["fold"])
    rows = np.flatnonzero(folds[gridded.series] == fold)
    place = weights_folder(plan, out)
    answered = fold_answers(plan, rows, gridded, place, trained_network(plan, place))
    overlap = measure_answers(answered, cases, gridded, rows, plan, bool(plan.get("whole")))
    found = mask_figures(overlap, cases, names_of(plan))["mean dice"]
    told = note["figures"]["crossed"]["masks by fold"][used_folds(plan["folds"], folds).index(fold)]
    if abs(found["value"] - told["value"]) > DRIFT or found["n"] != told["n"]:
        raise BadInput(
            f"{plan['id']}: expected the Dice {told['value']:.4f} of figures.json on the {told['n']} images of fold "
            f"{fold}, got {found['value']:.4f} on {found['n']}; the folds are dealt otherwise: train it anew"
        )
