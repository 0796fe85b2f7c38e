"""Weights of other people: safetensors, and torch's ZIP checkpoints whose pickle only names tensors.

A pickle is a program.  It is read here as a list of instructions, without running any,
and refused if it names anything but tensors, before torch's own restricted reader sees it.
"""

from __future__ import annotations

import json
import math
import pickletools
from io import BytesIO

import torch
from torch import Tensor

from wetread.errors import ModelError
from wetread.lab.intake.container import Container, open_zip

__all__ = ["is_safetensors", "load_checkpoint", "load_safetensors"]

#: What a tensors' pickle may name.
STORAGES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
NAMED = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in STORAGES),
}
#: Ways to name or make something that the list above does not see.
HIDDEN = ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID")
#: Where a checkpoint may keep its weights.
KEYS = ("state_dict", "model", "net", "network", "model_state_dict")
#: safetensors' names of element types -> bytes.
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
MOST_HEADER = 16 << 20


def load_checkpoint(what: str, data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint that `torch.save` wrote.

    Raises
    ------
    ModelError
        It is a bare pickle, TorchScript, names anything but tensors, or holds no state dict.
    """
    if data[:4] != b"PK\x03\x04":
        raise ModelError(
            f"{what}: expected a ZIP checkpoint of torch 1.6 or later, got a bare pickle or something else: "
            "a pickle is a program; save the weights as safetensors where it is trusted"
        )
    pickle = _pickle(open_zip(what, data))
    _scan(what, pickle)
    try:
        told = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(f"{what}: expected tensors, got {type(error).__name__}; save them as safetensors") from error
    return _state(what, told)


def _pickle(archive: Container) -> bytes:
    if any("code" in name.split("/")[:-1] or name.endswith("constants.pkl") for name in archive.names):
        raise ModelError(
            f"{archive.what}: expected weights, got TorchScript, which is a program; give the weights (model.pt of the "
            "bundle, or safetensors) or an ONNX file"
        )
    pickles = [name for name in archive.names if name.endswith(".pkl")]
    if len(pickles) != 1 or not pickles[0].endswith("data.pkl"):
        raise ModelError(f"{archive.what}: expected one data.pkl as torch writes it, got {len(pickles)} pickles")
    return archive.read(pickles[0])


def _scan(what: str, pickle: bytes) -> None:
    """Refuse a pickle that names anything but tensors; no instruction of it is run."""
    try:
        for instruction, argument, _ in pickletools.genops(pickle):
            named = instruction.name == "GLOBAL" and argument not in NAMED
            if named or instruction.name in HIDDEN:
                what_named = repr(str(argument)[:80]) if named else instruction.name
                raise ModelError(
                    f"{what}: expected a pickle that names only tensors, got {what_named}: it could run a program; "
                    "do not load it anywhere; save the weights as safetensors where it is trusted"
                )
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelError(f"{what}: expected a pickle, got a damaged one; fetch it again") from error


def _state(what: str, told: object) -> dict[str, Tensor]:
    for key in KEYS:
        if isinstance(told, dict) and isinstance(told.get(key), dict):
            told = told[key]
            break
    if not isinstance(told, dict) or not told or not all(isinstance(value, Tensor) for value in told.values()):
        raise ModelError(f"{what}: expected tensors by name, alone or under one of {KEYS}, got something else")
    return {str(name): value for name, value in told.items()}


def is_safetensors(data: bytes) -> bool:
    """Whether the bytes start as safetensors: the length of a JSON header, then the header."""
    return len(data) > 9 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def load_safetensors(what: str, data: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises
    ------
    ModelError
        The header is no header, or sizes, shapes and offsets contradict each other or the file.
    """
    from safetensors.torch import load

    _check_header(what, data)
    try:
        return dict(load(data))
    except Exception as error:
        raise ModelError(f"{what}: expected safetensors, got {type(error).__name__}; fetch it again") from error


def _check_header(what: str, data: bytes) -> None:
    length = int.from_bytes(data[:8], "little")
    if not is_safetensors(data) or length > MOST_HEADER:
        raise ModelError(f"{what}: expected a safetensors header of at most {MOST_HEADER} bytes, got {length}")
    try:
        header = json.loads(data[8 : 8 + length])
        tensors = {name: item for name, item in header.items() if name != "__metadata__"}
        spans = sorted(
            (start, end, BYTES[item["dtype"]] * math.prod(item["shape"]))
            for item in tensors.values()
            for start, end in [item["data_offsets"]]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        got = "no JSON" if isinstance(error, ValueError) else f"a table without them ({type(error).__name__})"
        raise ModelError(
            f"{what}: expected a header of {length} bytes with shapes, offsets and element types in JSON, got {got}; "
            "fetch it again"
        ) from error
    at = 0
    for start, end, size in spans:
        if start != at or end - start != size:
            raise ModelError(
                f"{what}: expected tensors one after the other, each of its shape's size, got a gap or overlap"
            )
        at = end
    if at != len(data) - 8 - length:
        raise ModelError(f"{what}: expected {at} bytes of tensors, got {len(data) - 8 - length}; fetch it again")
