"""LSTM, GRU and RNN with lengths of sequences and other activations, which ONNX's evaluator passes over in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx.reference.op_run import OpRun

Array = npt.NDArray[Any]
Function = Callable[[Array], Array]

ACTIVATIONS: dict[str, Function] = {
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Softplus": lambda x: np.log1p(np.exp(x)),
}
"""Those that have no numbers of their own."""


@dataclass(frozen=True)
class Frame:
    """What a step sees in one direction: the frame's product with its weights, and the layer's own numbers."""

    from_x: Array
    state: tuple[Array, ...]
    r: Array
    biases: list[Array]
    functions: list[Function]
    peepholes: Array


class _Layer(OpRun):
    """What the three share; a step is theirs."""

    op_domain = ""
    usual: tuple[str, ...]
    direction: str

    def _run(
        self,
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        lengths: Array | None = None,
        h: Array | None = None,
        c: Array | None = None,
        peepholes: Array | None = None,
        activations: Any = None,
        layout: int = 0,
        **given: Any,
    ) -> tuple[Array, ...]:
        directions, hidden = r.shape[0], r.shape[-1]
        if layout:
            x = x.swapaxes(0, 1)
            h, c = (None if state is None else state.swapaxes(0, 1) for state in (h, c))
        steps, batch = x.shape[:2]
        lengths = np.full(batch, steps) if lengths is None else lengths
        biases = np.zeros((directions, 2 * w.shape[1]), x.dtype) if b is None else b
        states = [np.zeros((directions, batch, hidden), x.dtype) if s is None else s for s in (h, c)]
        names = [*(activations or ()), *self.usual * directions]
        y, ends = np.zeros((steps, directions, batch, hidden), x.dtype), []
        for place in range(directions):
            functions = [ACTIVATIONS[n] for n in names[place * len(self.usual) :][: len(self.usual)]]
            backwards = self.direction == "reverse" or place == 1
            state = tuple(s[place] for s in states)
            extra = np.zeros(3 * hidden, x.dtype) if peepholes is None else peepholes[place]
            halves = np.split(biases[place], 2)
            for t in reversed(range(steps)) if backwards else range(steps):
                moved = self.step(Frame(x[t] @ w[place].T, state, r[place], halves, functions, extra))
                counts = (t < lengths)[:, None]
                state = tuple(np.where(counts, new, old) for new, old in zip(moved, state, strict=True))
                y[t, place] = np.where(counts, state[0], 0)
            ends.append(state)
        outputs = [y, *(np.stack(end) for end in zip(*ends, strict=True))]
        if layout:
            outputs = [y.transpose(2, 0, 1, 3), *(end.swapaxes(0, 1) for end in outputs[1:])]
        return tuple(output.astype(x.dtype) for output in outputs)[: len(self.onnx_node.output)]

    def step(self, at: Frame) -> tuple[Array, ...]:
        """Hidden and cell state after one frame; each kind of layer has its own."""
        raise NotImplementedError


class LSTM(_Layer):
    usual = ("Sigmoid", "Tanh", "Tanh")

    def step(self, at: Frame) -> tuple[Array, ...]:
        (h, c), (gate, inside, outside) = at.state, at.functions
        sees_i, sees_o, sees_f = np.split(at.peepholes, 3)
        i, o, f, new = np.split(at.from_x + h @ at.r.T + sum(at.biases), 4, axis=-1)
        cell = gate(f + sees_f * c) * c + gate(i + sees_i * c) * inside(new)
        return gate(o + sees_o * cell) * outside(cell), cell


class GRU(_Layer):
    usual = ("Sigmoid", "Tanh")
    linear_before_reset: int

    def step(self, at: Frame) -> tuple[Array, ...]:
        (h, c), (gate, inside) = at.state, at.functions
        z_x, r_x, h_x = np.split(at.from_x + at.biases[0], 3, axis=-1)
        z_h, r_h, h_h = np.split(h @ at.r.T + at.biases[1], 3, axis=-1)
        reset, keep = gate(r_x + r_h), gate(z_x + z_h)
        if not self.linear_before_reset:
            *_, own = np.split(at.r, 3)
            h_h = (reset * h) @ own.T + np.split(at.biases[1], 3)[2]
        new = inside(h_x + (reset * h_h if self.linear_before_reset else h_h))
        return (1 - keep) * new + keep * h, c


class RNN(_Layer):
    usual = ("Tanh",)

    def step(self, at: Frame) -> tuple[Array, ...]:
        h, c = at.state
        return at.functions[0](at.from_x + h @ at.r.T + sum(at.biases)), c


RECURRENT: list[type[OpRun]] = [LSTM, GRU, RNN]
