"""A foreign model -> a model folder without a certificate."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import onnx
from torch import Tensor, nn

from wetread.errors import BadInput, ModelError
from wetread.infer import read
from wetread.lab import zoo
from wetread.lab.crossed import OUTPUTS
from wetread.lab.export import export_onnx
from wetread.lab.folder import write_folder
from wetread.lab.intake.bundle import bundle_root, described, load_bundle, put
from wetread.lab.intake.checkpoint import is_safetensors, load_checkpoint, load_safetensors
from wetread.lab.intake.container import Container, bounded_bytes, open_folder, open_zip
from wetread.lab.intake.description import Description, read_description
from wetread.lab.intake.graph import adapt, judge
from wetread.lab.intake.trial import try_once

__all__ = ["take_in"]

#: What a file starts with that is neither weights nor a graph -> what it is, and what to do.
FOREIGN = {
    b"\x80": "a pickle, which is a program; save the weights as safetensors where it is trusted",
    b"\x89HDF": "HDF5 (Keras); convert it with tf2onnx and import the ONNX file",
    b"\x1f\x8b": "gzip; unpack it first",
    b"7z": "7-Zip; unpack it first",
    b"Rar!": "RAR; unpack it first",
}


def take_in(source: Path, description: Path, models: Path) -> Path:
    """Turn a MONAI bundle, an ONNX file or a checkpoint into a model folder; it holds no certificate and does not load.

    Parameters
    ----------
    source
        Folder or ZIP of a MONAI bundle; an ONNX file; safetensors or a torch checkpoint of an architecture of the zoo.
    description
        TOML: what the model is, which recipe it wants, what its labels mean.
    models
        Folder of model folders.

    Returns
    -------
    The new folder, ``<models>/<id>``.

    Raises
    ------
    ModelError
        The source is hostile, damaged, or does not do what the description says.
    BadInput
        Source or description is not there or not understood, no node could read the folder, or the id is taken.
    """
    if not source.exists():
        raise BadInput(f"{source}: expected a bundle, an ONNX file or weights, found nothing")
    with tempfile.TemporaryDirectory() as scratch:
        told, kind, graph = _graph(source, description, Path(scratch))
        target = models / str(told.table["id"])
        if target.exists():
            raise BadInput(f"{target}: expected an id that is free, found a model; choose another id")
        shape = (told.recipe.channels, *told.recipe.grid)
        file = Path(scratch) / "fp32.onnx"
        onnx.save_model(adapt(source.name, graph, told.meaning, shape), str(file))
        _check_answer(source.name, told, file, shape)
        certificate = {"model": told.table["id"], "method": "none: imported, compared with nothing", "builds": []}
        made = write_folder(Path(scratch) / target.name, told.table, {"fp32": file}, certificate)
        _check_readable(made, description)
        (made / "card.md").write_text(_card(told, source, kind), encoding="utf-8")
        models.mkdir(parents=True, exist_ok=True)
        shutil.move(str(made), target)
    return target


def _graph(source: Path, description: Path, scratch: Path) -> tuple[Description, str, onnx.ModelProto]:
    """Return the description, what the source is, and its graph; a hostile source is refused unopened."""
    if source.is_dir():
        return _from_bundle(open_folder(source), description, scratch)
    data = bounded_bytes(source)
    # First of all: the length of a header may be the byte that a pickle starts with.
    if is_safetensors(data):
        return _from_weights("safetensors", load_safetensors(source.name, data), source, description, scratch)
    for start, what in FOREIGN.items():
        if data.startswith(start):
            raise ModelError(f"{source.name}: expected ONNX, safetensors or a bundle, got {what}")
    if data[:4] == b"PK\x03\x04":
        container = open_zip(source.name, data)
        if bundle_root(container) is not None:
            return _from_bundle(container, description, scratch)
        return _from_weights("a torch checkpoint", load_checkpoint(source.name, data), source, description, scratch)
    if source.suffix.lower() == ".safetensors":
        raise ModelError(
            f"{source.name}: expected a safetensors header that the file can hold, got none; fetch it again"
        )
    return read_description(description, {}), "ONNX", judge(source.name, data)


def _from_bundle(container: Container, description: Path, scratch: Path) -> tuple[Description, str, onnx.ModelProto]:
    root = bundle_root(container)
    if root is None:
        raise ModelError(f"{container.what}: expected a MONAI bundle with configs/metadata.json, found none")
    told = read_description(description, described(container, root))
    return told, "a MONAI bundle", _exported(container.what, load_bundle(container, root), told, ("logits",), scratch)


def _from_weights(
    kind: str, state: dict[str, Tensor], source: Path, description: Path, scratch: Path
) -> tuple[Description, str, onnx.ModelProto]:
    told = read_description(description, {})
    options: dict[str, Any] = dict(told.table.get("model", {}))
    try:
        network = zoo.build(options | ({"pretrained": False} if "pretrained" in options else {}))
    except (BadInput, KeyError, TypeError, ValueError) as error:
        known = sorted(zoo.ARCHITECTURES)
        raise BadInput(
            f"{description}: [model]: expected architecture, one of {known}, and its options, got {options}: {error}"
        ) from error
    outputs = OUTPUTS[str(told.table["task"])]
    return told, kind, _exported(source.name, put(source.name, network, state), told, outputs, scratch)


def _exported(
    what: str, network: nn.Module, told: Description, outputs: tuple[str, ...], scratch: Path
) -> onnx.ModelProto:
    try:
        file = export_onnx(network, told.recipe, outputs, scratch / "exported.onnx")
    except Exception as error:
        # torch's exporter raises whatever the network did.
        raise ModelError(f"{what}: the network does not run on {told.recipe.grid}: {str(error)[:200]}") from error
    return judge(what, file.read_bytes())


def _check_answer(what: str, told: Description, file: Path, shape: tuple[int, ...]) -> None:
    """Run the graph once and compare its answer with what the description promises."""
    labels = len(told.table["ship"]["label"])
    found = try_once(what, file, shape)
    expected = (1, labels, *shape[1:]) if told.table["task"] == "segmentation" else (1, labels)
    if found["logits"] != expected:
        raise ModelError(
            f"{what}: expected logits of shape {expected} for {labels} labels, got {found['logits']}; "
            "choose the channels with [graph] keep"
        )
    if "map" in found and not (found["map"][:2] == (1, labels) and len(found["map"]) == 4):
        raise ModelError(
            f"{what}: expected a map of shape (1, {labels}, y, x), one channel a label, got {found['map']}; "
            "leave [graph] map out"
        )


def _check_readable(folder: Path, description: Path) -> None:
    """Read the folder as a node would: one that it cannot read keeps all other models from loading."""
    try:
        read(folder)
    except ModelError as error:
        said = str(error).removeprefix(f"{folder / 'model.toml'}: ")
        raise BadInput(f"{description}: {said}; see docs/reference/model-folder.md") from error


def _card(told: Description, source: Path, kind: str) -> str:
    """Return the card: what is known, and that nothing was measured."""
    ship = told.table["ship"]
    data = "".join(f"- {item}\n" for item in ship["training_data"])
    digest = "" if source.is_dir() else f", SHA-256 `{hashlib.sha256(source.read_bytes()).hexdigest()}`"
    return (
        f"# {told.table['id']} {ship['version']}\n\n{ship['summary']}\n\n"
        "Decision support for research and evaluation; not a certified medical device.\n\n"
        f"**Imported and not certified: it does not load.** From {kind} `{source.name}`{digest}. No figure of it was "
        "measured here; those of its makers, if any, hold for their data.\n\n"
        f"## Licence and sources\n\n{ship['licence']}.\n\n{data}"
    )
