"""torch's own recurrent layers: one node per layer, at every length, in float64 as torch computes them."""

from __future__ import annotations

import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from torch import nn

from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.modules import declare_factory
from temport.exporter.declare.observe import drawn
from temport.exporter.errors import UserError
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.passes.fused_recurrent import fused_recurrent
from temport.exporter.passes.notes import Notes
from temport.exporter.trace.trace import trace

CASES = [
    (kind, layers, bidirectional, bias, batch_first, stateful)
    for kind in (nn.LSTM, nn.GRU, nn.RNN)
    for layers, bidirectional, bias, batch_first, stateful in (
        (1, False, True, True, False),
        (2, False, False, False, True),
        (2, True, True, True, True),
        (1, True, False, True, False),
    )
]


HARDEST = (2, True, True, True, True)


class Recurrent(nn.Module):
    def __init__(self, kind, layers, bidirectional, bias, batch_first, stateful, **more) -> None:
        super().__init__()
        self.layer = kind(
            3, 5, num_layers=layers, bidirectional=bidirectional, bias=bias, batch_first=batch_first, **more
        )
        self.lstm = kind is nn.LSTM

    def forward(self, x, h=None):
        state = None if h is None else (h, 2 * h) if self.lstm else h
        y, last = self.layer(x, state)
        return y, *(last if self.lstm else (last,))


def exported(module: nn.Module, shapes: list[str]) -> tuple[Declaration, nn.Module, ir.Model]:
    declaration, called = declare_factory(lambda: module, "own.py:make", shapes, "dynamic", "dynamic")
    return declaration, called, trace(called, declaration).model


def agree(declaration: Declaration, module: nn.Module, model: ir.Model, batch: int, seq: int) -> None:
    inputs = drawn(declaration.inputs, {"batch": batch, "seq": seq}, seed=seq)
    with torch.no_grad():
        truth = module.double()(*(x.double() for x in inputs))
    got = Float64Graph(ir.to_proto(model)).run(
        {spec.name: x.double().numpy() for spec, x in zip(declaration.inputs, inputs, strict=True)}
    )
    for spec, y in zip(declaration.outputs, truth, strict=True):
        assert got[spec.name].shape == tuple(y.shape)
        assert abs(got[spec.name] - y.numpy()).max() < 1e-12


@pytest.mark.parametrize(
    "case",
    # an RNN has no op of ours: the hardest of it, and every form of the two others
    [
        c if c[0] is not nn.RNN or c[1:] == HARDEST else pytest.param(c, marks=pytest.mark.thorough)
        for c in CASES
    ],
    ids=lambda c: f"{c[0].__name__}-{'-'.join(map(str, c[1:]))}",
)
def test_a_layer_is_a_node_at_every_length(case) -> None:
    kind, layers, bidirectional, _, batch_first, stateful = case
    x = "x=batch,seq,3" if batch_first else "x=seq,batch,3"
    state = [f"h={layers * (2 if bidirectional else 1)},batch,5"] if stateful else []
    declaration, module, model = exported(Recurrent(*case), [x, *state])
    nodes = [node for node in model.graph if node.op_type == kind.__name__]
    assert len(nodes) == layers and stateful == any(value is not None for value in nodes[0].inputs[5:])
    fused, notes = model.clone(), Notes()
    assert fused_recurrent(fused, notes) == (kind is not nn.RNN) and not list(notes)
    directions = 2 if bidirectional else 1
    ours = [node for node in fused.graph if node.op_type == f"Fused{kind.__name__}"]
    assert kind is nn.RNN or len(ours) == layers * directions
    for batch, seq in ((1, 1), (3, 7), (2, 64)):
        agree(declaration, module, model, batch, seq)
        agree(declaration, module, fused, batch, seq)


def test_a_relu_cell() -> None:
    case = (nn.RNN, 1, False, True, True, False)
    declaration, module, model = exported(Recurrent(*case, nonlinearity="relu"), ["x=batch,seq,3"])
    (x,) = drawn(declaration.inputs, {"batch": 2, "seq": 9})
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    y, _ = session.run(None, {"x": x.numpy()})  # ONNX's reference evaluator has no RNN of ReLUs
    assert abs(y - module(x)[0].detach().numpy()).max() < 1e-6


@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_that_are_projected(bidirectional: bool) -> None:
    """The recurrence of a plain layer times the projection is one product of weights, rounded once to float32."""
    case = (nn.LSTM, 2, bidirectional, not bidirectional, True, False)
    declaration, module, model = exported(Recurrent(*case, proj_size=2), ["x=batch,seq,3"])
    assert [node.op_type for node in model.graph].count("LSTM") == 2
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString())
    for batch, seq in ((1, 1), (3, 7)):
        (x,) = drawn(declaration.inputs, {"batch": batch, "seq": seq}, seed=seq)
        for got, right in zip(session.run(None, {"x": x.numpy()}), module(x), strict=True):
            assert got.shape == tuple(right.shape) and abs(got - right.detach().numpy()).max() < 1e-6


def test_projected_states_begin_at_zero() -> None:
    class Begins(Recurrent):
        def forward(self, x):
            h = x.mean(1)[None, :, :2]
            return self.layer(x, (h, torch.zeros(1, x.shape[0], 5)))[0]

    with pytest.raises(UserError, match="LSTM with proj_size cannot begin with a hidden state of its own"):
        exported(Begins(nn.LSTM, 1, False, True, True, False, proj_size=2), ["x=batch,seq,3"])


def test_torch_s_layers_are_as_before_after_a_trace() -> None:
    layer, x = nn.GRU(3, 5), torch.randn(4, 2, 3)
    before = layer(x)[0]
    exported(Recurrent(nn.GRU, 1, False, True, True, False), ["x=batch,seq,3"])
    assert torch.equal(layer(x)[0], before) and torch.nn.modules.rnn._VF.gru is torch.gru
