"""Trained weights as a file: the recipe that made them and the tensors, nothing executable."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wetread.errors import BadInput
from wetread.files import replacing
from wetread.lab import zoo

__all__ = ["fit_shapes", "load_weights", "put_saved", "read_saved", "save_weights"]


def save_weights(path: Path, table: Mapping[str, Any], model: nn.Module) -> None:
    """Write recipe and tensors; a power cut leaves the old file or the new one."""
    put_saved(path, {"table": dict(table), "state": model.state_dict()})


def put_saved(path: Path, told: Mapping[str, Any]) -> None:
    """Write what `read_saved` reads; a kill, a power cut or a full disk leaves the old file or the new one.

    Raises
    ------
    OSError
        The file cannot be written, with its name.
    """
    try:
        with replacing(path) as file:
            torch.save(dict(told), file)
    except (OSError, RuntimeError) as error:
        # Of a full disk torch says "unexpected pos", and why only in the context.
        reason = error if isinstance(error, OSError) else error.__context__
        if not isinstance(reason, OSError):
            raise
        raise OSError(reason.errno, reason.strerror, str(path)) from error


def read_saved(path: Path) -> dict[str, Any]:
    """Return what `torch.save` wrote.

    Raises
    ------
    BadInput
        The file is damaged or another.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise BadInput(
            f"{path.parent.name}/{path.name}: expected what a training saved, got a damaged file "
            f"({type(error).__name__}); train again with --fresh"
        ) from error
    if not isinstance(saved, dict):
        raise BadInput(
            f"{path.parent.name}/{path.name}: expected what a training saved, got a {type(saved).__name__}; train "
            "again with --fresh"
        )
    return saved


def load_weights(path: Path) -> tuple[dict[str, Any], nn.Module]:
    """Return the recipe and the network, which may have been pruned.

    Raises
    ------
    BadInput
        There is no such file, or it is damaged or another.
    """
    if not path.is_file():
        raise BadInput(f"expected weights at {path}, found none; train the model first")
    saved = read_saved(path)
    if not {"table", "state"} <= saved.keys():
        raise BadInput(
            f"{path.parent.name}/{path.name}: expected a network and the recipe that it learnt by, got another file; "
            "run `wetread lab train` again"
        )
    table: dict[str, Any] = saved["table"]
    options = {key: value for key, value in table["model"].items() if key != "pretrained"}
    model = fit_shapes(zoo.build(options), saved["state"])
    model.load_state_dict(saved["state"])
    return table, model.eval()


def fit_shapes(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Cut each layer of a network to the shapes of its weights, as pruning left them."""
    for name, module in model.named_modules():
        weight = state.get(f"{name}.weight")
        if weight is None or weight.shape == getattr(module, "weight", weight).shape:
            continue
        for key, value in dict(module.named_parameters(recurse=False)).items():
            setattr(module, key, nn.Parameter(torch.empty_like(state[f"{name}.{key}"]), value.requires_grad))
        if isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            module.in_channels, module.out_channels = weight.shape[0], weight.shape[1]
        elif isinstance(module, nn.Conv2d | nn.Conv3d):
            module.out_channels = weight.shape[0]
            # A depthwise layer keeps one channel a group.
            module.groups = weight.shape[0] if module.groups > 1 else 1
            module.in_channels = weight.shape[1] * module.groups
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = weight.shape
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.num_features = weight.shape[0]
            for key in ("running_mean", "running_var"):
                setattr(module, key, torch.empty_like(state[f"{name}.{key}"]))
    return model
