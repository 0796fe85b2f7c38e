"""Int8 after training: NNCF's ONNX backend, weights stored as int8, so that both engines run the file.

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
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import nncf
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from wetread.lab.half import whole
from wetread.records import Tensor

__all__ = ["quantize_onnx"]

#: Outputs whose layers stay in float: they are tiny, and the answer is read from them.
FLOAT_LAYERS = ("Gemm",)


def quantize_onnx(parent: Path, samples: Sequence[Tensor], path: Path, *, transformer: bool = False) -> Path:
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
    """
    model = onnx.shape_inference.infer_shapes(whole(onnx.load(parent)))
    keep = _kept_in_float(model)
    # Its words belong beside the answer, not into it: `--json` is read by machines.
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):
        quantized = nncf.quantize(
            model,
            nncf.Dataset(list(samples), lambda tensor: {"image": tensor}),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
            fast_bias_correction=transformer,  # the slow one fails on graphs with attention and skips
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(names=keep) if keep else None,
        )
    onnx.save_model(_store_int8(quantized), str(path))
    return path


def _kept_in_float(model: onnx.ModelProto) -> list[str]:
    """Return the nodes that stay in float: the head, the map, and what an import put behind a foreign graph."""
    for node in model.graph.node:
        node.name = node.name or f"to/{node.output[0]}"
    return [
        node.name
        for node in model.graph.node
        if node.op_type in FLOAT_LAYERS or "map" in node.output or node.output[0].startswith("our/")
    ]


def _store_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantize the weights in the file itself: NNCF leaves them in float before a QuantizeLinear."""
    held = {item.name: item for item in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type != "QuantizeLinear" or node.input[0] not in held:
            continue
        axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
        weight, scale, zero = (numpy_helper.to_array(held[name]) for name in node.input)
        stored = numpy_helper.from_array(_rounded(weight, scale, zero, axis), node.output[0])
        model.graph.initializer.append(stored)
        model.graph.node.remove(node)
    used = {name for node in model.graph.node for name in node.input}
    for item in list(model.graph.initializer):
        if item.name not in used:
            model.graph.initializer.remove(item)
    kept = {item.name for item in model.graph.initializer}
    for given in list(model.graph.input):
        if given.name != "image" and (given.name in kept or given.name not in used):
            model.graph.input.remove(given)
    return model


def _rounded(weight: Tensor, scale: Tensor, zero: NDArray[np.int8], axis: int) -> NDArray[np.int8]:
    """Return what QuantizeLinear gives: ONNX operators, QuantizeLinear, round half to even."""
    shape = [1] * weight.ndim
    if scale.ndim:
        shape[axis] = -1
    levels = np.round(weight / scale.reshape(shape)) + zero.reshape(shape)
    limits = np.iinfo(zero.dtype)
    return np.asarray(np.clip(levels, limits.min, limits.max), zero.dtype)
