"""A peer that fails is told, never timed over the output of a run before; a state held in place is one array."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from temport.exporter.bench.openvino_peer import openvino_call
from temport.exporter.runtimes.bound import held_in_place, onnxruntime_call


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failing_openvino_request_is_told(threads: int) -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "sizes"], ["y"])],
        "one_reshape",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", "columns"]),
            helper.make_tensor_value_info("sizes", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", "n"])],
    )
    model: onnx.ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    call = openvino_call(model.SerializeToString(), {"x": x, "sizes": np.array([3, 2])}, threads)
    np.testing.assert_array_equal(call(), x.reshape(3, 2))
    with pytest.raises(RuntimeError, match=r"(?i)reshape"):
        openvino_call(model.SerializeToString(), {"x": x, "sizes": np.array([3, 3])}, threads)


@pytest.mark.parametrize("written", [True, False])
def test_a_state_held_in_place_is_one_array(written: bool) -> None:
    """A sum instead of a cache, which every call adds to where it is one array."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["sum", "x"], ["next_sum"]), helper.make_node("Identity", ["x"], ["y"])],
        "sums",
        [info("x", TensorProto.FLOAT, [2]), info("sum", TensorProto.FLOAT, [2])],
        [info("y", TensorProto.FLOAT, [2]), info("next_sum", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    states = [{"input": "sum", "output": "next_sum", **({"in_place": True} if written else {})}]
    model.metadata_props.add(key="temport.signature", value=json.dumps({"states": states}))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert held_in_place(session) == ({"next_sum": "sum"} if written else {})
    feed = {"x": np.array([1, 2], np.float32), "sum": np.zeros(2, np.float32)}
    call = onnxruntime_call(session, feed, held_in_place(session))
    for _ in range(3):
        np.testing.assert_array_equal(call(), [1, 2])
    np.testing.assert_array_equal(feed["sum"], [3, 6] if written else [0, 0])
