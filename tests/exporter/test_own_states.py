"""Step models of modules whose states are what other tensors are: every input and output keeps its name."""

from dataclasses import replace
from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from temport.exporter.build import rewrite, save
from temport.exporter.declare.call import own
from temport.exporter.declare.modules import declare_factory
from temport.exporter.declare.streams import declare_stream
from temport.exporter.trace.trace import trace
from temport.graphs.streaming import Stateful, StateSpec

CARRIED = {
    "a state that stays": lambda x, y, a, b: (a, b + x),
    "states that change places": lambda x, y, a, b: (b, a),
    "the frame": lambda x, y, a, b: (x, a),
    "one tensor for two states": lambda x, y, a, b: (y, y),
}


class Carries(nn.Module, Stateful):
    def __init__(self, carried):
        super().__init__()
        self.layer, self.carried = nn.Linear(3, 3), carried

    def state_specs(self):
        return StateSpec("a", (1, 3)), StateSpec("b", (1, 3))

    def forward_sequence(self, frames, memory):
        a, b = memory.read(self, "a"), memory.read(self, "b")
        y = self.layer(frames) + a - 2 * b
        for name, value in zip("ab", self.carried(frames, y, a, b), strict=True):
            memory.write(self, name, value)
        return y

    def forward(self, x):
        return self.layer(x)[:, -1]


@cache
def traced(name):
    torch.manual_seed(3)
    declaration, module = declare_factory(
        lambda: Carries(CARRIED[name]), "own.py:make", ["x=batch,seq,3"], batch="dynamic", seq="4"
    )
    module = own(module)
    declaration = declare_stream(declaration, module)
    return declaration, module, trace(module, declaration)


@pytest.mark.parametrize("ops", ["custom", "standard"])
@pytest.mark.parametrize("name", CARRIED)
def test_states_keep_their_names(name, ops, tmp_path):
    declaration, module, graph = traced(name)
    save(rewrite(graph, replace(declaration, ops=ops)), tmp_path / "step.onnx", False)
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    assert [v.name for v in session.get_inputs()] == ["frame", "state.a", "state.b"]
    assert [v.name for v in session.get_outputs()] == ["output", "next_state.a", "next_state.b"]
    x, a, b = (torch.randn(2, 1, 3) for _ in "xab")
    with torch.no_grad():
        y = module.layer(x) + a - 2 * b
    feeds = {"frame": x.numpy(), "state.a": a.numpy(), "state.b": b.numpy()}
    for got, truth in zip(session.run(None, feeds), (y[:, 0], *CARRIED[name](x, y, a, b)), strict=True):
        np.testing.assert_allclose(got, truth.numpy(), rtol=0, atol=1e-6)
