"""The bodies of FusedDense say what its definition says, in runtimes that have nothing of ours."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from one_node import RUNTIMES, bound, error
from onnx import helper

from temport.custom_ops.fused_dense.schema import ACTIVATIONS
from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

OP = OPS["FusedDense"]
NAMES = ("X", "W", "B", "M", "R")


def drawn(
    leading: tuple[int, ...], groups: int, given: str, inputs: int = 5, outputs: int = 3
) -> list[np.ndarray | None]:
    random = np.random.default_rng(sum(leading) + groups)
    weight = (inputs, outputs) if groups == 1 else (groups, inputs, outputs)
    result = (*leading, groups * outputs)
    shapes = [(*leading, groups * inputs), weight, (groups * outputs,), result, result]
    values = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    return [x if name in given else None for name, x in zip(NAMES, values, strict=True)]


def attributes(activation: str = "none", groups: int = 1) -> dict[str, Any]:
    return {"activation": activation, "groups": groups}


def model(inputs: list[np.ndarray | None], chosen: dict[str, Any], opset: int) -> onnx.ModelProto:
    """One node with its body, any sizes of the axes before the last."""
    given = {name: x for name, x in zip(NAMES, inputs, strict=True) if x is not None}
    names = [name if name in given else "" for name in NAMES]
    while not names[-1]:
        names.pop()
    at = Specialisation(
        attributes=chosen, query_length=None, key_length=None, opset=opset, given=frozenset(given)
    )
    float32, axes = onnx.TensorProto.FLOAT, [f"axis_{i}" for i in range(given["X"].ndim - 1)]
    infos = [
        helper.make_tensor_value_info(n, float32, x.shape if n in "WB" else [*axes, x.shape[-1]])
        for n, x in given.items()
    ]
    node = helper.make_node("FusedDense", names, ["Y"], domain="temport", **chosen)
    output = helper.make_tensor_value_info("Y", float32, [*axes, None])
    return helper.make_model(
        helper.make_graph([node], "one_node", infos, [output]),
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("temport", 1)],
        functions=[OP.body(at).function],
        ir_version=10,
    )


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("given", ["XWB", "XWBM", "XWBR", "XWBMR"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_body_is_the_definition(activation: str, given: str, runtime: str) -> None:
    """Opset 18 has no Gelu; a single layer and three side by side."""
    for groups, opset in product((1, 3), (18, 20)):
        proto = model(drawn((1,), groups, given), attributes(activation, groups), opset)
        onnx.checker.check_model(proto, full_check=True)
        for rows in (0, 1, 7):
            agree(proto, drawn((rows,), groups, given), attributes(activation, groups), runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("shapes", [[()], [(1, 1), (3, 7), (2, 0)], [(2, 1, 3), (1, 5, 2)]], ids=str)
def test_any_number_of_axes(shapes: list[tuple[int, ...]], runtime: str) -> None:
    proto = model(drawn(shapes[0], 1, "XWBMR"), attributes("silu"), 20)
    onnx.checker.check_model(proto, full_check=True)
    for leading in shapes:
        agree(proto, drawn(leading, 1, "XWBMR"), attributes("silu"), runtime)


def agree(
    proto: onnx.ModelProto, inputs: list[np.ndarray | None], chosen: dict[str, Any], runtime: str
) -> None:
    truth = OP.reference(inputs, chosen)
    y = RUNTIMES[runtime](proto, inputs)
    assert y.shape == truth.shape
    assert error(y, truth) <= bound(truth, truth.astype(np.float32), "float32")


def test_onnxruntime_makes_one_gemm_of_a_layer_over_rows(tmp_path: Path) -> None:
    """Product and bias apart would be one more pass over the result."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3  # it warns that the file fits this machine only
    proto = model(inputs := drawn((4,), 1, "XWB"), attributes("relu"), 20)
    for name, x in zip("WB", inputs[1:3], strict=True):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(x, name))
    del proto.graph.input[1:]
    onnxruntime.InferenceSession(proto.SerializeToString(), options)
    assert {n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node} in (
        {"FusedGemm"},
        {"Gemm", "Relu"},
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"activation": "tanh"}, "activation is 'tanh'; it must be one of none, relu, gelu, sigmoid, silu"),
        ({"groups": 0}, "groups is 0; it must be at least 1"),
        ({"groups": 2}, r"W \[K, N\] of one group or \[G, K, N\]"),
    ],
)
def test_wrong_attributes_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        OP.reference(drawn((2,), 1, "XWB"), {**attributes(), **change})


def test_several_groups_are_over_rows() -> None:
    with pytest.raises(ValueError, match="FusedDense: X has 3 axes; with several groups it must have 2"):
        OP.reference(drawn((2, 3), 2, "XWB"), attributes(groups=2))


@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_refused(name: str) -> None:
    inputs = drawn((2,), 1, "XWBMR")
    inputs[NAMES.index(name)] = np.zeros((4, 6)[: 1 if name == "B" else 2], np.float32)
    with pytest.raises(ValueError, match=r"FusedDense: \w has shape \[.*\]; it must be \["):
        OP.reference(inputs, attributes())


def test_no_body_for_what_there_is_not() -> None:
    for change in ({"activation": "tanh"}, {"groups": 0}):
        at = Specialisation(
            attributes={**attributes(), **change}, query_length=None, key_length=None, opset=20
        )
        with pytest.raises(ValueError, match="FusedDense: there is no body for activation"):
            OP.body(at)
