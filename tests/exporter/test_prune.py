"""Pruning removes work and never changes a number: pruned and whole graphs agree to the last bit or two."""

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import nn

from temport.exporter.build import Built
from temport.exporter.declare.architectures import declare
from temport.exporter.passes.prune import prune
from tests.small_models import PRUNED, SMALL, thorough_but
from tests.traces import build


def outputs(model: ir.Model, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, {"state_sequence": x})[0]


def agree(module: nn.Module, whole: Built, trimmed: Built, values: np.ndarray) -> None:
    """The trimmed graph is at most twice as far from float64 as the whole one."""
    x = values.astype(np.float32)
    with torch.no_grad():
        oracle = copy.deepcopy(module).double()(torch.from_numpy(x).double()).numpy()
    errors = [np.abs(outputs(built.model, x) - oracle).max() for built in (whole, trimmed)]
    assert errors[1] <= 2 * errors[0] + 16 * np.finfo(np.float32).eps * np.abs(oracle).max()


@pytest.mark.parametrize("name", thorough_but(PRUNED, ("sliding_window", "mega-softmax")))
def test_a_symbolic_length_is_pruned_too(name: str) -> None:
    """One file for every length, down to the shortest that was declared. Where that is 1: test_every_architecture."""
    declaration, module = SMALL[name].declare(batch="1:2:3", seq="7:20:31")  # the trace of test_limit_lengths
    whole = build(module, replace(declaration, without=("prune",)))
    trimmed = build(module, declaration)
    work = [sum(built.flops["exported"].values()) for built in (whole, trimmed)]
    assert work[1] < work[0]
    width = SMALL[name].config().embed_dim
    for length in (7, 8, 13, 31):
        agree(module, whole, trimmed, np.random.default_rng(length).standard_normal((2, length, width)))


def is_pruned(built: Built) -> bool:
    return any(step.changed for step in built.passes if step.name == "prune")


def sizes(model: ir.Model, op: str, activation: str | None = None) -> Counter[int]:
    """Positions that nodes of one kind compute for one sequence, by how many nodes compute so many."""
    nodes = [n for n in model.graph if n.op_type == op]
    if activation is not None:
        nodes = [n for n in nodes if n.attributes["activation"].as_string() == activation]
    found = [n.outputs[0].shape for n in nodes]
    positions = (s[1] if len(s) == 3 else s[0] for s in found if s is not None)
    return Counter(n for n in positions if isinstance(n, int))


def test_only_what_reaches_the_output_is_computed() -> None:
    """Three layers of window 5 over 23 positions: the last position hangs on 5, 9 and 13 positions below it."""
    settings = ("embed_dim=6", "num_heads=2", "head_dim=8", "num_layers=3", "window_size=5", "ffn_dim=12")
    declaration, module, _ = declare("sliding_window", settings, seq="23")
    model = build(module, declaration).model
    assert set(sizes(model, "FusedDense", activation="gelu")) == {1, 5, 9}
    assert set(sizes(model, "OnlineSoftmaxAttention")) == {1, 5, 9}
    assert max(sizes(model, "FusedDense")) == 13


def test_whole_sequence_output_is_left_alone() -> None:
    declaration, module, _ = declare("dms", ("hid_dim=8", "n_heads=2", "masked=false"), seq="9")
    assert not is_pruned(build(module, declaration))


def test_a_value_with_two_uses_keeps_what_both_need() -> None:
    """One consumer takes the last row, another the sum over all rows: nothing may be cut."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, 4, 2]))
    shape = ir.Shape([1, 4, 2])

    def value(name: str, dims: list[int]) -> ir.Value:
        return ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(dims))

    squared = value("squared", list(shape.numpy()))
    last, total = value("last", [1, 2]), value("total", [1, 1, 2])
    index = ir.Value(name="i", const_value=ir.tensor(np.array(-1)), shape=ir.Shape([]))
    axes = ir.Value(name="a", const_value=ir.tensor(np.array([1])), shape=ir.Shape([1]))
    nodes = [
        ir.node("Mul", [x, x], outputs=[squared]),
        ir.node("Gather", [squared, index], {"axis": 1}, outputs=[last]),
        ir.node("ReduceSum", [squared, axes], outputs=[total]),
    ]
    graph = ir.Graph(
        [x], [last, total], nodes=nodes, initializers=[index, axes], opset_imports={"": 20}, name="g"
    )
    model = ir.Model(graph, ir_version=10)
    assert not prune(model, {})
    assert squared.shape == shape
