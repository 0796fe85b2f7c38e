"""OpenVINO behind the Engine protocol."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from wetread.errors import EngineError
from wetread.records import Tensor


class OpenVINOEngine:
    """A compiled OpenVINO model with one inference request."""

    name = "openvino"
    device = "CPU"

    def __init__(self, compiled: Any, outputs: list[str]) -> None:
        self.version = version("openvino")
        self._request = compiled.create_infer_request()
        self._outputs = outputs

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Run (n, c, y, x) float32 through the graph."""
        try:
            values = self._request.infer([tensor], share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"openvino failed on a tensor of shape {tensor.shape}: {error}") from error
        return {name: np.array(values[i], np.float32) for i, name in enumerate(self._outputs)}


def capabilities() -> tuple[str, ...]:
    """What the CPU plugin runs in hardware here, e.g. "FP32", "BF16", "INT8"."""
    return tuple(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def load(data: bytes, precision: str, threads: int, cache: Path | None) -> OpenVINOEngine:
    """Compile an ONNX file for the CPU.

    The precision hint is pinned: left alone, OpenVINO runs fp32 graphs in bf16 where
    the CPU can, and the build's name would no longer tell the truth.

    Raises
    ------
    EngineError
        The graph cannot be compiled.
    """
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    if cache is not None:
        options["CACHE_DIR"] = str(cache)
    try:
        core = openvino.Core()
        graph = core.read_model(data, b"")
        # Before compiling: afterwards an output may bear the names of nodes that were fused into it.
        outputs = [port.get_any_name() for port in graph.outputs]
        return OpenVINOEngine(core.compile_model(graph, "CPU", options), outputs)
    except RuntimeError as error:
        raise EngineError(f"openvino cannot compile the graph: {str(error)[:300]}") from error
