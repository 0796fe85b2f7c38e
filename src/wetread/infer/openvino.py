"""OpenVINO behind the Engine protocol, on the CPU or on Intel's graphics processor."""

from __future__ import annotations

import contextlib
import functools
import sys
from importlib.metadata import version
from pathlib import Path
from queue import LifoQueue
from typing import Any

import numpy as np

from wetread.errors import EngineError
from wetread.records import Tensor

# Left in, it tells Google Analytics of each import, from a process of its own, and notes an id in the home folder.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402

#: How the plug-ins say that the device is full.
FULL = ("out of memory", "out_of_host_memory", "out_of_resources", "bad_alloc", "exceeded max size")


class OpenVINOEngine:
    """A compiled OpenVINO model with one inference request a stream.

    A request answers one thread at a time; a thread that finds none free waits for one.
    """

    def __init__(self, compiled: Any, outputs: list[str], name: str, device: str, streams: int) -> None:
        self.name, self.device = name, device
        self.version = version("openvino")
        self._free: LifoQueue[Any] = LifoQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())
        self._outputs = outputs

    def run(self, tensor: Tensor) -> dict[str, Tensor]:
        """Run (n, c, y, x) float32 through the graph."""
        request = self._free.get()
        try:
            values = request.infer([tensor], share_inputs=True)
            return {name: np.array(values[i], np.float32) for i, name in enumerate(self._outputs)}
        except RuntimeError as error:
            full = any(word in str(error).casefold() for word in FULL)
            said = f"{self.name} failed on a tensor of shape {tensor.shape}: {error}"
            raise EngineError(said, "OUT-OF-MEMORY" if full else "ENGINE-FAILED") from error
        finally:
            self._free.put(request)


@functools.cache
def capabilities(device: str = "CPU") -> tuple[str, ...]:
    """What a plugin runs in hardware here, e.g. "FP32", "BF16", "INT8"; asked once a process."""
    core = openvino.Core()
    if device not in core.available_devices:
        return ()
    return tuple(core.get_property(device, "OPTIMIZATION_CAPABILITIES"))


def load(
    data: bytes, precision: str, threads: int, cache: Path | None, streams: int = 1, device: str = "CPU"
) -> OpenVINOEngine:
    """Compile an ONNX file.

    The precision hint is pinned: left alone, OpenVINO runs fp32 graphs in bf16 where
    the CPU can, and the build's name would no longer tell the truth.

    Parameters
    ----------
    device
        "CPU" or "GPU".

    Raises
    ------
    EngineError
        The graph cannot be compiled.
    """
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
    }
    if device == "CPU":
        # Pinned, each model would have its threads on the same first cores, where those of another one work.
        options["ENABLE_CPU_PINNING"] = False
        options |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    if cache is not None:
        with contextlib.suppress(OSError):  # without a folder that can be made it compiles each time, and as well
            cache.mkdir(parents=True, exist_ok=True)
            options["CACHE_DIR"] = str(cache)
    name = "openvino" if device == "CPU" else "openvino-gpu"
    try:
        core = openvino.Core()
        graph = core.read_model(data, b"")
        # Before compiling: afterwards an output may bear the names of nodes that were fused into it.
        outputs = [port.get_any_name() for port in graph.outputs]
        return OpenVINOEngine(core.compile_model(graph, device, options), outputs, name, device, streams)
    except RuntimeError as error:
        raise EngineError(f"{name} cannot compile the graph: {str(error)[:300]}") from error
