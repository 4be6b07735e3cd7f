"""The rewrites that put FusedDense, FusedLSTM and ResidualLayerNorm in the place of standard operators."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from temport.exporter.declare.architectures import declare
from temport.exporter.declare.streams import declare_stream
from temport.exporter.passes.fused_lstm import fused_lstm
from temport.exporter.runtimes.op_reference import REFERENCE_OPS
from tests.traces import build

FLOAT = onnx.TensorProto.FLOAT


def counted(
    arch: str, settings: list[str], streaming: bool = False, batch: str = "1", **changes: object
) -> Counter[str]:
    declaration, module, _ = declare(arch, settings, seq="8", batch=batch)
    if streaming:
        declaration = declare_stream(declaration, module)
    model = build(module, replace(declaration, **changes)).model
    return Counter(node.op_type for node in model.graph)


MEGA = ["embed_dim=16", "hidden_size=128", "num_layers=2"]
SLIDING = ["embed_dim=16", "num_heads=4", "head_dim=8", "ffn_dim=32", "window_size=8", "num_layers=2"]
HYBRID = ["embed_dim=8", "lstm_hidden=32", "num_heads=2", "head_dim=8"]


def test_what_a_stream_and_a_window_use() -> None:
    frame = counted("mega", MEGA, streaming=True)
    assert frame["CachedAttention"] == 2 and frame["FusedDense"] > 8 and not {"Concat", "Split"} & set(frame)
    for batch in ("1", "3", "dynamic"):
        window = counted("mega", MEGA, batch=batch)
        assert window["FusedDense"] > 8 and not {"Gemm", "Sigmoid"} & set(window), batch
    by_head = counted("sliding_window", SLIDING)  # the last block's products with the heads' own weights
    assert by_head["FusedDense"] > 6 and not {"MatMul", "Gemm", "Gelu"} & set(by_head)
    assert by_head["ResidualLayerNorm"] == 4 and not {"LayerNormalization", "Add"} & set(by_head)
    three_axes = counted("dms", ["hid_dim=8", "n_heads=2"])
    assert three_axes["FusedDense"] == 4 and not {"MatMul", "Add"} & set(three_axes)
    lstm = counted("hybrid", HYBRID)
    assert (lstm["FusedLSTM"], lstm["LSTM"]) == (1, 0)


def epilogues(arch: str, settings: list[str], batch: str, seq: str) -> Counter[tuple[str, int]]:
    """Layers by activation and number of inputs."""
    declaration, module, _ = declare(arch, settings, seq=seq, batch=batch)
    layers = [n for n in build(module, declaration).model.graph if n.op_type == "FusedDense"]
    return Counter((n.attributes["activation"].as_string(), len(n.inputs)) for n in layers)


@pytest.mark.parametrize("seq", ["8", "dynamic"])
@pytest.mark.parametrize(("arch", "settings"), [("mega", MEGA), ("lightning", MEGA[:2])])
def test_open_axes_cost_no_epilogue(arch: str, settings: list[str], seq: str) -> None:
    """Factor and addend are taken where the number of rows is a product with a name, as where it is a number."""
    of_one = epilogues(arch, settings, "1", seq)
    assert any(inputs > 3 for _, inputs in of_one)
    assert epilogues(arch, settings, "dynamic", seq) == of_one


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_pruned_lstm_loads_without_our_library(precision: str) -> None:
    """Outputs that nobody uses are pruned from the LSTM; its body still has all of them."""
    declaration, module, _ = declare("hybrid", HYBRID, seq="8")
    model = ir.to_proto(build(module, replace(declaration, precision=precision)).model)
    assert any(node.op_type == "FusedLSTM" for node in model.graph.node)
    ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_standard_dialect_has_none_of_them() -> None:
    ops = counted("hybrid", HYBRID, ops="standard")
    assert ops["LSTM"] == 1 and not {"FusedLSTM", "FusedDense", "ResidualLayerNorm"} & set(ops)


def test_half_precision_products_stay_as_they_are() -> None:
    assert counted("mega", MEGA, precision="float16")["FusedDense"] == 0


def graph_of(nodes, inputs, constants, outputs) -> onnx.ModelProto:
    """A model of these nodes; inputs and outputs are names with shapes."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def rewritten(rewrite, nodes, inputs, constants, outputs) -> list[str]:
    """Op types after the rewrite of a graph of these nodes."""
    proto = graph_of(nodes, inputs, constants, outputs)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    rewrite(model)
    return [node.op_type for node in model.graph]


def test_which_lstms_are_fused() -> None:
    weights = {"w": np.zeros((1, 8, 3), np.float32), "r": np.zeros((1, 8, 2), np.float32)}
    weights |= {"lengths": np.array([1], np.int32), "b": np.zeros((1, 16), np.float32)}
    cases = [
        (["x", "w", "r", "b"], {}, "FusedLSTM"),
        (["x", "w", "r", "b"], {"direction": "forward"}, "FusedLSTM"),
        (["x", "w", "r", "b", "lengths"], {}, "LSTM"),
        (["x", "w", "r"], {"direction": "reverse"}, "LSTM"),
        (["x", "w", "r"], {"clip": 3.0}, "LSTM"),
        (["x", "w", "r"], {"activations": ["Sigmoid", "Relu", "Tanh"]}, "LSTM"),
    ]
    for names, attributes, expected in cases:
        node = helper.make_node("LSTM", names, ["y"], hidden_size=2, **attributes)
        assert rewritten(fused_lstm, [node], {"x": [4, 1, 3]}, weights, {"y": None}) == [expected], attributes


def test_outputs_that_lstms_leave_out_get_names_of_their_own() -> None:
    """Two nodes without a name, one with nothing but its last state."""
    weights = {"w": np.ones((1, 8, 3), np.float32), "r": np.ones((1, 8, 2), np.float32)}
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2),
        helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=2),
    ]
    x = np.ones((4, 1, 3), np.float32)
    proto = graph_of(nodes, {"x": [4, 1, 3]}, weights, {"y": [4, 1, 1, 2], "h": [1, 1, 2]})
    before = ReferenceEvaluator(proto).run(None, {"x": x})
    model = ir.from_proto(proto)
    assert fused_lstm(model)
    after = ir.to_proto(model)
    after.opset_import.append(helper.make_opsetid("temport", 1))
    onnx.checker.check_model(after, full_check=True)
    for old, new in zip(
        before, ReferenceEvaluator(after, new_ops=REFERENCE_OPS).run(None, {"x": x}), strict=True
    ):
        np.testing.assert_allclose(new, old, atol=1e-6)


def test_an_lstm_with_weights_from_the_graph_stays() -> None:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=2)
    inputs = {"x": [4, 1, 3], "w": [1, 8, 3], "r": [1, 8, 2]}
    assert rewritten(fused_lstm, [node], inputs, {}, {"y": None}) == ["LSTM"]
