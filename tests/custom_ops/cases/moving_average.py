"""Cases of MovingAverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from case import Case, OpCases, Refusal, Tensors, normal
from hypothesis import strategies as st

from temport.custom_ops.moving_average import OP


def case(B: int, T: int, C: int, taps: int, forms: tuple[str, ...] = ("auto",)) -> Case:
    weight = (C, 1, 1, taps)
    return Case(normal(T + C, X=(B, T, C), Near=weight, Far=weight), {"channels": C, "taps": taps}, forms)


def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
    """Two causal depthwise convolutions."""
    y = x["X"].transpose(1, 2)
    for name, apart in (("Near", 1), ("Far", a["taps"])):
        y = torch.nn.functional.pad(y, (apart * (a["taps"] - 1), 0))
        y = torch.nn.functional.conv1d(y, x[name][:, :, 0], groups=a["channels"], dilation=apart)
    return [y.transpose(1, 2)]


CASES = OpCases(
    op=OP,
    examples=60,
    cases=[
        case(1, 5, 4, 2),
        case(1, 1, 1, 1),
        case(3, 17, 5, 4),
        case(2, 70, 33, 9),
        case(64, 300, 16, 18),
        case(0, 300, 16, 18, forms=()),
    ],
    anywhere=st.builds(case, st.integers(1, 5), st.integers(1, 70), st.integers(1, 40), st.integers(1, 9)),
    peer=peer,
    refused=[
        Refusal(
            {"X": (1, 5, 3)},
            {
                "reference": r"X must be \[batch, T, 4\]",
                "native": r"X has shape \[1, 5, 3\]; it must be \[batch, T, 4\]",
            },
        ),
        Refusal(
            {"Far": (4, 1, 1, 3)},
            {"reference": r"Near and Far must be \[4, 1, 1, 2\]", "native": r"Far has shape \[4, 1, 1, 3\]"},
        ),
        Refusal(
            {"taps": 0},
            {
                "reference": "channels is 4 and taps 0",
                "body": "no body for 4 channels and 0 taps",
                "native": "taps is 0",
            },
        ),
        Refusal({"X": (5, 4)}, {"inference": "input 0 has 2 axes; it must have 3"}),
    ],
    open_shape=lambda name, shape: ("batch", "frames", shape[2]) if name == "X" else shape,
    roundings=16,
    body_roundings=16,
)
