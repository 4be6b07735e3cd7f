"""The rewrite that puts MovingAverage in the place of Mega's convolutions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from temport.exporter.declare.architectures import declare
from temport.exporter.passes.moving_average import moving_average
from tests.traces import build

FLOAT = onnx.TensorProto.FLOAT
TAPS = 3


def rewritten(**changed: object) -> list[str]:
    """Op types after the rewrite of the nodes that Mega's average is traced to, some of them changed."""
    conv = {"group": 4, "dilations": [1, 1], "pads": [0, TAPS - 1, 0, 0]}
    near = conv | {k.removeprefix("near_"): v for k, v in changed.items() if k.startswith("near_")}
    far = conv | {"dilations": [1, TAPS], "pads": [0, TAPS * (TAPS - 1), 0, 0]}
    far |= {k.removeprefix("far_"): v for k, v in changed.items() if k.startswith("far_")}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=changed.get("perm", [0, 3, 1, 2])),
        helper.make_node("Conv", ["t", "w"], ["n"], **near),
        helper.make_node("Conv", ["n", "w", *changed.get("bias", [])], ["f"], **far),
        helper.make_node("Transpose", ["f"], ["y"], perm=[0, 2, 3, 1]),
    ]
    outputs = ["y", *changed.get("outputs", [])]
    shape = ["batch", changed.get("height", 1), "seq", 4]
    weight = np.ones((4, 1, 1, TAPS), np.float32)
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight[:, 0, 0, 0], "b")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    moving_average(model)
    return [node.op_type for node in model.graph]


def test_the_traced_nodes_become_one() -> None:
    assert rewritten() == ["Squeeze", "MovingAverage", "Unsqueeze"]


@pytest.mark.parametrize(
    "changed",
    [
        {"perm": [0, 3, 2, 1]},
        {"height": 2},
        {"near_pads": [0, 1, 0, 1]},  # sees the next frame
        {"far_pads": [0, TAPS, 0, 0]},
        {"far_dilations": [1, TAPS - 1]},
        {"near_strides": [1, 2]},
        {"bias": ["b"]},
        {"outputs": ["n"]},
        {"outputs": ["f"]},
    ],
    ids=str,
)
def test_anything_else_stays(changed: dict[str, object]) -> None:
    assert "MovingAverage" not in rewritten(**changed)


def test_where_mega_uses_it() -> None:
    def ops(precision: str = "float32", dialect: str = "custom", seq: str = "8") -> Counter[str]:
        declaration, module, _ = declare("mega", ["embed_dim=16", "num_layers=1"], seq=seq, batch="dynamic")
        declaration = replace(declaration, precision=precision, ops=dialect)
        return Counter(node.op_type for node in build(module, declaration).model.graph)

    for seq in ("8", "dynamic"):
        found = ops(seq=seq)
        assert found["MovingAverage"] == 1 and not {"Conv", "Transpose", "Squeeze", "Unsqueeze"} & set(found)
    assert ops(dialect="standard")["Conv"] == 2
    assert ops(precision="float16")["Conv"] == 2  # our kernel takes float32
