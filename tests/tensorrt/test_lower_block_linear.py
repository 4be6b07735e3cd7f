"""Block-linear attention as TensorRT gets it computes what the float64 reference computes, with a fused softmax."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from temport.custom_ops.block_linear_attention.reference import reference
from temport.custom_ops.op import Host
from temport.custom_ops.table import OPS
from temport.exporter.compilers.compile import compile_model, lower
from temport.exporter.compilers.tensorrt_rtx import BACKEND
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec

IN_FLOAT32 = replace(BACKEND, fused_types=frozenset({"FLOAT"}))
"""The same table for a backend whose kernel took float32, so that the lowering is compared without rounding."""


def block_model(
    length: int, block: int, packed: bool, element_type: int, **attributes: object
) -> onnx.ModelProto:
    names = ["q"] if packed else ["q", "k", "v"]
    width = 96 if packed else 32
    values = {"scale": 0.25, "feature_map": "elu1", "normalizer": "key_sum", "eps": 1e-8, **attributes}
    node = helper.make_node(
        "BlockLinearAttention", names, ["y"], name="block_linear", domain="temport",
        num_heads=2, block_size=block, **values,
    )  # fmt: skip
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "g",
        [info(name, element_type, [3, length, width]) for name in names],
        [info("y", element_type, [3, length, 32])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("temport", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    (made,) = ir.from_proto(model).graph
    model.functions.append(OPS["BlockLinearAttention"].body_of(made, Host(opset=20)).function)
    return model


def spec(model: onnx.ModelProto) -> Declaration:
    def tensor(value: onnx.ValueInfoProto) -> TensorSpec:
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        return TensorSpec(value.name, "float16", (*(Axis(f"a{n}", n, n, n) for n in sizes[:1]), *sizes[1:]))

    return Declaration(
        "module", {}, tuple(map(tensor, model.graph.input)), tuple(map(tensor, model.graph.output))
    )


@pytest.mark.parametrize("packed", [False, True], ids=["qkv", "packed"])
@pytest.mark.parametrize("normalizer", ["key_sum", "none"])
@pytest.mark.parametrize("feature_map", ["elu1", "identity"])
@pytest.mark.parametrize(
    ("length", "block"), [(1, 4), (8, 8), (16, 4), (19, 4), (5, 64)], ids=lambda n: str(n)
)
def test_equals_reference(length: int, block: int, feature_map: str, normalizer: str, packed: bool) -> None:
    proto = block_model(
        length, block, packed, TensorProto.FLOAT, feature_map=feature_map, normalizer=normalizer
    )
    model = ir.from_proto(proto)
    (entry,) = lower(model, spec(proto), IN_FLOAT32).attention
    assert (entry.form, entry.mask) == ("fused", "is_causal")
    lowered = ir.to_proto(model)
    onnx.checker.check_model(lowered, full_check=True)
    random = np.random.default_rng(1)
    feeds = {v.name: random.random((3, length, 96 if packed else 32), np.float32) for v in proto.graph.input}
    attributes = {
        "num_heads": 2, "block_size": block, "scale": 0.25, "feature_map": feature_map, "normalizer": normalizer,
        "eps": 1e-8,
    }  # fmt: skip
    truth = reference([feeds.get(name) for name in "qkv"], attributes)
    (y,) = ReferenceEvaluator(lowered).run(None, feeds)
    # inputs are positive, so no denominator comes near 0 and the sums are well conditioned
    assert np.abs(y - truth).max() <= 64 * np.finfo(np.float32).eps * max(1.0, np.abs(truth).max())


def test_small_features_keep_their_digits() -> None:
    """Features of e^-12 are 50 units in the last place of 1: added to 1 and taken off again they would be lost."""
    values = {
        "feature_map": "elu1",
        "normalizer": "key_sum",
        "scale": 2.0**-12,
    }  # no large scores beside them
    proto = block_model(16, 4, False, TensorProto.FLOAT, **values)
    model = ir.from_proto(proto)
    lower(model, spec(proto), IN_FLOAT32)
    random = np.random.default_rng(1)
    feeds = {v.name: random.random((3, 16, 32), np.float32) for v in proto.graph.input}
    feeds |= {name: feeds[name] - np.float32(12) for name in "qk"}
    attributes = {"num_heads": 2, "block_size": 4, "eps": 1e-8, **values}
    truth = reference([feeds[name] for name in "qkv"], attributes)
    (y,) = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
    assert np.abs(y - truth).max() <= 64 * np.finfo(np.float32).eps * max(1.0, np.abs(truth).max())


@pytest.mark.parametrize(("length", "block"), [(16, 4), (60, 64), (130, 64)], ids=lambda n: str(n))
def test_engine_fuses_the_softmax(length: int, block: int, tmp_path: Path) -> None:
    proto = block_model(length, block, True, TensorProto.FLOAT16)
    onnx.save(proto, tmp_path / "m.onnx")
    report = compile_model("tensorrt-rtx", tmp_path / "m.onnx", spec(proto), tmp_path)
    assert [entry["outcome"] for entry in report.attention] == ["fused"]


def test_float32_keeps_its_body(tmp_path: Path) -> None:
    proto = block_model(16, 4, False, TensorProto.FLOAT)
    model = ir.from_proto(proto)
    opset = model.opset_imports[""]
    (entry,) = lower(model, spec(proto), BACKEND).attention
    assert (entry.form, entry.mask) == ("decomposed", "body") and "no fused kernel for float32" in entry.why
    assert model.opset_imports[""] == opset
    assert {node.domain for node in model.graph} == {""}
