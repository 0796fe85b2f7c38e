"""From weights to builds, the same for films and series: where the weights lie, export, int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wetread.errors import BadInput
from wetread.lab.crossed import OUTPUTS, fold_folder
from wetread.lab.export import export_onnx
from wetread.lab.folder import exported, sha256_of
from wetread.lab.plan import recipe_of
from wetread.lab.quantize import quantize_onnx
from wetread.lab.weights import load_weights
from wetread.records import Tensor

__all__ = [
    *("FLOAT_BUILDS", "attends", "export_builds", "float_builds", "int8_builds", "judged_builds", "note_source"),
    "weights_folder",
]

#: Weights in the run folder -> build.
FLOAT_BUILDS = {"weights.pt": "fp32", "weights-pruned.pt": "pruned-fp32"}


def weights_folder(table: Mapping[str, Any], out: Path) -> Path:
    """Return where the weights lie that ship: of a recipe with folds, those of one of them.

    Raises
    ------
    BadInput
        The recipe, of a model that does not ship, does not say which.
    """
    model = str(table["id"])
    if "folds" not in table:
        return out / model
    if "fold" not in table["ship"]:
        raise BadInput(f"{model}, [ship]: expected fold, whose network is to become builds, found none")
    return fold_folder(out, model, int(table["ship"]["fold"]))


def export_builds(table: Mapping[str, Any], out: Path) -> dict[str, Path]:
    """Write the float builds of a model, whole and (if it was pruned) pruned, to ``<id>/builds``.

    Raises
    ------
    BadInput
        The model was not trained in this run folder.
    """
    folder = weights_folder(table, out)
    return {
        name: _exported(folder / file, out / str(table["id"]) / "builds" / f"{name}.onnx")
        for file, name in FLOAT_BUILDS.items()
        if file == "weights.pt" or (folder / file).exists()
    }


def _exported(weights: Path, target: Path) -> Path:
    trained, network = load_weights(weights)
    if target.is_file() and trained.get("recovered") == sha256_of(target):
        return target  # the graph that these weights were read from
    target.parent.mkdir(parents=True, exist_ok=True)
    export_onnx(network, recipe_of(trained["recipe"]), OUTPUTS[trained["task"]], target)
    return note_source(target, weights)


def note_source(file: Path, source: Path) -> Path:
    """Note beside a file of which other it was made, for `judged_builds`; return it."""
    _note(file).write_text(sha256_of(source), encoding="utf-8")
    return file


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.of")


def judged_builds(table: Mapping[str, Any], out: Path) -> dict[str, Path]:
    """Return the builds that lie in a run folder, the fp32 parent first: those of the weights that lie there.

    Raises
    ------
    BadInput
        The model was not exported, or a build or the pruned network was made of weights that were trained anew since:
        of others, which may have learnt from the patients that it would be judged on.
    """
    folder, builds = weights_folder(table, out), float_builds(table, out)["fp32"].parent
    made = [("prune", folder / "weights-pruned.pt", folder / "weights.pt")]
    made += [("export", builds / f"{name}.onnx", folder / weights) for weights, name in FLOAT_BUILDS.items()]
    made += [("quantize", _small(one), one) for _, one, _ in made[1:]]
    for verb, file, source in made:
        note, known = _note(file), sha256_of(source) if source.is_file() else ""
        if file.is_file() and note.is_file() and note.read_text(encoding="utf-8") != known:
            raise BadInput(
                f"{file}: expected what was made of the {source.name} that lies there, got what was made of another; "
                f"run `wetread lab {verb}` again, or delete it"
            )
    return exported(builds)


def _small(parent: Path) -> Path:
    return parent.with_name(parent.name.replace("fp32", "int8"))


def attends(model: Mapping[str, Any]) -> bool:
    """Whether the network of a ``[model]`` table has Transformer blocks."""
    return "transformer" in str(model["architecture"]) and model.get("depth") != 0


def float_builds(table: Mapping[str, Any], out: Path) -> dict[str, Path]:
    """Return the float builds that were exported, the fp32 parent first.

    Raises
    ------
    BadInput
        The model was not exported.
    """
    folder = out / str(table["id"]) / "builds"
    files = {name: folder / f"{name}.onnx" for name in FLOAT_BUILDS.values()}
    if not files["fp32"].exists():
        raise BadInput(f"expected {files['fp32']}, found none; export the model first")
    return {name: path for name, path in files.items() if path.exists()}


def int8_builds(table: Mapping[str, Any], out: Path, samples: Sequence[Tensor], aware: bool = False) -> dict[str, Path]:
    """Write the int8 build of each float build.

    Parameters
    ----------
    samples
        Calibration tensors of one image each, from training data.
    aware
        From the weights that were trained to be rounded, which lie beside the others as ``aware-*``.

    Raises
    ------
    BadInput
        The model was not exported.
    """
    builds: dict[str, Path] = {}
    weights = {name: weights_folder(table, out) / f"aware-{file}" for file, name in FLOAT_BUILDS.items()}
    for name, parent in float_builds(table, out).items():
        small = _small(parent)
        source = _exported(weights[name], parent.with_name(f"aware-{parent.name}")) if aware else parent
        most = float(table.get("quantize", {}).get("max_drop", 0.0))
        quantize_onnx(source, samples, small, transformer=attends(table["model"]), max_drop=most)
        builds[small.stem] = note_source(small, parent)
    return builds
