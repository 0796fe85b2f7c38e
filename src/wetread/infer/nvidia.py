"""ONNX Runtime's CUDA and TensorRT providers behind the Engine protocol.

An input is bound once and copied straight to the device, outputs straight into arrays of
this process: without a binding each would be copied twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from wetread.errors import EngineError
from wetread.records import Tensor

PROVIDERS = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
#: Left alone, CUDA rounds the factors of float32 products to TF32, which keeps 10 bits of 23.  TensorRT does too, and
#: ONNX Runtime's provider has no option against it: https://github.com/microsoft/onnxruntime/issues/26029
FLOAT32 = {"use_tf32": "0"}
#: How CUDA, TensorRT and ONNX Runtime's arena say that the device is full.
FULL = ("out of memory", "failed to allocate", "bad_alloc", "cudaerrormemoryallocation")


class NvidiaEngine:
    """A session on one device; several threads may ask at once, each with a binding of its own."""

    device = "GPU"

    def __init__(self, name: str, session: Any) -> None:
        self.name = name
        self.version = onnxruntime.__version__
        self._session = session
        self._input = session.get_inputs()[0].name
        self._outputs = [item.name for item in session.get_outputs()]

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Run (n, c, y, x) float32 through the graph."""
        try:
            binding = self._session.io_binding()
            binding.bind_cpu_input(self._input, np.ascontiguousarray(tensor))
            for name in self._outputs:
                binding.bind_output(name, "cpu")
            self._session.run_with_iobinding(binding)
            values = binding.copy_outputs_to_cpu()
        except Exception as error:
            raise failure(self.name, tensor.shape, error) from error
        return {name: np.asarray(value, np.float32) for name, value in zip(self._outputs, values, strict=True)}


def failure(name: str, shape: tuple[int, ...], error: Exception) -> EngineError:
    """What a library's error means: OUT-OF-MEMORY where it says that the device is full."""
    full = any(word in str(error).casefold() for word in FULL)
    code = "OUT-OF-MEMORY" if full else "ENGINE-FAILED"
    return EngineError(f"{name} failed on a tensor of shape {shape}: {str(error)[:300]}", code)


def available(name: str) -> bool:
    """Whether the installed ONNX Runtime was built with the provider of an engine."""
    return PROVIDERS[name] in onnxruntime.get_available_providers()


def load(name: str, data: bytes, precision: str, threads: int, cache: Path | None, streams: int = 1) -> NvidiaEngine:
    """Open an ONNX file on the first device.

    A provider that does not come up must not answer from the CPU under its name: the session is
    then refused.  `threads` and `streams` are not used.

    Raises
    ------
    EngineError
        The graph cannot be opened, the provider is not there, or the precision is bf16.
    """
    if precision == "bf16":
        raise EngineError(f"{name}: expected a build in fp32 or int8, got bf16, which is made for processors")
    if not available(name):
        raise EngineError(f"{name}: expected an ONNX Runtime with {PROVIDERS[name]}; pip install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    chosen: list[tuple[str, dict[str, Any]]] = [(PROVIDERS["cuda"], FLOAT32)]
    if name == "tensorrt":
        caching = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)} if cache is not None else {}
        chosen.insert(0, (PROVIDERS[name], caching))
    try:
        session = onnxruntime.InferenceSession(data, options, providers=chosen)
    except Exception as error:
        raise EngineError(f"{name} cannot open the graph: {str(error)[:300]}") from error
    if PROVIDERS[name] not in session.get_providers():
        raise EngineError(f"{name}: expected {PROVIDERS[name]}, got {session.get_providers()}; see `wetread doctor`")
    return NvidiaEngine(name, session)
