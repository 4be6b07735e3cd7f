"""Recurrent layers: ours, and those of ONNX, whose directions are so many of ours.

Backwards is forwards over the frames in reverse order, with what comes out reversed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from temport.exporter.native.blob import teams
from temport.exporter.native.call import Call, Form, element
from temport.exporter.native.forms.stored import stored
from temport.exporter.native.sizes import Size, fixed
from temport.exporter.native.tensors import NoForm


@dataclass(frozen=True)
class _Cell:
    """A cell of custom_ops.

    summed  of how many gates the two biases are one sum, as custom_ops/native/recurrent_layer.h has it
    kept    the place among the states of the one that the cell keeps apart from y; None: it keeps none
    """

    name: str
    gates: int
    summed: int
    kept: int | None


_LSTM = _Cell("LstmCell", 4, 4, 1)
_GRU = _Cell("GruCell", 3, 2, 0)
_RESET_FIRST = _Cell("", 3, 3, None)
_SIMPLE = {"Tanh": _Cell("TanhCell", 1, 1, None), "Relu": _Cell("ReluCell", 1, 1, None)}
_OPTIONS = ("activation_alpha", "activation_beta", "clip", "input_forget", "layout")
_SEQUENCE_LENS, _PEEPHOLES = 4, 7
_NO_INPUT = 1 << 20


def fused_lstm(call: Call) -> None:
    _layer(call, [_LSTM], first_state=4, scales=6)


def fused_gru(call: Call) -> None:
    _layer(call, [_GRU], first_state=4, scales=5)


def lstm(call: Call) -> None:
    if call.has(_PEEPHOLES):
        raise NoForm("it has peepholes")
    _onnx_layer(call, [_LSTM] * len(_ways(call, ("Sigmoid", "Tanh", "Tanh"))))


def gru(call: Call) -> None:
    cell = _GRU if call.attribute("linear_before_reset", 0) else _RESET_FIRST
    _onnx_layer(call, [cell] * len(_ways(call, ("Sigmoid", "Tanh"))))


def rnn(call: Call) -> None:
    functions = call.attribute("activations") or ["Tanh"] * len(_ways(call, None))
    if not set(functions) <= _SIMPLE.keys():
        raise NoForm(f"its activations are {', '.join(functions)}")
    _onnx_layer(call, [_SIMPLE[name] for name in functions])


def _ways(call: Call, functions: Sequence[str] | None) -> tuple[bool, ...]:
    """Of each direction whether it goes backwards. `NoForm` where activations are others than `functions`."""
    direction = call.attribute("direction", "forward")
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    given = call.attribute("activations")
    if functions and given and list(given) != list(functions) * len(ways):
        raise NoForm(f"its activations are {', '.join(given)}")
    return ways


def _onnx_layer(call: Call, cells: Sequence[_Cell]) -> None:
    if call.has(_SEQUENCE_LENS):
        raise NoForm("its sequences have lengths of their own")
    for name in _OPTIONS:
        if call.attribute(name):
            raise NoForm(f"it has {name}")
    _layer(call, cells, first_state=5, ways=_ways(call, None))


def _layer(
    call: Call,
    cells: Sequence[_Cell],
    first_state: int,
    ways: Sequence[bool] = (False,),
    scales: int = _NO_INPUT,
) -> None:
    """`scales` is the input with those of W, and the one behind it of R, where weights are stored in fewer bits."""
    frames, batch, inputs = call.input(0).shape
    hidden = fixed(call.attribute("hidden_size"))
    row, of_x = batch * hidden, batch * inputs
    y = call.output(0).code if call.wants(0) else call.plan.room("float", frames * fixed(len(ways)) * row)
    for place, (cell, backwards) in enumerate(zip(cells, ways, strict=True)):
        x, own = call.input(0).code, y
        if backwards:
            x = call.plan.room("float", frames * of_x)
            call.line(_reversed(call.input(0).code, frames, of_x, x, of_x))
        if backwards or len(ways) > 1:
            own = call.plan.room("float", frames * row)
        before = [
            f"{call.input(index).code} + {fixed(place) * row}" if call.has(index) else "nullptr"
            for index in (first_state, first_state + 1)
        ]
        after = [
            f"{call.output(1 + i).code} + {fixed(place) * row}" if call.wants(1 + i) else "nullptr"
            for i in range(2)
        ]
        _one_way(call, cell, place, x, before, own, after, scales)
        if after[0] != "nullptr":
            call.line(f"copy({own} + ({frames} - 1) * {row}, {row}, {after[0]});")
        if own != y:
            to, step = f"{y} + {fixed(place) * row}", fixed(len(ways)) * row
            call.line(
                _reversed(own, frames, row, to, step)
                if backwards
                else f"copy_rows({own}, {row}, {frames}, {row}, {to}, {step});"
            )


def _reversed(source: str, frames: Size, row: Size, to: str, step: Size) -> str:
    return f"copy_rows({source} + ({frames} - 1) * {row}, -({row}), {frames}, {row}, {to}, {step});"


def _one_way(
    call: Call,
    cell: _Cell,
    place: int,
    x: str,
    before: Sequence[str],
    y: str,
    after: Sequence[str],
    scales: int,
) -> None:
    """One direction, forwards over the frames of x; `before` and `after` are pointers to its states."""
    hidden, width, gates = call.attribute("hidden_size"), call.plan.isa.panel, cell.gates
    frames, batch = call.input(0).shape[:2]
    of_w, of_r = (stored(call, 1 + i, scales + i, 2, 1) for i in range(2))
    w, r = of_w.weight[place], of_r.weight[place]
    bias = call.constant(3)[place] if call.has(3) else np.zeros(2 * gates * hidden, np.float32)
    of_x, of_h = np.split(bias, 2)
    together = np.arange(gates * hidden) < cell.summed * hidden
    added, apart = np.where(together, of_x + of_h, of_x), np.where(together, 0, of_h)

    def packed(weight: np.ndarray, gates: int) -> str:
        return call.weight(teams(weight, gates, width))

    team = -(-hidden // width) * width
    scratch = call.plan.room("float", fixed((frames.most * gates + gates + 1) * team * batch.most))
    recurrent = r if cell is not _RESET_FIRST else r[: 2 * hidden]
    arrays = [
        x,
        packed(w, gates),
        packed(recurrent, recurrent.shape[0] // hidden),
        *("nullptr" if of.scale is None else packed(of.scale[place], gates) for of in (of_w, of_r)),
        packed(added[:, None], gates),
        "nullptr" if cell.summed == gates else packed(apart[:, None], gates),
        before[0],
        "nullptr",
        "nullptr",
        y,
        *([f"{of_w.block}", f"{of_r.block}"] if of_w.block or of_r.block else []),
    ]
    sizes = f"{frames}, {batch}, {{{', '.join(arrays)}}}"
    if cell is _RESET_FIRST:
        of_candidate = packed(r[2 * hidden :], 1)
        call.line(f"gru_reset_first<{of_w.inputs(2)}, {hidden}>({sizes}, {of_candidate}, {scratch});")
        return
    state, last = ("nullptr", "nullptr") if cell.kept is None else (before[cell.kept], after[cell.kept])
    kinds = f"{cell.name}, {element(w)}, {element(r)}, {call.plan.isa.way}, {of_w.inputs(2)}, {hidden}"
    call.line(f"recurrence<{kinds}>({sizes}, {state}, {last}, {scratch});")


FORMS: dict[str, Form] = {
    "FusedGRU": fused_gru,
    "FusedLSTM": fused_lstm,
    "GRU": gru,
    "LSTM": lstm,
    "RNN": rnn,
}
