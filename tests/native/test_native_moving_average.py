"""MovingAverage: definition, function body and native kernel say the same."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_sessions import Array, options
from one_layer import EPS, proto, run, tensors

from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

OP = "MovingAverage"


def averaged_by_torch(x: Array, near: Array, far: Array) -> Array:
    """Two causal depthwise convolutions in float32."""
    channels, taps = near.shape[0], near.shape[3]
    y = torch.from_numpy(x).transpose(1, 2)
    for weight, apart in ((near, 1), (far, taps)):
        y = torch.nn.functional.pad(y, (apart * (taps - 1), 0))
        y = torch.nn.functional.conv1d(y, torch.from_numpy(weight[:, :, 0]), groups=channels, dilation=apart)
    return y.transpose(1, 2).numpy()


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 5),
    length=st.integers(1, 70),
    channels=st.integers(1, 40),
    taps=st.integers(1, 9),
    how=st.sampled_from(["constant", "computed", "body"]),
    threads=st.integers(1, 2),
)
def test_definition_body_and_kernel(
    batch: int, length: int, channels: int, taps: int, how: str, threads: int
) -> None:
    weights = (channels, 1, 1, taps)
    inputs = tensors(length + channels, (batch, length, channels), weights, weights)
    attributes = {"channels": channels, "taps": taps}
    truth = OPS[OP].reference(inputs, attributes)
    assert isinstance(truth, np.ndarray)
    y = run(OP, inputs, attributes, how == "constant", body=how == "body", threads=threads)[0]
    error = np.abs(averaged_by_torch(*inputs) - truth).max()
    assert y.shape == truth.shape
    assert np.abs(y - truth).max() <= 2 * error + 16 * EPS * np.abs(truth).max()


def test_many_tasks_and_nobody() -> None:
    for batch in (0, 64):
        inputs = tensors(1, (batch, 300, 16), (16, 1, 1, 18), (16, 1, 1, 18))
        truth = OPS[OP].reference(inputs, {"channels": 16, "taps": 18})
        y = run(OP, inputs, {"channels": 16, "taps": 18}, threads=2)[0]
        assert y.shape == inputs[0].shape
        np.testing.assert_allclose(y, truth, rtol=0, atol=1e-4)


def test_a_frame_is_in_no_output_before_it() -> None:
    x, near, far = tensors(0, (1, 30, 3), (3, 1, 1, 4), (3, 1, 1, 4))
    spoiled = x.copy()
    spoiled[0, 17] = np.nan
    y = run(OP, [spoiled, near, far], {"channels": 3, "taps": 4})[0]
    assert np.isfinite(y[0, :17]).all() and np.isnan(y[0, 17 : 17 + 16]).all()


@pytest.mark.parametrize(
    ("channels", "far_taps", "taps", "sentence"),
    [
        (3, 2, 2, r"X has shape \[1, 5, 3\]; it must be \[batch, T, 4\]"),
        (4, 3, 2, r"Far has shape \[4, 1, 1, 3\]"),
        (4, 2, 0, "taps is 0"),
    ],
)
def test_what_does_not_fit_is_one_sentence(channels: int, far_taps: int, taps: int, sentence: str) -> None:
    inputs = tensors(0, (1, 5, channels), (4, 1, 1, 2), (4, 1, 1, far_taps))
    attributes = {"channels": 4, "taps": taps}
    model = proto(OP, inputs, attributes, constants=True, outputs=1, body=False)
    with pytest.raises(Exception, match=sentence):
        session = onnxruntime.InferenceSession(model.SerializeToString(), options())
        session.run(None, {"X": inputs[0]})
    with pytest.raises(ValueError, match="MovingAverage: "):
        OPS[OP].reference(inputs, attributes)


def test_no_body_for_no_taps() -> None:
    at = Specialisation(attributes={"channels": 1, "taps": 0}, query_length=None, key_length=None, opset=20)
    with pytest.raises(ValueError, match="no body for 1 channels and 0 taps"):
        OPS[OP].body(at)
