"""A MONAI bundle -> network: only its plain values are read; nothing that its configs name is called.

MONAI's own parser evaluates ``$`` expressions and imports any ``_target_``: a bundle is a
program.  Here ``network_def`` must name a network of `NETWORKS` with plain arguments.

References
----------
MONAI bundle specification, https://docs.monai.io/en/stable/mb_specification.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wetread.errors import ModelError
from wetread.lab.intake.checkpoint import load_checkpoint, load_safetensors
from wetread.lab.intake.container import Container

__all__ = ["NETWORKS", "bundle_root", "described", "load_bundle", "put"]

#: MONAI's networks that answer one tensor.
NETWORKS = (
    *("UNet", "BasicUNet", "AttentionUnet", "SegResNet", "DynUNet", "FlexibleUNet", "UNETR", "SwinUNETR", "VNet"),
    *("DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264", "EfficientNetBN", "SEResNet50", "SEResNet101"),
)
CONFIGS = ("inference.json", "train.json", "evaluate.json")
WEIGHTS = ("models/model.safetensors", "models/model.pt")


def bundle_root(container: Container) -> str | None:
    """Return what stands before ``configs/metadata.json``: "" or a folder; None: this is no bundle."""
    for name in container.names:
        if name.endswith("configs/metadata.json") and name.count("/") <= 2:
            return name.removesuffix("configs/metadata.json")
    return None


def described(container: Container, root: str) -> dict[str, Any]:
    """Return what the bundle's metadata says about itself, under the names of a description's ``[ship]``."""
    metadata = _json(container, f"{root}configs/metadata.json")
    told = {
        "version": metadata.get("version"),
        "summary": metadata.get("description"),
        "licence": metadata.get("license") or metadata.get("copyright"),
        "training_data": [metadata["data_source"]] if isinstance(metadata.get("data_source"), str) else None,
    }
    return {name: value for name, value in told.items() if value}


def load_bundle(container: Container, root: str) -> nn.Module:
    """Return the bundle's network with its weights.

    Raises
    ------
    ModelError
        The network is not a known one with plain arguments, or the weights are hostile or do not fit.
    """
    config = next((f"{root}configs/{name}" for name in CONFIGS if f"{root}configs/{name}" in container.names), None)
    if config is None:
        raise ModelError(f"{container.what}: expected one of {CONFIGS} in configs/, found none; YAML is not read")
    table = _json(container, config)
    state = _weights(container, root)
    name, arguments = _network(f"{container.what}/{config}", table)
    from monai.networks import nets

    try:
        with torch.device("meta"):  # sizes are compared before memory is taken
            _fit(container.what, getattr(nets, name)(**arguments), state)
        network: nn.Module = getattr(nets, name)(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{container.what}/{config}: {name} refuses its arguments: {str(error)[:200]}") from error
    return put(container.what, network, state)


def put(what: str, network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Return a network with the given weights, ready to answer.

    Raises
    ------
    ModelError
        A name or a shape differs.
    """
    _fit(what, network, state)
    network.load_state_dict(dict(state))
    return network.float().eval()


def _fit(what: str, network: nn.Module, state: Mapping[str, Tensor]) -> None:
    ours = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    theirs = {name: tuple(value.shape) for name, value in state.items()}
    if ours != theirs:
        differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        first = differing[0]
        raise ModelError(
            f"{what}: expected {len(ours)} tensors of the network's shapes, got {len(differing)} that differ, first "
            f"{first!r}: expected {ours.get(first)}, got {theirs.get(first)}"
        )


def _weights(container: Container, root: str) -> dict[str, Tensor]:
    for name in WEIGHTS:
        if root + name in container.names:
            data = container.read(root + name)
            load = load_safetensors if name.endswith("safetensors") else load_checkpoint
            return load(f"{container.what}/{name}", data)
    scripted = any(name.endswith(".ts") for name in container.names)
    found = "only TorchScript, which is a program" if scripted else "none"
    raise ModelError(f"{container.what}: expected one of {WEIGHTS}, found {found}")


def _network(where: str, table: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    definition = table.get("network_def", table.get("network"))
    if not isinstance(definition, dict) or "_target_" not in definition:
        raise ModelError(f"{where}: expected network_def with a _target_, got {type(definition).__name__}")
    name = str(definition["_target_"]).rpartition(".")[2]
    target = str(definition["_target_"])
    if name not in NETWORKS or target not in (name, f"monai.networks.nets.{name}"):
        raise ModelError(
            f"{where}: expected a network of {NETWORKS}, got {target!r}; export it to ONNX and import that"
        )
    arguments = {key: _plain(where, key, value, table) for key, value in definition.items() if key != "_target_"}
    # A pretrained network would be fetched from the net; its weights come with the bundle.
    return name, arguments | ({"pretrained": False} if "pretrained" in arguments else {})


def _plain(where: str, key: str, value: Any, table: Mapping[str, Any]) -> Any:
    """Return a plain value; ``@name`` may stand for a plain value of the config."""
    if isinstance(value, str) and value.startswith("@") and not isinstance(table.get(value[1:], "@"), (str, dict)):
        value = table[value[1:]]
    if isinstance(value, list):
        return [_plain(where, key, item, {}) for item in value]
    if isinstance(value, dict) and not any(str(name).startswith("_") for name in value):
        return {name: _plain(where, f"{key}.{name}", item, {}) for name, item in value.items()}
    if value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and value[:1] not in "$@%"):
        return value
    raise ModelError(
        f"{where}: {key}: expected a plain value, got {str(value)[:60]!r}; expressions are programs and are not run: "
        "write the value in its place"
    )


def _json(container: Container, name: str) -> dict[str, Any]:
    try:
        table = json.loads(container.read(name))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{container.what}: {name}: expected JSON, got {type(error).__name__}") from error
    if not isinstance(table, dict):
        raise ModelError(f"{container.what}: {name}: expected a JSON object, got {type(table).__name__}")
    return table
