"""Weights of an ONNX file in 16 bits: half the size, the same graph in the same precision.

A large weight is stored as float16 and cast back to float32 where it enters the graph; the
engines do that once, when they load the file.  A weight moves by at most 2 ** -11 of itself,
which is far less than what bfloat16 or int8 do to it; the certificate compares what is left
with the network in torch.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

__all__ = ["halved", "whole"]

#: Smaller tensors, biases above all, stay as they are (values).
FEWEST = 1024
#: Largest float16.
MOST = float(np.finfo(np.float16).max)


def halved(model: ModelProto) -> ModelProto:
    """Store every large weight in 16 bits; the model is changed in place and returned."""
    casts = []
    for item in list(model.graph.initializer):
        if item.data_type != TensorProto.FLOAT or len(item.dims) < 2 or np.prod(item.dims) < FEWEST:
            continue
        values = numpy_helper.to_array(item)
        if np.abs(values).max() > MOST:
            continue
        name = item.name
        item.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(helper.make_node("Cast", [item.name], [name], name=f"{name}/cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def whole(model: ModelProto) -> ModelProto:
    """Undo `halved`, for tools that look for float32 weights; the model is changed in place and returned."""
    stored = {item.name: item for item in model.graph.initializer}
    for node in list(model.graph.node):
        item = stored.get(node.input[0]) if node.op_type == "Cast" else None
        if item is not None and item.data_type == TensorProto.FLOAT16:
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float32), node.output[0]))
            model.graph.node.remove(node)
    return model
