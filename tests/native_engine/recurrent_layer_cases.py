"""Cases of ONNX's recurrent layers; the truth is torch, for ONNX's evaluator knows few of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tests.native_engine.engine_of_graphs import Case, case
from tests.native_engine.reduction_cases import floats

GATES = {"LSTM": (4, (0, 2, 3, 1)), "GRU": (3, (1, 0, 2)), "RNN": (1, (0,))}
"""How many, and where ONNX has each of torch's."""
INPUTS, HIDDEN = 5, 19


def onnx_gru(x: np.ndarray, w: np.ndarray, r: np.ndarray, b: np.ndarray, h: np.ndarray) -> np.ndarray:
    """One direction of a GRU whose reset gate comes first, as the operator's page has it."""
    of_x, of_h = np.split(b, 2)
    made = []
    for frame in x:
        z, reset, n = np.split(frame @ w.T + of_x + of_h, 3, axis=-1)
        z, reset = (
            1 / (1 + np.exp(-(g + h @ part.T))) for g, part in zip((z, reset), np.split(r, 3), strict=False)
        )
        n = np.tanh(n + (reset * h) @ np.split(r, 3)[2].T)
        h = (1 - z) * n + z * h
        made.append(h)
    return np.stack(made)


def torch_layer(op: str, w: np.ndarray, r: np.ndarray, b: np.ndarray, relu: bool) -> torch.nn.RNNBase:
    """The layer of these weights, in double precision."""
    gates, order = GATES[op]
    more: dict[str, Any] = {"nonlinearity": "relu" if relu else "tanh"} if op == "RNN" else {}
    layer = getattr(torch.nn, op)(INPUTS, HIDDEN, bidirectional=len(w) == 2, dtype=torch.float64, **more)
    for way, suffix in enumerate(("", "_reverse")[: len(w)]):
        parts = {"weight_ih": w[way], "weight_hh": r[way]}
        parts |= dict(zip(("bias_ih", "bias_hh"), np.split(b[way], 2), strict=True))
        for name, part in parts.items():
            torchs = np.concatenate([np.split(part, gates)[gate] for gate in order])
            getattr(layer, f"{name}_l0{suffix}").data = torch.from_numpy(torchs).double()
    return layer


def layer(
    op: str,
    direction: str = "forward",
    states: bool = False,
    bias: bool = True,
    relu: bool = False,
    **attributes: Any,
) -> Case:
    ways, gates = 2 if direction == "bidirectional" else 1, GATES[op][0]
    w, r = floats(ways, gates * HIDDEN, INPUTS) / 2, floats(ways, gates * HIDDEN, HIDDEN) / 4
    b = floats(ways, 2 * gates * HIDDEN) * np.float32(bias)
    kept = 2 if op == "LSTM" else 1
    given = [(ways, "b", HIDDEN)] * (kept * states)
    if relu:
        attributes["activations"] = ["Relu"] * ways
    outputs = [("n", ways, "b", HIDDEN), *[(ways, "b", HIDDEN)] * kept]
    return case(
        op, ("n", "b", INPUTS), w, r, b if bias else None, None, *given, outputs=outputs, wide=2, hidden_size=HIDDEN,
        direction=direction, truth=truth(op, direction, w, r, b, relu, bool(attributes.get("linear_before_reset"))),
        **attributes,
    )  # fmt: skip


def truth(
    op: str, direction: str, w: np.ndarray, r: np.ndarray, b: np.ndarray, relu: bool, after: bool
) -> Callable[..., list[np.ndarray]]:
    ways = len(w)

    def run(x: np.ndarray, *states: np.ndarray) -> list[np.ndarray]:
        turned = x[::-1].copy() if direction == "reverse" else x
        zero = np.zeros((ways, x.shape[1], HIDDEN))
        if op == "GRU" and not after:
            h = states[0] if states else zero
            each = [
                onnx_gru(turned[::-1] if way else turned, w[way], r[way], b[way], h[way])
                for way in range(ways)
            ]
            y = np.stack([part[::-1] if way else part for way, part in enumerate(each)], axis=1)
            last = [np.stack([part[-1] for part in each])]
        else:
            given = tuple(torch.from_numpy(s) for s in states) or (torch.from_numpy(zero),) * (
                2 if op == "LSTM" else 1
            )
            made, after_all = torch_layer(op, w, r, b, relu)(
                torch.from_numpy(turned), given if op == "LSTM" else given[0]
            )
            y = made.detach().numpy().reshape(*x.shape[:2], ways, HIDDEN).swapaxes(1, 2)
            last = [part.detach().numpy() for part in (after_all if op == "LSTM" else (after_all,))]
        return [y[::-1] if direction == "reverse" else y, *last]

    return run


CASES: list[Case] = [
    layer("LSTM"),
    layer("LSTM", "reverse", states=True),
    layer("LSTM", "bidirectional", states=True, bias=False),
    layer("GRU", linear_before_reset=1),
    layer("GRU", "reverse", states=True, linear_before_reset=1),
    layer("GRU", "bidirectional", linear_before_reset=1, activations=["Sigmoid", "Tanh"] * 2),
    layer("GRU"),
    layer("GRU", "bidirectional", states=True),
    layer("RNN", states=True),
    layer("RNN", "bidirectional", relu=True),
]
