"""The rewrites that put FusedDense, FusedLSTM, FusedGRU and ResidualLayerNorm in the place of standard operators."""

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
from temport.exporter.passes.fused_recurrent import fused_recurrent
from temport.exporter.passes.notes import Notes
from temport.exporter.runtimes.op_reference import REFERENCE_OPS
from tests.traces import build, declare_stream

FLOAT = onnx.TensorProto.FLOAT


def counted(
    arch: str, settings: list[str], streaming: bool = False, batch: str = "1", **changes: object
) -> Counter[str]:
    declaration, module, _ = declare(arch, settings, seq="8", batch=batch)
    if streaming:
        declaration = declare_stream(declaration, module)
    model = build(module, replace(declaration, **changes)).model
    return Counter(node.op_type for node in model.graph)


MEGA = ["embed_dim=16", "hidden_size=128", "num_layers=1"]
SLIDING = ["embed_dim=16", "num_heads=4", "head_dim=8", "ffn_dim=32", "window_size=8", "num_layers=2"]
HYBRID = ["embed_dim=8", "lstm_hidden=32", "num_heads=2", "head_dim=8"]


def test_what_a_stream_and_a_window_use() -> None:
    frame = counted("mega", MEGA, streaming=True)
    assert frame["CachedAttention"] == 1 and frame["FusedDense"] > 4 and not {"Concat", "Split"} & set(frame)
    for batch in ("1", "dynamic"):
        window = counted("mega", MEGA, batch=batch)
        assert window["FusedDense"] > 4 and not {"Gemm", "Sigmoid"} & set(window), batch
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


@pytest.mark.parametrize(
    ("arch", "seq"), [("lightning", "8"), pytest.param("mega", "dynamic", marks=pytest.mark.thorough)]
)
def test_open_axes_cost_no_epilogue(arch: str, seq: str) -> None:
    """Factor and addend are taken where the number of rows is a product with a name, as where it is a number."""
    of_one = epilogues(arch, MEGA, "1", seq)
    assert any(inputs > 3 for _, inputs in of_one)
    assert epilogues(arch, MEGA, "dynamic", seq) == of_one


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


STAY = [
    ("LSTM", ["x", "w", "r", "b", "lengths"], {}, "its sequences have lengths of their own"),
    ("LSTM", ["x", "w", "r", "b", "", "", "", "p"], {}, "it has peepholes"),
    ("LSTM", ["x", "w", "r"], {"clip": 3.0}, "clip = 3.0"),
    ("LSTM", ["x", "w", "r"], {"input_forget": 1}, "input_forget = 1"),
    (
        "LSTM",
        ["x", "w", "r"],
        {"activations": ["Sigmoid", "Relu", "Tanh"]},
        "activations = ['Sigmoid', 'Relu', 'Tanh']",
    ),
    ("LSTM", ["x", "x", "r"], {}, "its weights are no constants"),
    ("GRU", ["x", "w", "r"], {}, "linear_before_reset = 0"),
    ("GRU", ["x", "w", "r"], {"linear_before_reset": 1, "layout": 1}, "layout = 1"),
    ("GRU", ["wide_x", "wide", "wide_r"], {"linear_before_reset": 1}, "its weights are not float32"),
]


@pytest.mark.parametrize(("op", "names", "attributes", "why"), STAY)
def test_which_layers_stay_and_why(
    op: str, names: list[str], attributes: dict[str, object], why: str
) -> None:
    weights = weights_of(op, 1) | {"lengths": np.array([1], np.int32), "p": np.zeros((1, 6), np.float32)}
    weights |= {f"wide_{n}" if n != "w" else "wide": weights[n].astype(np.float64) for n in "wr"}
    weights |= {"wide_x": np.zeros((4, 1, 3))}
    node = helper.make_node(op, names, ["y"], hidden_size=2, **attributes)
    notes = Notes()
    model = ir.from_proto(graph_of([node], {"x": [4, 1, 3]}, weights, {"y": None}))
    assert not fused_recurrent(model, notes)
    assert list(notes) == [f"fused_recurrent: {op} (node y) stays as it is: {why}"]


def weights_of(op: str, directions: int) -> dict[str, np.ndarray]:
    """W, R and B of two units over three features."""
    rows, draw = {"LSTM": 8, "GRU": 6}[op], np.random.default_rng(0).standard_normal
    shapes = {"w": (directions, rows, 3), "r": (directions, rows, 2), "b": (directions, 2 * rows)}
    return {name: draw(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_layers_of_every_direction(op: str, direction: str) -> None:
    """Two layers over one input, with a state; the second leaves out all but its last h."""
    ways, states = (2 if direction == "bidirectional" else 1), (2 if op == "LSTM" else 1)
    attributes = {"hidden_size": 2, "direction": direction, "linear_before_reset": 1}
    attributes |= {
        "activations": (["Sigmoid", "Tanh", "Tanh"] if op == "LSTM" else ["Sigmoid", "Tanh"]) * ways
    }
    if op == "LSTM":
        del attributes["linear_before_reset"]
    last = ["h", "c"][:states]
    nodes = [
        helper.make_node(op, ["x", "w", "r", "b", "", *["s"] * states], ["y", *last], "one", **attributes),
        helper.make_node(op, ["x", "w", "r"], ["", "only_h"], **attributes),
    ]
    outputs = {"y": [None, ways, None, 2], **{name: [ways, None, 2] for name in [*last, "only_h"]}}
    inputs = {"x": ["seq", "batch", 3], "s": [ways, "batch", 2]}
    model = ir.from_proto(graph_of(nodes, inputs, weights_of(op, ways), outputs))
    notes, before = Notes(), ir.to_proto(model)
    assert fused_recurrent(model, notes) and not list(notes)
    after = ir.to_proto(model)
    found = Counter(node.op_type for node in after.graph.node)
    assert found[f"Fused{op}"] == 2 * ways and found[op] == 0
    names = [node.name for node in after.graph.node if node.name]
    assert len(set(names)) == len(names)
    held = {constant.name for constant in after.graph.initializer}
    assert held <= {name for node in after.graph.node for name in node.input}, "weights nobody reads any more"
    onnx.checker.check_model(after, full_check=True)
    for seq, batch in ((1, 1), (5, 3)):
        draw = np.random.default_rng(seq).standard_normal
        feeds = {
            "x": draw((seq, batch, 3)).astype(np.float32),
            "s": draw((ways, batch, 2)).astype(np.float32),
        }
        session = ort.InferenceSession(before.SerializeToString(), providers=["CPUExecutionProvider"])
        truth = session.run(None, feeds)  # ONNX's evaluator has no layer that is reversed alone
        got = ReferenceEvaluator(after, new_ops=REFERENCE_OPS).run(None, feeds)
        for old, new in zip(truth, got, strict=True):
            np.testing.assert_allclose(new, old, atol=2e-6)
