"""From torch to ONNX: norms folded into the convolutions, one file with its weights inside, in 16 bits."""

from __future__ import annotations

import copy
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from wetread.lab.half import halved
from wetread.records import Recipe

__all__ = ["export_onnx", "fold_norms"]

#: The newest operator set that both engines and the quantizers read without conversion.
OPSET = 18


def fold_norms(model: nn.Module) -> nn.Module:
    """Return a copy in which each batch norm is part of the convolution before it."""
    folded = copy.deepcopy(model).eval()
    for parent in list(folded.modules()):
        if not isinstance(parent, nn.Sequential):
            continue
        for (name, layer), (after, norm) in pairwise(list(parent.named_children())):
            if isinstance(layer, nn.Conv2d | nn.Conv3d) and isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, after, nn.Identity())
    return folded


def export_onnx(model: nn.Module, recipe: Recipe, outputs: tuple[str, ...], path: Path) -> Path:
    """Write a network as ONNX with the input "image" [N, C, (D,) H, W] and a free batch size.

    Parameters
    ----------
    outputs
        Names of what the network returns, in order.
    path
        File to write.

    Returns
    -------
    The file.
    """
    folded = fold_norms(model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    depth = (recipe.depth,) if recipe.depth else ()
    example = torch.zeros(2, recipe.channels, *depth, *recipe.grid)
    stream = io.BytesIO()
    program = torch.onnx.export(
        folded,
        (example,),
        input_names=["image"],
        output_names=list(outputs),
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    onnx.save_model(program.model_proto, stream)
    graph = halved(_join_padding(_without_traces(onnx.load_model_from_string(stream.getvalue()))))
    onnx.checker.check_model(graph, full_check=True)
    onnx.save_model(graph, str(path))
    return path


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes about its sources: it names folders of the machine it ran on."""
    graph = model.graph
    for one in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del one.metadata_props[:]
        one.doc_string = ""
    return model


def _join_padding(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let each convolution do the padding that stands before it: one node less to run and to quantize."""
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    made = {output: node for node in model.graph.node for output in node.output}
    for node in list(model.graph.node):
        pad = made.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None or pad.op_type != "Pad":
            continue
        amounts = np.asarray(constants[pad.input[1]]).reshape(2, -1)
        for attribute in list(node.attribute):
            if attribute.name == "pads":
                node.attribute.remove(attribute)
            if attribute.name == "auto_pad":
                attribute.s = b"NOTSET"
        node.attribute.append(onnx.helper.make_attribute("pads", amounts[:, 2:].ravel().tolist()))
        node.input[0] = pad.input[0]
        model.graph.node.remove(pad)
    return model
