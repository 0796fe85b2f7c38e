"""A foreign ONNX graph: judged before any engine sees it, then given our names and meaning.

Ours is: input ``image`` (n, c, y, x), output ``logits`` with one channel a label, each for
a sigmoid; a classifier's second output ``map``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wetread.errors import ModelError

__all__ = ["GIVES", "LAYOUTS", "Meaning", "adapt", "judge"]

#: Order of the axes of a graph's input.
LAYOUTS = ("nchw", "nhwc")
#: What a graph's output may be: per-label logits, scores for a softmax, or probabilities.
GIVES = ("logits", "scores", "probabilities")
#: Largest tensor a graph may make for one image (elements): 1 GiB in fp32.
MOST_ELEMENTS = 1 << 28
OLDEST_OPSET, NEWEST_OPSET = 13, 23
#: They may run without end, or hold graphs that nothing here looks at twice.
LOOPS = ("Loop", "Scan", "If", "SequenceMap")
#: Keeps the logarithm of a probability of 0 or 1 finite.
TINY = 1e-7


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a foreign graph's input and output are: the ``[graph]`` table of a description."""

    input: str = "image"
    output: str = "logits"
    map: str = ""  # class-activation map; "" none
    layout: str = "nchw"  # one of LAYOUTS
    gives: str = "logits"  # one of GIVES
    keep: tuple[int, ...] = ()  # channels that stay, one a label; (): all


def judge(what: str, data: bytes) -> ModelProto:
    """Return a graph that is safe to hand to an engine.

    Raises
    ------
    ModelError
        It is no ONNX; weights lie outside; an operator is not ONNX's own; it loops; a
        tensor's bytes do not fit its shape; or it would make a tensor that is too large.
    """
    try:
        model = onnx.load_model_from_string(data)
        known = bool(model.graph.node) and model.ir_version > 0
    except Exception as error:
        raise ModelError(f"{what}: expected an ONNX model, got {type(error).__name__}; fetch it again") from error
    if not known:
        raise ModelError(f"{what}: expected an ONNX model, got {len(data)} bytes that are none")
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise ModelError(f"{what}: expected a plain graph, got functions, training or sparse weights; export it again")
    opset = max((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        wanted = f"{OLDEST_OPSET} to {NEWEST_OPSET}"
        raise ModelError(f"{what}: expected opset {wanted}, got {opset}; convert it with onnx.version_converter")
    try:
        for node in model.graph.node:
            _judge_node(what, node)
        for tensor in _tensors(model.graph):
            _judge_tensor(what, tensor)
        onnx.checker.check_model(model)
    except (TypeError, UnicodeDecodeError) as error:  # a name that is no text comes as bytes
        raise ModelError(f"{what}: expected names in UTF-8, got others; fetch it again") from error
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{what}: expected a valid graph, got: {str(error)[:200]}") from error
    return model


def _judge_node(what: str, node: NodeProto) -> None:
    if node.domain not in ("", "ai.onnx") or not onnx.defs.has(node.op_type):
        raise ModelError(
            f"{what}: expected ONNX's own operators, got {node.domain or 'ai.onnx'}::{node.op_type}: it would need a "
            "library of its own; export without custom operators"
        )
    if node.op_type in LOOPS or any(
        attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute
    ):
        raise ModelError(f"{what}: expected a graph without loops and branches, got {node.op_type}; export it again")


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)


def _judge_tensor(what: str, tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"{what}: expected weights inside the file, got a path to others; export with embedded weights"
        )
    count = math.prod(tensor.dims)
    if min(tensor.dims, default=0) < 0 or count > MOST_ELEMENTS:
        raise ModelError(
            f"{what}: expected tensors of at most {MOST_ELEMENTS} elements, got the shape {list(tensor.dims)}"
        )
    if tensor.data_type == TensorProto.STRING:
        return
    try:
        found = numpy_helper.to_array(tensor).size
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{what}: expected bytes that fit the shape {list(tensor.dims)}, got others") from error
    if found != count:
        raise ModelError(f"{what}: expected {count} elements, got {found}")


def adapt(what: str, model: ModelProto, meaning: Meaning, shape: tuple[int, ...]) -> ModelProto:
    """Return the graph under our names, with one logit a label.

    Parameters
    ----------
    shape
        (c, y, x) of what the recipe makes.

    Raises
    ------
    ModelError
        There is no such input or output, the input has another shape, or the graph is too large to run.
    """
    graph = model.graph
    constants = {item.name for item in graph.initializer}
    given = [item for item in graph.input if item.name not in constants]
    if [item.name for item in given] != [meaning.input]:
        names = [item.name for item in given]
        raise ModelError(f"{what}: expected one input {meaning.input!r}, got {names}; name it in [graph] input")
    kept = [meaning.output, *([meaning.map] if meaning.map else [])]
    for name in kept:
        if name not in [item.name for item in graph.output]:
            known = [item.name for item in graph.output]
            raise ModelError(f"{what}: expected an output {name!r}, got {known}; name it in [graph] output and map")
    _same_shape(what, given[0], meaning, shape)
    _rename_all(graph)
    nodes, extra = _entrance(meaning), _exit(meaning)
    last = "logits" if extra else f"their/{meaning.output}"
    body = [*nodes, *graph.node, *extra]
    if not extra:
        body.append(helper.make_node("Identity", [last], ["logits"]))
    if meaning.map:
        body.append(helper.make_node("Identity", [f"their/{meaning.map}"], ["map"]))
    entered = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *shape])
    outputs = [helper.make_empty_tensor_value_info(name) for name in ("logits", *(("map",) if meaning.map else ()))]
    for item in outputs:
        item.type.tensor_type.elem_type = TensorProto.FLOAT
    weights = [*graph.initializer, *_constants(meaning)]
    made = helper.make_graph(body, "imported", [entered], outputs, weights)
    version = max(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    adapted = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", version)], ir_version=min(model.ir_version, 10)
    )
    return _sized(what, adapted, shape)


def _same_shape(what: str, given: onnx.ValueInfoProto, meaning: Meaning, shape: tuple[int, ...]) -> None:
    """Compare what the graph declares with what the recipe makes; a free size fits everything."""
    tensor = given.type.tensor_type
    theirs = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
    ours = [1, *shape] if meaning.layout == "nchw" else [1, *shape[1:], shape[0]]
    if tensor.elem_type != TensorProto.FLOAT or len(theirs) != len(ours):
        raise ModelError(
            f"{what}: expected float32 of {len(ours)} axes, got element type {tensor.elem_type} of shape {theirs}"
        )
    if any(one not in (0, other) for one, other in zip(theirs[1:], ours[1:], strict=True)) or theirs[0] not in (0, 1):
        raise ModelError(
            f"{what}: expected {meaning.layout} {ours} by the recipe's grid and channels, got {theirs} (0: free)"
        )


def _rename_all(graph: GraphProto) -> None:
    """Put their names behind a prefix, so that ours are free."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name and f"their/{name}" for name in names]
    for tensor in graph.initializer:
        tensor.name = f"their/{tensor.name}"


def _entrance(meaning: Meaning) -> list[NodeProto]:
    theirs = f"their/{meaning.input}"
    if meaning.layout == "nchw":
        return [helper.make_node("Identity", ["image"], [theirs])]
    return [helper.make_node("Transpose", ["image"], [theirs], perm=[0, 2, 3, 1])]


def _exit(meaning: Meaning) -> list[NodeProto]:
    """Turn scores or probabilities into logits, exactly: log p - log (1 - p), and keep what is a label."""
    nodes, last = [], f"their/{meaning.output}"
    if meaning.gives == "scores":
        nodes.append(helper.make_node("Softmax", [last], ["our/p"], axis=1))
        last = "our/p"
    if meaning.gives != "logits":
        nodes += [
            helper.make_node("Clip", [last, "our/low", "our/high"], ["our/clipped"]),
            helper.make_node("Sub", ["our/one", "our/clipped"], ["our/rest"]),
            helper.make_node("Div", ["our/clipped", "our/rest"], ["our/odds"]),
            helper.make_node("Log", ["our/odds"], ["our/logits"]),
        ]
        last = "our/logits"
    if meaning.keep:
        nodes.append(helper.make_node("Gather", [last, "our/keep"], ["our/kept"], axis=1))
    if nodes:
        nodes[-1].output[0] = "logits"
    return nodes


def _constants(meaning: Meaning) -> list[TensorProto]:
    made = []
    if meaning.gives != "logits":
        values = {"low": TINY, "high": 1 - TINY, "one": 1.0}
        made += [numpy_helper.from_array(np.array(value, np.float32), f"our/{name}") for name, value in values.items()]
    if meaning.keep:
        made.append(numpy_helper.from_array(np.array(meaning.keep, np.int64), "our/keep"))
    return made


def _sized(what: str, model: ModelProto, shape: tuple[int, ...]) -> ModelProto:
    """Refuse a graph whose tensors would fill the memory; the sizes are inferred, nothing is run."""
    one = ModelProto()
    one.CopyFrom(model)
    one.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    try:
        inferred = onnx.shape_inference.infer_shapes(one, data_prop=True)
    except Exception as error:
        raise ModelError(f"{what}: expected shapes that follow from {shape}, got: {str(error)[:200]}") from error
    for item in [*inferred.graph.value_info, *inferred.graph.output]:
        count = math.prod(dim.dim_value for dim in item.type.tensor_type.shape.dim if dim.HasField("dim_value"))
        if count > MOST_ELEMENTS:
            raise ModelError(
                f"{what}: expected tensors of at most {MOST_ELEMENTS} elements, got {count}; do not use it"
            )
    for ours, known in zip(model.graph.output, inferred.graph.output, strict=True):
        ours.type.CopyFrom(known.type)
        if known.type.tensor_type.shape.dim:
            ours.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model
