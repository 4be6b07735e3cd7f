"""Models of the standard dialect, whose attention is `ai.onnx::Attention` already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from temport.custom_ops.mask import MaskRule
from temport.exporter.build import save
from temport.exporter.compilers.compile import compile_model, lower
from temport.exporter.compilers.contract import CompileError
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from temport.exporter.declare.declaration import Declaration, TensorSpec
from tests.small_models import OPEN, SMALL
from tests.traces import build

MASK = MaskRule(window=7).array(20, 20)


def standard_model(element_type: int, masked: bool = True, boolean: bool = True) -> onnx.ModelProto:
    info = [helper.make_tensor_value_info(n, element_type, [2, 20, 64]) for n in "qkvy"]
    inputs = ["q", "k", "v", "window"] if masked else ["q", "k", "v"]
    node = helper.make_node("Attention", inputs, ["y"], name="att", q_num_heads=2, kv_num_heads=2)
    mask = MASK if boolean else np.where(MASK, 0, -1e4).astype(np.float32)
    graph = helper.make_graph(
        [node], "g", info[:3], info[3:], [numpy_helper.from_array(mask, "window")] if masked else []
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


_SHAPE = (2, 20, 64)
SPEC = Declaration(
    "module",
    {},
    tuple(TensorSpec(name, "float32", _SHAPE) for name in "qkv"),
    (TensorSpec("y", "float32", _SHAPE),),
)


@pytest.mark.parametrize("boolean", [True, False], ids=["boolean", "additive"])
def test_mask_keeps_its_meaning(boolean: bool) -> None:
    before = standard_model(TensorProto.FLOAT, boolean=boolean)
    model = ir.from_proto(before)
    lower(model, SPEC, BACKEND)
    random = np.random.default_rng(0)
    feeds = {n: random.standard_normal((2, 20, 64), np.float32) for n in "qkv"}
    (wanted,), (got,) = (ReferenceEvaluator(m).run(None, feeds) for m in (before, ir.to_proto(model)))
    assert np.abs(wanted - got).max() <= 64 * np.finfo(np.float32).eps
    assert all(value.dtype != ir.DataType.BOOL for value in model.graph.initializers.values())


def uneven_model(
    element_type: int, dims: tuple[int, int], by_head: bool, scale: float | None
) -> onnx.ModelProto:
    """4 query heads on 2 key heads of `dims[0]` with values of `dims[1]`, a window mask."""

    def info(name: str, heads: int, dim: int) -> onnx.ValueInfoProto:
        shape = [2, heads, 20, dim] if by_head else [2, 20, heads * dim]
        return helper.make_tensor_value_info(name, element_type, shape)

    attributes: dict[str, float] = {} if by_head else {"q_num_heads": 4, "kv_num_heads": 2}
    if scale is not None:
        attributes["scale"] = scale
    node = helper.make_node("Attention", ["q", "k", "v", "window"], ["y"], name="att", **attributes)
    inputs = [info("q", 4, dims[0]), info("k", 2, dims[0]), info("v", 2, dims[1])]
    masks = [numpy_helper.from_array(MASK, "window")]
    graph = helper.make_graph([node], "g", inputs, [info("y", 4, dims[1])], masks)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def uneven_spec(proto: onnx.ModelProto, element_type: str) -> Declaration:
    specs = [
        TensorSpec(x.name, element_type, tuple(d.dim_value for d in x.type.tensor_type.shape.dim))
        for x in (*proto.graph.input, *proto.graph.output)
    ]
    return Declaration("module", {}, tuple(specs[:3]), (specs[3],))


@pytest.mark.parametrize("dims", [(32, 10), (19, 41)], ids=["narrow", "wide"])
@pytest.mark.parametrize("by_head", [False, True], ids=["3D", "4D"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_values_of_another_width(dims: tuple[int, int], by_head: bool, scale: float | None) -> None:
    before = uneven_model(TensorProto.FLOAT, dims, by_head, scale)
    model = ir.from_proto(before)
    lower(model, uneven_spec(before, "float32"), BACKEND)
    random = np.random.default_rng(0)
    feeds = {
        x.name: random.standard_normal([d.dim_value for d in x.type.tensor_type.shape.dim], np.float32)
        for x in before.graph.input
    }
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    (wanted,), (got,) = (ReferenceEvaluator(m).run(None, feeds) for m in (before, after))
    assert wanted.shape == got.shape
    assert np.abs(wanted - got).max() <= 64 * np.finfo(np.float32).eps


@pytest.mark.parametrize("by_head", [False, True], ids=["3D", "4D"])
@pytest.mark.parametrize(("element_type", "outcome"), [("float16", "fused"), ("float32", "decomposed")])
def test_engine_of_values_of_another_width(
    element_type: str, outcome: str, by_head: bool, tmp_path: Path
) -> None:
    kind = {"float16": TensorProto.FLOAT16, "float32": TensorProto.FLOAT}[element_type]
    proto = uneven_model(kind, (32, 10), by_head, None)
    onnx.save(proto, tmp_path / "m.onnx")
    report = compile_model("tensorrt-rtx", tmp_path / "m.onnx", uneven_spec(proto, element_type), tmp_path)
    assert [(entry["outcome"], entry["value_dim"]) for entry in report.attention] == [(outcome, 10)]


def test_cache_with_values_of_another_width_is_refused() -> None:
    proto = uneven_model(TensorProto.FLOAT, (32, 10), True, None)
    proto.graph.node[0].input.extend(["k", "v"])
    with pytest.raises(CompileError, match="att has a cache, and values of head dim 10 with keys of 32"):
        lower(ir.from_proto(proto), uneven_spec(proto, "float32"), BACKEND)


@pytest.mark.parametrize("masked", [False, True], ids=["full", "window"])
@pytest.mark.parametrize(
    ("element_type", "outcome"),
    [(TensorProto.FLOAT16, "fused"), (TensorProto.BFLOAT16, "fused"), (TensorProto.FLOAT, "decomposed")],
    ids=["float16", "bfloat16", "float32"],
)
def test_engine(element_type: int, outcome: str, masked: bool, tmp_path: Path) -> None:
    onnx.save(standard_model(element_type, masked), tmp_path / "m.onnx")
    report = compile_model("tensorrt-rtx", tmp_path / "m.onnx", SPEC, tmp_path)
    assert [(entry["node"], entry["outcome"]) for entry in report.attention] == [("att", outcome)]


@pytest.mark.parametrize("opset", [20, 23])
def test_exported_standard_dialect(opset: int, tmp_path: Path) -> None:
    declaration, module = SMALL["sliding_window"].declare(**OPEN, opset=opset, ops="standard")
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    report = compile_model("tensorrt-rtx", tmp_path / "model.onnx", declaration, tmp_path)
    assert len(report.attention) == (2 if opset == 23 else 0)
