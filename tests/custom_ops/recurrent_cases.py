"""What the cases of the recurrent layers share: weights and states of a layer, and torch's layer with these weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from case import Case, OpCases, Refusal, Tensors, normal
from hypothesis import strategies as st

from temport.custom_ops.op import CustomOp

SIZES = [(1, 1, 256, 256), (60, 1, 40, 130), (3, 5, 1, 1), (7, 4, 17, 33), (2, 3, 300, 8), (40, 2, 16, 250)]
"""Frames, batch, inputs, hidden units. The last has frames of several tasks."""


def recurrent_cases(
    op: CustomOp[int], layer: type[torch.nn.RNNBase], gates: Sequence[int], states: Sequence[str]
) -> OpCases:
    """The table of an op that is torch's `layer`, whose stacked gates are these of ONNX's, with these states."""
    count = len(gates)

    def case(
        T: int, B: int, inputs: int, H: int, given: str = "bias state", forms: tuple[str, ...] = ("auto",)
    ) -> Case:
        shapes = {
            "X": (T, B, inputs),
            "W": (1, count * H, inputs),
            "R": (1, count * H, H),
            "B": (1, 2 * count * H),
        }
        drawn = normal(T + H, **shapes, **{f"initial_{state}": (1, B, H) for state in states})
        drawn["W"] /= np.float32(inputs**0.5)
        drawn["R"] /= np.float32(H**0.5)
        left_out = [] if "bias" in given else ["B"]
        left_out += [] if "state" in given else [f"initial_{state}" for state in states]
        return Case({n: x for n, x in drawn.items() if n not in left_out}, {"hidden_size": H}, forms)

    def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
        (T, B, inputs), H = x["X"].shape, a["hidden_size"]
        zero = x["X"].new_zeros(1, B, H)
        before = [x.get(f"initial_{state}", zero) for state in states]
        if T == 0:  # torch refuses it
            return [x["X"].new_zeros(0, 1, B, H), *before]

        def as_torch(stacked: torch.Tensor) -> torch.Tensor:
            of_onnx = stacked.chunk(count)
            return torch.cat([of_onnx[gate] for gate in gates])

        bias = x.get("B", x["X"].new_zeros(1, 2 * count * H))[0].chunk(2)
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = dict(zip(names, map(as_torch, (x["W"][0], x["R"][0], *bias)), strict=True))
        whole = layer(inputs, H, dtype=x["X"].dtype)
        first = tuple(before) if len(before) > 1 else before[0]
        y, last = torch.func.functional_call(whole, weights, (x["X"], first))
        return [y[:, None], *(last if len(before) > 1 else [last])]

    def open_shape(name: str, shape: tuple[int, ...]) -> tuple[int | str, ...]:
        if name.startswith("initial"):
            return 1, "batch", shape[-1]
        return ("frames", "batch", shape[-1]) if name == "X" else shape

    rows = count * 5
    return OpCases(
        op=op,
        cases=[
            case(4, 2, 6, 5),
            *(case(*sizes, given=given) for sizes in SIZES for given in ("", "bias", "bias state")),
            case(0, 2, 5, 6, forms=()),
            case(2, 0, 3, 5, forms=()),
        ],
        anywhere=st.builds(
            case,
            st.integers(1, 30),
            st.integers(1, 5),
            st.integers(1, 40),
            st.integers(1, 60),
            st.sampled_from(["", "bias", "state", "bias state"]),
        ),
        peer=peer,
        refused=[
            Refusal(
                {"R": (1, rows, 1)},
                {
                    "reference": rf"W must be \[1, {rows}, 6\], R \[1, {rows}, 5\]",
                    "native": rf"R has shape .* must be \[1, {rows}, 5\]",
                },
            ),
            Refusal({"hidden_size": 1 << 20}, {"native": rf"W has shape \[1, {rows}, 6\]"}),
            Refusal(
                {"X": (2, 6)},
                {
                    "inference": "input 0 has 2 axes; it must have 3",
                    "native": r"X has shape \[2, 6\]; it must be \[seq, ba",
                },
            ),
        ],
        open_shape=open_shape,
        opsets={"auto": (18,)},
        roundings=16,
        floor={f"Y_{state}": 0.5 for state in states},  # a small last state is the sum of terms that were not
        body_roundings=16,
    )
