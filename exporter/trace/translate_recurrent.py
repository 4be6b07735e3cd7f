"""The traced recurrent layers as ONNX `LSTM`, `GRU` and `RNN` nodes, one per layer.

ONNX stacks gates in another order than torch, and takes the time axis first (its batch-first layout is missing in ONNX
Runtime). Input and recurrent biases stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnxscript import opset18

import temport.graphs.lstm  # noqa: F401  defines the op of our own layer, which is translated here
from temport.exporter.errors import UserError

op: Any = opset18  # its stubs want one element type, which a translation leaves open


@dataclass(frozen=True)
class Cell:
    """How ONNX writes a cell.

    gates       ONNX's order of torch's stacked gates
    attributes  beside hidden_size and direction
    """

    node: str
    gates: tuple[int, ...]
    attributes: Callable[[int], dict[str, Any]] = lambda directions: {}


LSTM = Cell("LSTM", (0, 3, 1, 2))
GRU = Cell("GRU", (1, 0, 2), lambda directions: {"linear_before_reset": 1})
RNN_TANH = Cell("RNN", (0,), lambda directions: {"activations": ["Tanh"] * directions})
RNN_RELU = Cell("RNN", (0,), lambda directions: {"activations": ["Relu"] * directions})


def translate_one_state(cell: Cell) -> Callable[..., Any]:
    """For layers with one state: x, hx `[layers*directions, batch, hidden]` -> y, last states."""

    def translate(
        x: Any, hx: Any, params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
        bidirectional: bool, batch_first: bool,
    ) -> tuple[Any, Any]:  # fmt: skip
        y, states = _layers(cell, x, [hx], params, has_biases, num_layers, bidirectional, batch_first)
        return y, states[0]

    return translate


def translate_lstm_layers(
    x: Any, hx: Sequence[Any], params: Sequence[Any], has_biases: bool, num_layers: int, dropout: float, train: bool,
    bidirectional: bool, batch_first: bool,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The same with two states."""
    y, states = _layers(LSTM, x, list(hx), params, has_biases, num_layers, bidirectional, batch_first)
    return y, states[0], states[1]


def translate_lstm(
    x: Any, weight_ih: Any, weight_hh: Any, bias: Any, hidden: Any = None, cell: Any = None
) -> tuple[Any, Any, Any]:
    """Our own layer, `temport.graphs.lstm`: one direction, batch first, one bias where torch has two."""
    none = op.Sub(bias, bias)
    y, states = _layers(LSTM, x, [hidden, cell], [weight_ih, weight_hh, bias, none], True, 1, False, True)
    return y, states[0], states[1]


def _layers(
    cell: Cell,
    x: Any,
    states: list[Any],
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, list[Any]]:
    directions, per_layer = (2 if bidirectional else 1), (4 if has_biases else 2)
    projected = len(params) != per_layer * num_layers * directions
    if projected and not _is_zero(states[0]):
        raise UserError(
            "nn.LSTM with proj_size cannot begin with a hidden state of its own, as an ONNX LSTM has no projection; "
            "leave the state out, or use proj_size=0 and a linear layer"
        )
    per_layer += projected
    size = params[per_layer - 1].shape[1] if projected else params[1].shape[1]
    y = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
    last: list[list[Any]] = [[] for _ in states]
    for layer in range(num_layers):
        weights = [
            params[per_layer * (layer * directions + d) : per_layer * (layer * directions + d + 1)]
            for d in range(directions)
        ]
        zero = all(map(_is_zero, states))
        first = [None if zero else _rows(state, layer * directions, directions) for state in states]
        if projected:
            first[0] = None
            outputs = _projected(y, weights, first, size, directions)
        else:
            outputs = _node(cell, y, weights, first, size, directions)
        y = _joined(outputs[0], directions)
        for of_layer, state in zip(last, outputs[1:], strict=True):
            of_layer.append(state)
    whole = [rows[0] if len(rows) == 1 else op.Concat(*rows, axis=0) for rows in last]
    return (op.Transpose(y, perm=[1, 0, 2]) if batch_first else y), whole


def _node(
    cell: Cell, x: Any, weights: list[Sequence[Any]], states: list[Any], size: int, directions: int
) -> Sequence[Any]:
    """One layer: Y `[seq, directions, batch, hidden]` and its last states `[directions, batch, hidden]`."""
    rows = [size * gate + row for gate in cell.gates for row in range(size)]
    # Gathers of weights: constant folding leaves only their result in the file.
    order: Any = op.Constant(value_ints=rows)
    axis: Any = op.Constant(value_ints=[0])

    def stacked(index: int) -> Any:
        parts = [
            op.Unsqueeze(op.Gather(of_direction[index], order, axis=0), axis) for of_direction in weights
        ]
        return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)

    bias = op.Concat(stacked(2), stacked(3), axis=1) if len(weights[0]) == 4 else None
    direction = {"direction": "bidirectional"} if directions == 2 else {}
    attributes = {"hidden_size": size, **direction, **cell.attributes(directions)}
    run = getattr(op, cell.node)
    return tuple(run(x, stacked(0), stacked(1), bias, None, *states, **attributes))


def _projected(
    x: Any, weights: list[Sequence[Any]], states: list[Any], size: int, directions: int
) -> Sequence[Any]:
    """An LSTM whose state is R m, with m the state of a plain one: that one, its recurrence times R, and then R."""
    plain: list[Sequence[Any]] = [[ih, op.MatMul(hh, r), *biases] for ih, hh, *biases, r in weights]
    axis: Any = op.Constant(value_ints=[0])
    turned = [op.Unsqueeze(op.Transpose(of_direction[-1], perm=[1, 0]), axis) for of_direction in weights]
    r = turned[0] if directions == 1 else op.Concat(*turned, axis=0)
    y, hidden, cell = _node(LSTM, x, plain, states, size, directions)
    return op.MatMul(y, r), op.MatMul(hidden, r), cell


def _is_zero(state: Any) -> bool:
    """Whether a state is none, or `torch.zeros(...)`, as torch's layers make it then: ONNX takes that for granted."""
    if state is None:
        return True
    node = state.producer()
    if node is None or node.op_type != "Expand":
        return False
    value = node.inputs[0]
    while value.producer() is not None and value.producer().op_type in ("Cast", "CastLike"):
        value = value.producer().inputs[0]
    constant = ir.convenience.get_const_tensor(value)
    return constant is not None and not constant.numpy().any()


def _rows(state: Any, start: int, count: int) -> Any:
    """The states of one layer."""
    if state.shape[0] == count:
        return state
    begin, end, axis = (op.Constant(value_ints=[n]) for n in (start, start + count, 0))
    return op.Slice(state, begin, end, axis)


def _joined(y: Any, directions: int) -> Any:
    """`[seq, directions, batch, hidden]` as `[seq, batch, directions*hidden]`."""
    if directions == 1:
        one: Any = op.Constant(value_ints=[1])
        return op.Squeeze(y, one)
    shape: Any = op.Constant(value_ints=[0, 0, -1])
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), shape)
