"""ONNX Runtime on the CPU behind the Engine protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from wetread.errors import EngineError
from wetread.records import Tensor


class ONNXRuntimeEngine:
    """An ONNX Runtime session on the CPU; threads that ask at once share its thread pool."""

    name = "onnxruntime"
    device = "CPU"

    def __init__(self, session: Any) -> None:
        self.version = onnxruntime.__version__
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [item.name for item in session.get_outputs()]

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Run (n, c, y, x) float32 through the graph."""
        try:
            values = self._session.run(self._outputs, {self._input: tensor})
        except Exception as error:
            raise EngineError(f"onnxruntime failed on a tensor of shape {tensor.shape}: {error}") from error
        return {name: np.asarray(value, np.float32) for name, value in zip(self._outputs, values, strict=True)}


def load(data: bytes, precision: str, threads: int, cache: Path | None, streams: int = 1) -> ONNXRuntimeEngine:
    """Open an ONNX file from memory.

    `cache` is not used, nor is `streams`: a session answers any number of threads at once.

    Raises
    ------
    EngineError
        The graph cannot be opened, or the precision is none that the CPU provider has.
    """
    if precision == "bf16":
        raise EngineError("onnxruntime: expected a build in fp32 or int8, got bf16; its CPU provider has none")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores from the stage that comes next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"onnxruntime cannot open the graph: {str(error)[:300]}") from error
    return ONNXRuntimeEngine(session)
