"""Cases of FusedLSTM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from case import Case, OpCases, Refusal, Tensors, normal
from hypothesis import strategies as st

from temport.custom_ops.fused_lstm import OP


def case(
    T: int, B: int, inputs: int, H: int, given: str = "bias state", forms: tuple[str, ...] = ("auto",)
) -> Case:
    state = (1, B, H)
    drawn = normal(
        T + H,
        X=(T, B, inputs),
        W=(1, 4 * H, inputs),
        R=(1, 4 * H, H),
        B=(1, 8 * H),
        initial_h=state,
        initial_c=state,
    )
    drawn["W"] /= np.float32(inputs**0.5)
    drawn["R"] /= np.float32(H**0.5)
    left_out = () if "bias" in given else ("B",)
    left_out += () if "state" in given else ("initial_h", "initial_c")
    return Case({n: x for n, x in drawn.items() if n not in left_out}, {"hidden_size": H}, forms)


def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
    (T, B, inputs), H = x["X"].shape, a["hidden_size"]
    zero = x["X"].new_zeros(1, B, H)
    before = (x.get("initial_h", zero), x.get("initial_c", zero))
    if T == 0:  # torch refuses it
        return [x["X"].new_zeros(0, 1, B, H), *before]

    def as_torch(stacked: torch.Tensor) -> torch.Tensor:  # i, o, f, g -> i, f, g, o
        i, o, f, g = stacked.chunk(4)
        return torch.cat([i, f, g, o])

    bias = x.get("B", x["X"].new_zeros(1, 8 * H))[0].chunk(2)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = dict(zip(names, map(as_torch, (x["W"][0], x["R"][0], *bias)), strict=True))
    layer = torch.nn.LSTM(inputs, H, dtype=x["X"].dtype)
    y, (h, c) = torch.func.functional_call(layer, weights, (x["X"], before))
    return [y[:, None], h, c]


def open_shape(name: str, shape: tuple[int, ...]) -> tuple[int | str, ...]:
    sequence = {"X": ("frames", "batch"), "initial_h": (1, "batch"), "initial_c": (1, "batch")}
    return (*sequence.get(name, shape[:-1]), shape[-1])


SIZES = [(1, 1, 256, 256), (60, 1, 40, 130), (3, 5, 1, 1), (7, 4, 17, 33), (2, 3, 300, 8), (40, 2, 16, 250)]
"""The last has frames of several tasks."""

CASES = OpCases(
    op=OP,
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
            {"R": (1, 20, 1)},
            {
                "reference": r"W must be \[1, 20, 6\], R \[1, 20, 5\]",
                "native": r"R has shape .* must be \[1, 20, 5\]",
            },
        ),
        Refusal({"hidden_size": 1 << 20}, {"native": r"W has shape \[1, 20, 6\]"}),
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
    floor={"Y_h": 0.5, "Y_c": 0.5},  # a last state that is small is the sum of terms that were not
    body_roundings=16,
)
