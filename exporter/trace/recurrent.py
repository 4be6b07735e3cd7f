"""torch's recurrent layers as one traced op each, whatever the number of frames.

torch unrolls a GRU or a plain RNN at the example's number of frames and freezes it in the shapes. While a trace runs,
`nn.GRU`, `nn.RNN` and `nn.LSTM` call ops of ours, whose shapes follow the input's; `translate_recurrent` writes them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import rnn

from temport.exporter.errors import UserError

_ARGUMENTS = (
    "Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, "
    "bool batch_first"
)
ONE_STATE = ("gru", "rnn_tanh", "rnn_relu")
"""Layers with one state; an LSTM has two."""
PACKING = "_pack_padded_sequence"
"""What torch calls to pack padded clips. A graph has no such sequences, and an export without them would be wrong."""
for _name in ONE_STATE:
    torch.library.define(
        f"temport::{_name}_layers", f"(Tensor x, Tensor hx, {_ARGUMENTS}) -> (Tensor, Tensor)"
    )
torch.library.define(
    "temport::lstm_layers", f"(Tensor x, Tensor[] hx, {_ARGUMENTS}) -> (Tensor, Tensor, Tensor)"
)


def _output(x: Tensor, state: Tensor, bidirectional: bool) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], (2 if bidirectional else 1) * state.shape[-1])


def _one_state(
    x: Tensor, hx: Tensor, params: Any, b: bool, n: int, d: float, t: bool, two: bool, first: bool
) -> Any:
    return _output(x, hx, two), torch.empty_like(hx)


def _two_states(
    x: Tensor, hx: Any, params: Any, b: bool, n: int, d: float, t: bool, two: bool, first: bool
) -> Any:
    return _output(x, hx[0], two), torch.empty_like(hx[0]), torch.empty_like(hx[1])


for _name in ONE_STATE:
    torch.library.register_fake(f"temport::{_name}_layers")(_one_state)
torch.library.register_fake("temport::lstm_layers")(_two_states)


@contextlib.contextmanager
def whole_layers() -> Iterator[None]:
    """While it lasts, torch's recurrent layers call our ops."""
    functions = vars(rnn._VF)
    own = {name: _whole(name) for name in ("lstm", *ONE_STATE)} | {PACKING: _no_packing}
    before = {name: functions.get(name) for name in own}
    try:
        for name, function in own.items():
            setattr(rnn._VF, name, function)
        yield
    finally:
        for name, function in before.items():
            if function is None:
                delattr(rnn._VF, name)
            else:
                setattr(rnn._VF, name, function)


def _no_packing(*given: Any) -> Any:
    raise UserError(
        "packed sequences cannot be exported: run the recurrent layer over the padded clips and take the last valid "
        "frame of each row with torch.gather at its length - 1"
    )


def _whole(name: str) -> Callable[..., Any]:
    """The function behind a layer: our op, but for packed sequences, which stay with torch."""
    own = getattr(torch.ops.temport, f"{name}_layers")
    torchs = getattr(torch, name)

    def run(x: Tensor, *given: Any) -> Any:
        hx, params, has_biases, num_layers, *rest = given
        if not isinstance(
            params, (list, tuple)
        ):  # of packed sequences, whose batch sizes stand before the state
            return torchs(x, *given)
        return own(x, list(hx) if name == "lstm" else hx, list(params), has_biases, num_layers, *rest)

    return run
