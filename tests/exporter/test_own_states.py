"""Step models of modules whose states are what other tensors are: every input and output keeps its name."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from temport.exporter.build import save
from temport.exporter.declare.modules import declare_factory
from temport.exporter.parity.stream import initial_state
from temport.exporter.streaming.declare import declare_stream
from tests.traces import build


class Earlier(nn.Module):
    """The frame is what is kept of it, twice, and what a state was is what another becomes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        zero = x[:, :1] * 0
        one, two = torch.cat((zero, x[:, :-1]), 1), torch.cat((zero, zero, x[:, :-2]), 1)
        return self.layer(x) + one - 2 * two


@pytest.mark.parametrize("ops", ["custom", "standard"])
def test_states_keep_their_names(ops, tmp_path):
    torch.manual_seed(3)
    declaration, module = declare_factory(
        Earlier, "own.py:make", ["x=batch,seq,3"], batch="dynamic", seq="4", ops=ops
    )
    declaration = declare_stream(declaration, module)
    save(build(module, declaration), tmp_path / "step.onnx", False)
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    states = [name for pair in declaration.states for name in pair]
    assert [v.name for v in session.get_inputs()] == ["x", *states[::2]]
    assert [v.name for v in session.get_outputs()] == ["output", *states[1::2]]
    x = torch.randn(2, 5, 3)
    state = initial_state(declaration, 2)
    with torch.no_grad():
        (truth,) = module(x)
    for t in range(5):
        output, *after = session.run(None, {"x": x[:, t : t + 1].numpy(), **state})
        state = dict(zip(state, after, strict=True))
        np.testing.assert_allclose(output, truth[:, t].numpy(), rtol=0, atol=1e-6)
