"""Schemas: registered, accepted by the checker, and inferring the output type and shape."""

import numpy as np
import onnx
import pytest
from one_node import Attention, model
from onnx import TensorProto, helper, shape_inference

from temport.custom_ops.table import OPS

LINEAR = {"num_heads": 2, "block_size": 4}


def inferred(op, shapes, dtype=TensorProto.FLOAT, **attributes):
    names = ["Q", "K", "V"][: len(shapes)]
    infos = [helper.make_tensor_value_info(n, dtype, s) for n, s in zip(names, shapes, strict=True)]
    node = helper.make_node(op, names, ["Y"], domain="temport", **attributes)
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("Y", dtype, None)])
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=10)
    kind = (
        shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
        .graph.output[0]
        .type.tensor_type
    )
    return kind.elem_type, [d.dim_value or d.dim_param for d in kind.shape.dim]


@pytest.mark.parametrize("op", OPS)
def test_registered_with_onnx(op):
    schema = onnx.defs.get_schema(op, 1, "temport")
    assert schema.doc == OPS[op].schema.doc and schema.has_type_and_shape_inference_function
    assert OPS[op].name == op and OPS[op].domain == "temport" and OPS[op].version == 1


@pytest.mark.parametrize(
    "dtype", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE]
)
def test_packed_output(dtype):
    got = inferred("OnlineSoftmaxAttention", [["b", "t", 28]], dtype, num_heads=2, kv_num_heads=1)
    assert got == (dtype, ["b", "t", 14])
    assert inferred("BlockLinearAttention", [["b", 7, 30]], dtype, **LINEAR) == (dtype, ["b", 7, 10])


def test_separate_inputs_take_the_value_width():
    shapes = [["b", "t", 12], ["b", "s", 6], ["b", "s", 10]]
    _, shape = inferred("OnlineSoftmaxAttention", shapes, num_heads=4, kv_num_heads=2)
    assert shape == ["b", "t", 20]


def test_unknown_width_stays_unknown():
    _, shape = inferred("OnlineSoftmaxAttention", [["b", "t", None]], num_heads=2)
    assert shape[:2] == ["b", "t"] and not isinstance(shape[2], int)  # onnx gives it a symbol of its own


@pytest.mark.parametrize(
    ("op", "shapes", "expected"),
    [
        ("FusedLSTM", [["t", "b", 3], [1, 8, 3], [1, 8, 2]], ["t", 1, "b", 2]),
        ("FusedLSTM", [["t", 3], [1, 8, 3], [1, 8, 2]], "FusedLSTM: input 0 has 2 axes; it must have 3"),
        ("FusedDense", [["n", 5], [5, 4], [4]], ["n", 4]),
        ("FusedDense", [["n", 15], [3, 5, 4], [12]], ["n", 12]),
        ("FusedDense", [["n", 7, 5], [5, 4], [4]], ["n", 7, 4]),
        ("FusedDense", [[5], [5, 4], [4]], [4]),
        ("FusedDense", [[], [5, 4], [4]], "FusedDense: input 0 has 0 axes; it must have 1 or more"),
        ("FusedDense", [["n", 7, 15], [3, 5, 4], [12]], "FusedDense: input 0 has 3 axes; it must have 2"),
        ("FusedDense", [["n", 5], [4], [4]], "FusedDense: input 1 has 1 axes; it must have 2"),
        ("FusedDense", [["n", 15], [5, 4], [4]], "FusedDense: input 1 has 2 axes; it must have 3"),
        ("MovingAverage", [["b", "t", 4], [4, 1, 1, 3], [4, 1, 1, 3]], ["b", "t", 4]),
        ("ResidualLayerNorm", [["b", "n", 5], [5], [5]], ["b", "n", 5]),
        (
            "ResidualLayerNorm",
            [["n", 5], [1, 5], [5]],
            "ResidualLayerNorm: input 1 has 2 axes; it must have 1",
        ),
    ],
)
def test_shapes_of_the_ops_for_standard_operators(op, shapes, expected):
    attributes = {"hidden_size": 2} if op == "FusedLSTM" else {}
    attributes |= {"channels": 4, "taps": 3} if op == "MovingAverage" else {}
    attributes |= {"groups": 3} if shapes[0][-1:] == [15] else {}
    if isinstance(expected, list):
        assert inferred(op, shapes, **attributes) == (TensorProto.FLOAT, expected)
    else:
        with pytest.raises(ValueError, match=expected):
            inferred(op, shapes, **attributes)


def test_key_mask_passes_the_checker():
    case = Attention(T=3, S=5, key_mask=True)
    proto = model("OnlineSoftmaxAttention", case.attributes, case.inputs(), None, opset=20)
    onnx.checker.check_model(proto, full_check=True)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the last axis of packed Q is 29"):
        inferred("OnlineSoftmaxAttention", [["b", "t", 29]], num_heads=2, kv_num_heads=1)
    with pytest.raises(ValueError, match="Q has 7 rows but K has 8"):
        inferred("BlockLinearAttention", [["b", 7, 4], ["b", 8, 4], ["b", 8, 4]], **LINEAR)


@pytest.mark.parametrize("change", [{"windw": 3}, {"num_heads": "two"}], ids=["unknown", "wrong-type"])
def test_checker_refuses_bad_attributes(change):
    case = Attention(T=3, S=3, packed=True)
    proto = model("OnlineSoftmaxAttention", {**case.attributes, **change}, case.inputs(), None, opset=20)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(proto)


def test_key_mask_must_be_bool():
    case = Attention(T=3, S=3, packed=True)
    inputs = [*case.inputs()[:3], np.ones((2, 3), np.float32)]
    proto = model("OnlineSoftmaxAttention", case.attributes, inputs, None, opset=20)
    with pytest.raises(shape_inference.InferenceError):
        onnx.checker.check_model(proto, full_check=True)
