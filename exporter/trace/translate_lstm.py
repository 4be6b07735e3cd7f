"""The traced LSTM layer as one ONNX `LSTM` node."""

from __future__ import annotations

from typing import Any

from onnxscript import opset18

import temport.graphs.lstm  # noqa: F401  defines the op that is translated here

op: Any = opset18  # its stubs want one element type, which a translation leaves open


def translate_lstm(
    x: Any, weight_ih: Any, weight_hh: Any, bias: Any, hidden: Any = None, cell: Any = None
) -> tuple[Any, Any, Any]:
    """x `[batch, seq, input]` -> hidden states `[batch, seq, hidden]`, last hidden and last cell state
    `[1, batch, hidden]`, from the state given or from zero (ONNX's default).

    ONNX stacks the gates i, o, f, c where torch has i, f, g, o, and takes the time axis first (its batch-first
    layout is missing in ONNX Runtime). Input and recurrent biases stand side by side; the second is zero.
    """
    size = weight_hh.shape[1]
    rows = [*range(size), *range(3 * size, 4 * size), *range(size, 3 * size)]
    # Gathers of weights: constant folding leaves only their result in the file.
    order: Any = op.Constant(value_ints=rows)
    weight_ih, weight_hh, bias = (
        op.Gather(stacked, order, axis=0) for stacked in (weight_ih, weight_hh, bias)
    )
    direction: Any = op.Constant(value_ints=[0])
    y, last_hidden, last_cell = op.LSTM(
        op.Transpose(x, perm=[1, 0, 2]),
        op.Unsqueeze(weight_ih, direction),
        op.Unsqueeze(weight_hh, direction),
        op.Unsqueeze(op.Concat(bias, op.Sub(bias, bias), axis=0), direction),
        None,
        hidden,
        cell,
        hidden_size=size,
    )
    one_direction: Any = op.Constant(value_ints=[1])
    return op.Transpose(op.Squeeze(y, one_direction), perm=[1, 0, 2]), last_hidden, last_cell
