"""What every inference engine can do, and which ones are here."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from wetread.errors import EngineError
from wetread.records import Tensor


class Engine(Protocol):
    """One build of a model, loaded and ready."""

    name: str
    version: str
    device: str

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Run (n, c, y, x) float32 through the graph: output name -> array.

        Raises
        ------
        EngineError
            The engine failed, or an output holds a value that is no finite number.
        """


#: bytes of an ONNX file, precision, threads (0: all cores), folder for compiled graphs or None
Loader = Callable[[bytes, str, int, "Path | None"], Engine]

#: engine -> package; the order is the preference before anything was measured
ENGINES: dict[str, str] = {"openvino": "openvino", "onnxruntime": "onnxruntime"}


def installed() -> dict[str, str]:
    """Name and version of each engine whose package is installed."""
    found = {}
    for name, package in ENGINES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:
            continue
    return found


def natively(name: str, precision: str) -> bool:
    """Whether an installed engine runs a precision on this host without emulating it."""
    if precision != "bf16":
        return True
    if name != "openvino":
        return False
    from wetread.infer import openvino

    return "BF16" in openvino.capabilities()


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
        if name == "openvino":
            from wetread.infer import openvino as module

            return module.load
        from wetread.infer import onnxruntime

        return onnxruntime.load
    except ImportError as error:
        raise EngineError(f"engine {name}: not installed; pip install {ENGINES[name]}") from error
