"""The rows about the models' speed: counted right, judged by their goals."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from wetread.evidence import models as speed
from wetread.infer.engine import loader


def test_multiplications_of_convolutions_are_counted() -> None:
    """3 x 3 from 1 to 4 channels on 8 x 8 pixels, then 2 x 2 up from 4 to 2 channels: by hand."""
    ends = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8]),
        helper.make_tensor_value_info("up", TensorProto.FLOAT, ["n", 2, 16, 16]),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["c", "v"], ["up"], strides=[2, 2]),
    ]
    weights = [
        numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w"),
        numpy_helper.from_array(np.ones((4, 2, 2, 2), np.float32), "v"),
    ]
    graph = helper.make_graph(nodes, "toy", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    assert speed.multiplications(model.SerializeToString(), (1, 1, 8, 8)) == 8 * 8 * 4 * 9 + 8 * 8 * 4 * 2 * 4


def test_product_runs() -> None:
    left = np.zeros((1, 1, speed.SIDE, speed.SIDE), np.float32)
    found = loader("openvino")(speed.product_graph(), "fp32", 1, None).run(left)
    assert found["product"].shape == left.shape
    assert not found["product"].any()


def test_ratio_is_judged_by_its_goal() -> None:
    reached = speed._ratio("m", [10.0, 10.0], [31.0, 31.0], 3.0)
    assert reached.reached
    assert "3.1 times" in reached.found
    assert not speed._ratio("m", [10.0], [29.0], 3.0).reached


def test_no_graphics_processor_is_no_figure() -> None:
    row = speed.graphics()
    assert row.reached == ("none on this machine" not in row.found)
