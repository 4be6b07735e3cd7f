"""Engines of models whose layers round what they take: products of integers where there can be, told where not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import temport
from temport.custom_ops.fused_dense.reference import reference
from temport.custom_ops.op import Host
from temport.custom_ops.table import OPS
from temport.exporter.compilers.compile import compile_model, lower
from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.compilers.layers import EngineLayer, LayerTensor
from temport.exporter.compilers.products import lost_roundings, products_table, widened_products
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from temport.exporter.declare.declaration import Declaration, TensorSpec

SMALL = {
    "sliding_window": (
        *("embed_dim=32", "num_heads=2", "head_dim=32", "num_layers=1"),
        *("window_size=8", "ffn_dim=64"),
    ),
    "mega": ("embed_dim=32", "hidden_size=64", "num_layers=2"),
    "hybrid": ("embed_dim=64", "lstm_hidden=64", "num_heads=1", "head_dim=64"),
}


FP8 = {
    "weights_dtype": "fp8",
    "activations": "fp8",
    "compile": CompileOptions(compute_capabilities=("89", "120")),
}
NAMES = {"Int8": "int8", "FP8": "float8e4m3fn"}


def engine_of(arch: str, folder: Path, **asked: Any) -> dict[str, Any]:
    """The entry of engine.json of an export with narrow weights and activations that passed, and holds the file's."""
    width = int(SMALL[arch][0].partition("=")[2])
    np.save(folder / "own.npy", np.random.default_rng(1).standard_normal((1, 16, width)).astype(np.float32))
    usual = {"seq": 16, "weights_dtype": "int8", "activations": "int8", "calibrate": folder / "own.npy"}
    usual |= {"target": "tensorrt-rtx", "runtimes": ("onnxruntime_cpu",), "settings": SMALL[arch]}
    done = temport.export(arch, out=folder / "b", **usual | asked)
    assert done.passed and done.report.compression is not None
    (engine,) = json.loads((done.path / "engine.json").read_text())["engines"]
    held = onnx.load(done.path / "model.onnx").graph.initializer
    narrow = (TensorProto.INT8, TensorProto.FLOAT8E4M3FN)
    stored = sum(len(tensor.raw_data) for tensor in held if tensor.data_type in narrow)
    assert sum(engine["constants"].get(name, 0) for name in NAMES) == stored > 8000
    told = [text for text in done.report.warnings if "no layer of the engine rounds" in text]
    assert not told and engine["warnings"] == [w for w in done.report.warnings if w in engine["warnings"]]
    found: dict[str, Any] = engine
    return found


@pytest.mark.parametrize(
    ("arch", "asked", "products", "wide"),
    [
        ("sliding_window", {}, 4, 0),
        pytest.param("sliding_window", {"ops": "standard"}, 4, 0, marks=pytest.mark.thorough),
        pytest.param("sliding_window", {"streaming": True}, 4, 0, marks=pytest.mark.thorough),
        pytest.param("sliding_window", FP8, 4, 0, marks=pytest.mark.thorough),
        pytest.param("sliding_window", FP8 | {"streaming": True}, 4, 0, marks=pytest.mark.thorough),
        pytest.param("hybrid", {}, 3, 0, marks=pytest.mark.thorough),
        pytest.param("mega", {}, 17, 1, marks=pytest.mark.thorough),
    ],
)
def test_rounded_layers_become_products_of_integers(
    tmp_path: Path, arch: str, asked: dict[str, Any], products: int, wide: int
) -> None:
    """But for the products of mega whose columns are taken apart behind them: the builder takes the weight apart, and
    multiplies in float32, which is told.
    """
    engine = engine_of(arch, tmp_path, **asked)
    (kind,) = {p["held"] for p in engine["products"]}
    rounded = [p for p in engine["products"] if p["input"] == kind]
    assert kind == ("float8e4m3fn" if "activations" in asked else "int8") and len(rounded) == products
    assert [p["computes_in"] for p in rounded].count("float32") == wide
    assert {p["computes_in"] for p in rounded} <= {kind, "float32"}
    assert {p["computes_in"] for p in engine["products"] if p not in rounded} <= {"float32"}
    recurrent = [p["layer"] for p in engine["products"] if p["layer"].startswith("node_lstm")]
    assert len(recurrent) == (2 if arch == "hybrid" else 0)  # its two weights, held in few bits too
    assert sum("both factors in int8" in text for text in engine["warnings"]) == bool(wide)


def dense(groups: int) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """`FusedDense` with its body, an int8 weight and a rounded input; what the definition takes behind X."""
    random = np.random.default_rng(groups)
    shape = (32, 16) if groups == 1 else (groups, 32, 16)
    given = {
        "w": random.integers(-127, 128, shape).astype(np.int8),
        "b": random.standard_normal(groups * 16).astype(np.float32),
        "ws": (random.random((16,) if groups == 1 else (groups, 1, 16)) / 64).astype(np.float32),
        "xs": np.array(0.03125, np.float32),
    }
    names = ["x", "w", "b", "", "", "ws", "xs"]
    node = helper.make_node(
        "FusedDense", names, ["y"], "dense", domain="temport", groups=groups, activation="none"
    )
    info = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [5, groups * size])
        for name, size in (("x", 32), ("y", 16))
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in given.items()]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("temport", 1)]
    graph = helper.make_graph([node], "g", info[:1], info[1:], constants)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    (made,) = ir.from_proto(model).graph
    model.functions.append(OPS["FusedDense"].body_of(made, Host(opset=21)).function)
    return model, [given["w"], given["b"], None, None, given["ws"], given["xs"]]  # type: ignore[list-item]


@pytest.mark.parametrize("groups", [1, 2])
def test_lowered_rounding_is_the_definition(groups: int) -> None:
    """Two operators in the place of those of the body, at the borders between integers and beyond the ends too."""
    proto, given = dense(groups)
    model = ir.from_proto(proto)
    spec = TensorSpec("x", "float32", (5, groups * 32))
    lower(model, Declaration("module", {}, (spec,), ()), BACKEND)
    kinds = [node.op_type for node in model.graph]
    assert kinds.count("QuantizeLinear") == 1 and not {"Div", "Round", "Clip", "CastLike"} & set(kinds)
    assert [node.name for node in model.graph if node.op_type == "MatMul" and groups == 1] in ([], ["dense"])
    x = np.random.default_rng(0).integers(-300, 300, (5, groups * 32)).astype(np.float32) / 64
    (y,) = ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    np.testing.assert_allclose(y, reference([x, *given], {"groups": groups}), rtol=1e-5, atol=1e-5)


def product() -> ir.Model:
    """One product of a rounded input and an int8 weight."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs"], ["q"], "rounds", output_dtype=TensorProto.INT8),
        helper.make_node("DequantizeLinear", ["q", "xs"], ["d"], "numbers"),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["n"], "widens", axis=1),
        helper.make_node("MatMul", ["d", "n"], ["y"], "product"),
    ]
    random = np.random.default_rng(0)
    constants = {
        "xs": np.array(0.5, np.float32),
        "ws": np.full(32, 0.25, np.float32),
        "w": random.integers(-9, 9, (32, 32)).astype(np.int8),
    }
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 32]) for name in "xy"]
    tensors = [numpy_helper.from_array(a, name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], tensors)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


def test_what_a_builder_changes_is_told(tmp_path: Path) -> None:
    """Of the layers of a real engine, spoilt one by one."""
    model = product()
    onnx.save(ir.to_proto(model), tmp_path / "m.onnx")
    spec = Declaration("module", {}, (TensorSpec("x", "float32", (8, 32)),), ())
    report = compile_model("tensorrt-rtx", tmp_path / "m.onnx", spec, tmp_path)
    told = {
        "layer": "product",
        "weight_name": "w",
        "input": "int8",
        "weight": "int8",
        "held": "int8",
        "computes_in": "int8",
    }
    assert report.products == [told] and not report.warnings

    x, weight, y = (LayerTensor(n, (32, 32), k) for n, k in (("x", "Int8"), ("w", "Int8"), ("y", "Float")))
    right = EngineLayer("p", "gemm", ("product", "rounds", "widens"), (x,), (weight,), (y,))
    wide = replace(right, name="__myl_CastMulFc", type="runtime_fusion")
    half = replace(right, inputs=(replace(x, type="Half"),), outputs=(replace(y, type="Half"),))
    for layer, computes in ((right, "int8"), (wide, "float32"), (half, "float16")):
        table = products_table(model, [layer])
        assert table == [told | {"computes_in": computes}]
        sentences = list(widened_products(table))
        assert not sentences if layer is right else f"product ({computes})" in sentences[0]
        assert not list(lost_roundings(model, [layer]))
    widened = replace(right, constants=(replace(weight, type="Float"),))
    assert products_table(model, [widened])[0]["held"] == "float32"
    (sentence,) = lost_roundings(model, [replace(right, onnx_nodes=("product", "widens"))])
    assert sentence.startswith("no layer of the engine rounds for rounds:")
