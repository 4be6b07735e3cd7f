"""Models of the standard dialect, whose attention is `ai.onnx::Attention` already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from custom_ops.mask import MaskRule
from exporter.build import build, save
from exporter.compilers import compile_model
from exporter.compilers.compile import lower
from exporter.compilers.tensorrt_rtx import BACKEND
from exporter.declaration import Declaration, TensorSpec
from exporter.declare import declare
from tests.tensorrt.test_precision import SETTINGS

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
    declaration, module, _ = declare(
        "sliding_window", SETTINGS["sliding_window"], batch="1:2:4", seq="20", opset=opset, ops="standard"
    )
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    report = compile_model("tensorrt-rtx", tmp_path / "model.onnx", declaration, tmp_path)
    assert len(report.attention) == (2 if opset == 23 else 0)
