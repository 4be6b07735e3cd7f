"""Each construct that TensorRT ignores, changes or refuses is named before the build; sound models pass."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from temport.exporter.compilers.lint import refusals, remarks
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from temport.exporter.declare.declaration import Declaration, TensorSpec
from tests.tensorrt.models import AttentionCase, attention_model, declaration

SPEC = Declaration("module", {}, (TensorSpec("x", "float32", (2, 8, 64)),), ())


def model(
    nodes: Sequence[onnx.NodeProto],
    kind: int = TensorProto.FLOAT,
    initializers: Sequence[onnx.TensorProto] = (),
    opset: int = 24,
    name: str = "x",
    batch: int | str = 2,
) -> ir.Model:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info(name, kind, [batch, 8, 64])], [info("y", kind, None)], list(initializers)
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("somewhere", 1)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def attention(
    inputs: Sequence[str] = ("x", "x", "x"), outputs: Sequence[str] = ("y",), **attributes: object
) -> onnx.NodeProto:
    return helper.make_node(
        "Attention", list(inputs), list(outputs), name="att", q_num_heads=2, kv_num_heads=2, **attributes
    )


MASK = numpy_helper.from_array(np.ones((8, 8), bool), "mask")
LENGTHS = numpy_helper.from_array(np.array([8, 5]), "lengths")
RELU = helper.make_node("Relu", ["x"], ["y"])


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (model([RELU], TensorProto.DOUBLE), "tensor x is float64, which tensorrt-rtx silently makes float32"),
        (
            model([helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE), RELU]),
            "tensor d is float64",
        ),
        (
            model([attention(["x", "x", "x", "", "", "", "lengths"])], initializers=[LENGTHS]),
            "nonpad_kv_seqlen, which tensorrt-rtx silently ignores",
        ),
        (model([attention(softcap=3.0)]), "softcap, which tensorrt-rtx refuses"),
        (model([attention(softmax_precision=1)]), "softmax_precision"),
        (
            model([attention(["x", "x", "x", "mask"], is_causal=1)], initializers=[MASK]),
            "is_causal and a boolean mask",
        ),
        (
            model([attention(outputs=["z", "k"]), helper.make_node("Add", ["z", "k"], ["y"])]),
            "returns more than its result",
        ),
        (model([helper.make_node("NonZero", ["x"], ["y"])]), "NonZero .* is refused by tensorrt-rtx"),
        (
            model([helper.make_node("ScatterND", ["x", "x", "x"], ["y"], reduction="add")]),
            "ScatterND .* with a reduction",
        ),
        (model([helper.make_node("Op", ["x"], ["y"], domain="somewhere")]), "no function body"),
        (model([RELU], opset=13), "the model has opset 13; tensorrt-rtx reads 17 to 24"),
        (model([RELU], name="z", batch="batch"), "input z has a dynamic axis"),
        (model([RELU], TensorProto.UINT16), "tensor x is uint16, which tensorrt-rtx does not take"),
    ],
    ids=[
        "float64", "cast-float64", "nonpad", "softcap", "softmax_precision", "causal-and-mask", "cache",
        "NonZero", "ScatterND-add", "no-body", "opset", "unbounded-axis", "uint16",
    ],
)  # fmt: skip
def test_refused(bad: ir.Model, sentence: str) -> None:
    found = refusals(bad, SPEC, BACKEND, ())
    assert len(found) == 1
    assert re.search(sentence, found[0])


def test_bfloat16_needs_a_capable_target() -> None:
    assert refusals(model([RELU], TensorProto.BFLOAT16), SPEC, BACKEND, ("86",)) == []
    (sentence,) = refusals(model([RELU], TensorProto.BFLOAT16), SPEC, BACKEND, ("75", "86"))
    assert "compute capability 7.5 lacks" in sentence


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_sound_models_pass(dynamic: bool) -> None:
    case = AttentionCase(window=7, dynamic=dynamic)
    assert refusals(ir.from_proto(attention_model(case)), declaration(case), BACKEND, ()) == []
    assert refusals(model([attention(["x", "x", "x", "mask"])], initializers=[MASK]), SPEC, BACKEND, ()) == []


def test_loops_are_remarked() -> None:
    lstm = helper.make_node("LSTM", ["x", "x", "x"], ["y"], hidden_size=4)
    (remark,) = remarks(model([lstm]))
    assert remark.startswith("LSTM is compiled as a loop of small kernels")
    assert remarks(model([RELU])) == []
