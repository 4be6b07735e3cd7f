"""A peer that fails is told, and never timed over the output of a run before."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.bench.bound import openvino_call


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
