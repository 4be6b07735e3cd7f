"""The LSTM layer as one ONNX node: gate order, zero state, symbolic batch and time, against torch in float64."""

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from temport.exporter.trace.torch_to_onnx import translations
from temport.graphs.lstm import LSTM


@pytest.fixture(scope="module")
def layer_and_session():
    torch.manual_seed(0)
    layer = LSTM(4, 3).eval()
    torch.nn.init.normal_(layer.bias)
    dims = {0: torch.export.Dim("batch", min=1, max=64), 1: torch.export.Dim("seq", min=1, max=100)}
    program = torch.onnx.export(
        layer,
        (torch.randn(2, 5, 4),),
        input_names=["x"],
        dynamo=True,
        opset_version=20,
        dynamic_shapes=(dims,),
        custom_translation_table=translations(),
        verbose=False,
    )
    assert [node.op_type for node in program.model.graph].count("LSTM") == 1
    return layer, ort.InferenceSession(ir.to_proto(program.model).SerializeToString())


@pytest.mark.parametrize("batch, seq", [(1, 1), (2, 5), (3, 61)], ids=lambda n: str(n))
def test_against_torch(layer_and_session, batch, seq):
    layer, session = layer_and_session
    x = torch.randn(batch, seq, 4)
    (y,) = session.run(None, {"x": x.numpy()})
    exact = layer.double()(x.double()).detach().numpy()
    own = np.abs(layer.float()(x).detach().numpy() - exact).max()
    assert np.abs(y - exact).max() <= 2 * own + 16 * np.finfo(np.float32).eps * np.abs(exact).max()


def test_a_swapped_gate_is_seen(layer_and_session):
    layer, session = layer_and_session
    swapped = LSTM(4, 3)
    order = [0, 2, 1, 3]
    state = {key: torch.cat([p.chunk(4)[g] for g in order]) for key, p in layer.state_dict().items()}
    swapped.load_state_dict(state)
    x = torch.randn(2, 7, 4)
    (y,) = session.run(None, {"x": x.numpy()})
    assert np.abs(y - swapped(x).detach().numpy()).max() > 1e-2
