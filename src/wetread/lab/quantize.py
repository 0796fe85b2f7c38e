"""Int8 after training by NNCF's ONNX backend, if need be with the layers that lose most left in float.

Signed activations are stored as uint8 with the zero point 128 higher, which are the same values: where a processor
has no instruction for the product of two signed numbers (AVX-512 VNNI without AMX), OpenVINO 2026.4 computes networks
with skips wrongly from int8 ones, and rightly from these.

References
----------
Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, arXiv:1712.05877.
Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019, arXiv:1906.04721 (bias correction).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from wetread.lab.half import whole
from wetread.measures import dice
from wetread.records import Tensor

# Left in, it tells Google Analytics of each quantization: see `wetread.infer.openvino`.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import nncf  # noqa: E402

__all__ = ["agreement", "quantize_onnx"]

#: Outputs whose layers stay in float: they are tiny, and the answer is read from them.
FLOAT_LAYERS = ("Gemm",)


#: Of so many calibration tensors one is set aside to judge by, where a loss is bounded.
JUDGED = 4


def quantize_onnx(
    parent: Path, samples: Sequence[Tensor], path: Path, *, transformer: bool = False, max_drop: float = 0.0
) -> Path:
    """Write the int8 build of an fp32 ONNX file.

    Parameters
    ----------
    parent
        The fp32 build.
    samples
        Calibration tensors (1, c, y, x) or (1, c, z, y, x) float32, from training data.
    path
        File to write.
    transformer
        Leave attention's softmax and norms in float and balance the perceptrons' activations.
    max_drop
        How far the mean `agreement` with the parent may fall on every fourth tensor, on which nothing is then
        calibrated: layers go back to float, the ones that lose most first, until it holds (NNCF's accuracy control).
        0: whatever it loses; the certificate judges.
    """
    model = onnx.shape_inference.infer_shapes(whole(onnx.load(parent)))
    keep = _kept_in_float(model)
    judged = list(samples[::JUDGED]) if max_drop else []
    seen = [one for at, one in enumerate(samples) if not max_drop or at % JUDGED]
    how: dict[str, Any] = {
        "preset": nncf.QuantizationPreset.MIXED,
        "subset_size": len(seen),
        "fast_bias_correction": transformer,  # the slow one fails on graphs with attention and skips
        "model_type": nncf.ModelType.TRANSFORMER if transformer else None,
        "ignored_scope": nncf.IgnoredScope(names=keep) if keep else None,
    }
    # Its words belong beside the answer, not into it: `--json` is read by machines.
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):
        if max_drop:
            bound = {"max_drop": max_drop, "drop_type": nncf.DropType.ABSOLUTE}
            quantized = nncf.quantize_with_accuracy_control(
                model, _given(seen), _judged(model, judged), _agreements, **bound, **how
            )
        else:
            quantized = nncf.quantize(model, _given(seen), **how)
    onnx.save_model(_unsigned(quantized), str(path))
    return path


def _unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store what activations are rounded to as uint8; the model is changed in place and returned."""
    stored = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        zero = stored[node.input[2]] if node.op_type == "QuantizeLinear" and len(node.input) > 2 else None
        if zero is not None and zero.data_type == onnx.TensorProto.INT8:
            raised = (numpy_helper.to_array(zero).astype(np.int16) + 128).astype(np.uint8)
            zero.CopyFrom(numpy_helper.from_array(raised, zero.name))
    del model.graph.value_info[:]
    return model


def _given(samples: Sequence[Tensor]) -> nncf.Dataset:
    return nncf.Dataset(list(samples), lambda tensor: {"image": tensor})


def _judged(parent: onnx.ModelProto, samples: Sequence[Tensor]) -> nncf.Dataset:
    """Return tensors, each with what the parent says of it."""
    session = _opened(parent)
    pairs = [(one, session.run(None, {"image": one})) for one in samples]
    return nncf.Dataset(pairs, lambda pair: {"image": pair[0]})


def _opened(graph: onnx.ModelProto) -> Any:
    return onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def _agreements(graph: onnx.ModelProto, pairs: Iterable[tuple[Tensor, list[Tensor]]]) -> tuple[float, list[float]]:
    """Return how far a graph agrees with the parent: the mean, and of each tensor."""
    session = _opened(graph)
    names = [one.name for one in session.get_outputs()]
    scores = [agreement(names, session.run(names, {"image": image}), wanted) for image, wanted in pairs]
    return float(np.mean(scores)), scores


def agreement(names: Sequence[str], found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Return how far two answers to one image agree, 0 to 1; of several outputs, of the one where they agree least.

    Of masks [1, K, (D,) H, W], logits: their Dice where they are above 0, mean over the labels; of labels [1, K],
    logits: 1 less the mean difference of their probabilities.  A map does not count.
    """
    scores = []
    for name, ours, theirs in zip(names, found, wanted, strict=True):
        if name == "map":
            continue
        if ours.ndim > 2:
            scores.append(np.mean([dice(a > 0, b > 0) for a, b in zip(ours[0], theirs[0], strict=True)]))
        else:
            scores.append(1 - np.abs(1 / (1 + np.exp(-ours)) - 1 / (1 + np.exp(-theirs))).mean())
    return float(min(scores))


def _kept_in_float(model: onnx.ModelProto) -> list[str]:
    """Return the nodes that stay in float: the head, the map, and what an import put behind a foreign graph."""
    for node in model.graph.node:
        node.name = node.name or f"to/{node.output[0]}"
    return [
        node.name
        for node in model.graph.node
        if node.op_type in FLOAT_LAYERS or "map" in node.output or node.output[0].startswith("our/")
    ]
