"""The traced LSTM layer as one ONNX `LSTM` node."""

from __future__ import annotations

from typing import Any

from onnxscript import opset18 as op


def translate_lstm(x: Any, weight_ih: Any, weight_hh: Any, bias: Any) -> Any:
    """x `[batch, seq, input]` -> hidden states `[batch, seq, hidden]`, from a zero state (ONNX's default).

    ONNX stacks the gates i, o, f, c where torch has i, f, g, o, and takes the time axis first (its batch-first
    layout is missing in ONNX Runtime). Input and recurrent biases stand side by side; the second is zero.
    """
    hidden = weight_hh.shape[1]
    direction = op.Constant(value_ints=[0])
    bias = _onnx_gates(bias)
    y, _, _ = op.LSTM(
        op.Transpose(x, perm=[1, 0, 2]),
        op.Unsqueeze(_onnx_gates(weight_ih), direction),
        op.Unsqueeze(_onnx_gates(weight_hh), direction),
        op.Unsqueeze(op.Concat(bias, op.Sub(bias, bias), axis=0), direction),
        hidden_size=hidden,
    )
    return op.Transpose(op.Squeeze(y, op.Constant(value_ints=[1])), perm=[1, 0, 2])


def _onnx_gates(stacked: Any) -> Any:
    i, f, g, o = op.Split(stacked, num_outputs=4, axis=0)
    return op.Concat(i, o, f, g, axis=0)
