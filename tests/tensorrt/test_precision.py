"""float16 and bfloat16 graphs: what is retyped, what stays float32, how near the result is, what would overflow."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from temport.custom_ops.library import library_path
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.parity.overflow import find_overflow
from temport.exporter.passes.attach_bodies import attach_bodies
from temport.exporter.passes.notes import Notes
from temport.exporter.passes.precision import PrecisionChange, lower_precision
from temport.exporter.trace.clean import clean
from temport.exporter.trace.fold_constants import fold_constants
from temport.exporter.trace.torch_to_onnx import to_onnx
from temport.graphs.baking import bake
from tests.traces import build

SETTINGS = {
    "sliding_window": ("embed_dim=32", "window_size=8", "num_heads=2", "head_dim=16", "ffn_dim=32"),
    "hybrid": ("embed_dim=32", "lstm_hidden=32", "num_heads=2", "head_dim=16"),
    "mega": ("embed_dim=32", "hidden_size=32", "num_layers=1"),
    "lightning": ("embed_dim=32", "hidden_size=32", "num_layers=1", "num_heads=2", "block_size=8"),
    "dms": ("hid_dim=32", "n_heads=2"),
}
SEQ = 20


@functools.cache
def traced_model(arch: str) -> tuple[Declaration, ir.Model]:
    """What every precision starts from."""
    declaration, module, _ = declare(arch, SETTINGS[arch], batch="2", seq=str(SEQ))
    bake(module, SEQ)
    model = to_onnx(module, declaration)
    fold_constants(model)
    clean(model)
    return declaration, model


@functools.cache
def models(arch: str, precision: str) -> tuple[onnx.ModelProto, onnx.ModelProto, PrecisionChange]:
    """The float32 model and its retyped copy, both with bodies."""
    declaration, traced = traced_model(arch)
    plain, retyped = traced.clone(), traced.clone()
    change = lower_precision(retyped, precision)
    for model in (plain, retyped):
        attach_bodies(model, declaration)
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
    return ir.to_proto(plain), ir.to_proto(retyped), change


def feeds(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    arrays = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        boolean = value.type.tensor_type.elem_type == TensorProto.BOOL
        arrays[value.name] = (
            random.random(shape) < 0.7 if boolean else random.standard_normal(shape, np.float32)
        )
    return arrays


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray], library: Path | None = None) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if library is not None:
        options.register_custom_ops_library(str(library))
    return np.asarray(
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
            None, inputs
        )[0]
    )


def rounded_weights(model: onnx.ModelProto, kind: type) -> onnx.ModelProto:
    """The float32 model with its float weights rounded to `kind`: what rounding alone costs."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for tensor in copied.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(kind).astype(np.float32), tensor.name))
    return copied


@pytest.mark.parametrize("arch", SETTINGS)
def test_float16_result_is_near_float32(arch: str) -> None:
    plain, half, _ = models(arch, "float16")
    inputs = feeds(plain)
    exact, got = run(plain, inputs), run(half, inputs)
    assert got.dtype == np.float32
    rounding = np.abs(run(rounded_weights(plain, np.float16), inputs) - exact).max()
    scale = np.abs(exact).max()
    # rounding every activation is at most a few times as bad as rounding every weight once
    assert np.abs(got - exact).max() <= 4 * rounding + 16 * np.finfo(np.float16).eps * scale


@pytest.mark.parametrize("arch", SETTINGS)
def test_native_kernels_take_the_float16_model(arch: str) -> None:
    """The same bound as for the bodies: the kernels sum in float32 too."""
    library = library_path()
    assert library is not None, "the native op library was not built with this installation"
    plain, half, _ = models(arch, "float16")
    inputs = feeds(plain)
    exact = run(plain, inputs)
    rounding = np.abs(run(rounded_weights(plain, np.float16), inputs) - exact).max()
    allowed = 4 * rounding + 16 * np.finfo(np.float16).eps * np.abs(exact).max()
    assert np.abs(run(half, inputs, library) - exact).max() <= allowed


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("arch", SETTINGS)
def test_sensitive_operators_stay_float32(arch: str, precision: str) -> None:
    _, half, change = models(arch, precision)
    kinds = {
        v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(half).graph.value_info
    }
    kinds |= {t.name: t.data_type for t in half.graph.initializer}
    element = TensorProto.FLOAT16 if precision == "float16" else TensorProto.BFLOAT16
    for node in half.graph.node:
        found = {kinds[name] for name in node.output if name in kinds}
        if node.op_type in ("LayerNormalization", "Softmax", "ReduceSum", "ReduceMean", "LSTM", "Exp", "Div"):
            assert found <= {TensorProto.FLOAT}
        if node.op_type == "Conv":
            assert found <= {TensorProto.FLOAT}  # the moving average of mega
        if node.op_type in ("MatMul", "Gemm") or node.domain == "temport":
            assert found <= {element}
    assert (change.half and change.casts and "LayerNormalization" in change.float32) or arch == "dms"


def test_half_weights_halve_the_file() -> None:
    plain, half, _ = models("sliding_window", "float16")
    assert half.ByteSize() < 0.75 * plain.ByteSize()


def graph(nodes: list[onnx.NodeProto], *initializers: onnx.TensorProto) -> ir.Model:
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "g", [info("x", 1, [2, 4])], [info("y", 1, [2, 4])], list(initializers),
        value_info=[info("h", 1, [2, 4])],
    )  # fmt: skip
    return ir.from_proto(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))


def weight(name: str, value: float, shape: tuple[int, ...] = (4, 4)) -> onnx.TensorProto:
    return numpy_helper.from_array(np.full(shape, value, np.float32), name)


def test_weight_beyond_float16_is_named() -> None:
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], weight("w", 1e5))
    with pytest.raises(UserError, match="weight w reaches 1e\\+05, which float16 cannot hold"):
        lower_precision(model, "float16")
    lower_precision(graph([helper.make_node("MatMul", ["x", "w"], ["y"])], weight("w", 1e5)), "bfloat16")


def test_constant_that_would_vanish_keeps_its_node_in_float32() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "eps"], ["y"])]
    model = graph(nodes, weight("w", 1), weight("eps", 1e-9, ()))
    assert lower_precision(model, "float16").float32 == {"Add": 1}


def test_output_keeps_name_and_type() -> None:
    model = graph([helper.make_node("MatMul", ["x", "w"], ["y"])], weight("w", 0.5))
    change = lower_precision(model, "float16")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [(o.name, o.type.tensor_type.elem_type) for o in proto.graph.output] == [("y", TensorProto.FLOAT)]
    assert change.half == ("y.float16",)
    assert np.allclose(run(proto, {"x": np.ones((2, 4), np.float32)}), 2.0)


@pytest.mark.parametrize(("opset", "float32"), [(20, {"Elu": 1}), (22, {})])
def test_an_operator_without_bfloat16_stays_in_float32(opset: int, float32: dict[str, int]) -> None:
    """Elu and Conv have it from opset 22 on; before, a file with it would be refused."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Elu", ["h"], ["y"])]
    model = graph(nodes, weight("w", 1))
    model.opset_imports[""] = opset
    notes = Notes()
    assert lower_precision(model, "bfloat16", notes).float32 == float32
    assert ["has no bfloat16 in opset 20" in note for note in notes] == [True] * len(float32)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def test_unknown_precision() -> None:
    with pytest.raises(ValueError, match="'fp8' is no half precision; they are float16, bfloat16"):
        lower_precision(graph([helper.make_node("Relu", ["x"], ["y"])]), "fp8")


def test_overflow_is_named_with_its_case() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
        helper.make_node("Tanh", ["h"], ["y"], name="squash"),
    ]
    plain = ir.to_proto(graph(nodes, weight("w", 100)))
    retyped = graph(nodes, weight("w", 100))
    change = lower_precision(retyped, "float16")
    cases = {"normal": {"x": np.ones((2, 4), np.float32)}, "large": {"x": np.full((2, 4), 1e3, np.float32)}}
    (found,) = find_overflow(plain, retyped, change.half, cases, "float16")
    assert (found.tensor, found.node, found.case, found.largest) == ("h", "product", "large", 4e5)
    assert "product" in str(found)
    assert find_overflow(plain, retyped, change.half, cases, "bfloat16") == []
    masked = ir.to_proto(
        graph(nodes, weight("w", -np.inf))
    )  # an infinity is one in every type, as a mask has it
    assert find_overflow(masked, retyped, change.half, cases, "float16") == []
    assert find_overflow(plain, retyped, change.half, {"normal": cases["normal"]}, "float16") == []
    assert find_overflow(plain, retyped, ["of another name"], cases, "float16") == []


def test_overflow_is_measured_of_inputs_in_bfloat16() -> None:
    """As the file takes them."""
    text = """<ir_version: 10, opset_import: ["" : 20]> g (bfloat16[4] x) => (float[4] y) {
        wide = Cast <to = 1> (x)  h = Mul (wide, wide)  y = Tanh (h)
    }"""
    plain, cases = onnx.parser.parse_model(text), {"large": {"x": np.full(4, 512, ml_dtypes.bfloat16)}}
    (found,) = find_overflow(plain, ir.from_proto(plain), ["h"], cases, "float16")
    assert (found.tensor, found.largest) == ("h", 2.0**18)


def test_overflow_of_an_attention_is_told_as_attention() -> None:
    """Measured where it is spelt out in standard operators, named as the exported file has it."""
    declaration, module, _ = declare("sliding_window", SETTINGS["sliding_window"], seq="9")
    half = build(module, replace(declaration, precision="float16"))
    plain = build(module, replace(declaration, ops="standard"))
    assert half.half is not None
    x = {"state_sequence": np.full((1, 9, 32), 1e8, np.float32)}
    found = find_overflow(ir.to_proto(plain.model), half.model, half.half.half, {"large": x}, "float16")
    (attention,) = (o for o in found if o.tensor == "online_softmax_attention")
    assert attention.op == "OnlineSoftmaxAttention"


def test_largest_bfloat16() -> None:
    from temport.exporter.parity.overflow import LARGEST

    assert LARGEST == {"float16": 65504.0, "bfloat16": 2.0**128 - 2.0**120}
