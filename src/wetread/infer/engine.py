"""What every inference engine can do, and which ones are here."""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import numpy as np

from wetread.errors import EngineError
from wetread.records import Tensor


class Engine(Protocol):
    """One build of a model, loaded and ready; several threads may ask at once."""

    name: str
    version: str
    device: str

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Run (n, c, y, x) float32 through the graph: output name -> array.

        Raises
        ------
        EngineError
            The engine failed; OUT-OF-MEMORY if its device is full.
        """


class Loader(Protocol):
    """Opens a graph on one engine."""

    def __call__(self, data: bytes, precision: str, threads: int, cache: Path | None, streams: int = 1) -> Engine:
        """Open the bytes of an ONNX file.

        Parameters
        ----------
        threads
            Of all streams together; 0: all cores.
        cache
            Folder for compiled graphs.
        streams
            How many answers are computed side by side, each by its share of the threads.

        Raises
        ------
        EngineError
            The graph cannot be opened, or not in this precision.
        """


#: engine -> packages, one of which must be installed; the order is the preference before anything was measured
ENGINES: dict[str, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino-gpu": ("openvino",),
    "cuda": ("onnxruntime-gpu",),
    "tensorrt": ("onnxruntime-gpu",),
}
#: engine of a graphics processor -> the device files without which there is none
DEVICES: dict[str, tuple[str, str]] = {
    "openvino-gpu": ("/dev/dri", "renderD*"),
    "cuda": ("/dev", "nvidia[0-9]*"),
    "tensorrt": ("/dev", "nvidia[0-9]*"),
}


def installed() -> dict[str, str]:
    """Name and version of each engine whose package is installed and whose device is there."""
    return {name: number for name in ENGINES if _present(name) and (number := _version(name))}


def _version(name: str) -> str:
    for package in ENGINES[name]:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def _present(name: str) -> bool:
    if name not in DEVICES:
        return True
    folder, pattern = DEVICES[name]
    return any(Path(folder).glob(pattern))


def natively(name: str, precision: str) -> bool:
    """Whether an installed engine has its device, and runs a precision on this host without emulating it."""
    if name.startswith("openvino"):
        from wetread.infer import openvino

        device = "GPU" if name == "openvino-gpu" else "CPU"
        return precision != "bf16" or "BF16" in openvino.capabilities(device)
    if name in DEVICES:
        from wetread.infer import nvidia

        return precision != "bf16" and nvidia.available(name)
    return precision != "bf16"


def loader(name: str) -> Loader:
    """The loader of an engine; its library is imported here and not before.

    Raises
    ------
    EngineError
        No such engine, or its package is not installed.
    """
    if name not in ENGINES:
        raise EngineError(f"engine: expected one of {list(ENGINES)}, got {name!r}")
    try:
        if name.startswith("openvino"):
            from wetread.infer import openvino as module

            return module.load if name == "openvino" else partial(module.load, device="GPU")
        if name in DEVICES:
            from wetread.infer import nvidia

            return partial(nvidia.load, name)
        from wetread.infer import onnxruntime

        return onnxruntime.load
    except ImportError as error:
        raise EngineError(f"engine {name}: not installed; pip install {ENGINES[name][0]}") from error


def finite(outputs: dict[str, Tensor], who: str) -> dict[str, Tensor]:
    """Pass outputs whose every value is a finite number.

    Raises
    ------
    EngineError
        NOT-A-NUMBER: it is never passed on as a probability or a mask.
    """
    for name, values in outputs.items():
        if not np.isfinite(values).all():
            raise EngineError(f"{who}: output {name} holds values that are not finite numbers", "NOT-A-NUMBER")
    return outputs
