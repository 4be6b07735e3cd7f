"""Cases of FusedDense."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from case import Case, OpCases, Refusal, Tensors, normal
from hypothesis import strategies as st

from temport.custom_ops.fused_dense import OP

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda x: x,
    "relu": torch.nn.functional.relu,
    "gelu": torch.nn.functional.gelu,
    "sigmoid": torch.sigmoid,
    "silu": torch.nn.functional.silu,
}


def case(
    leading: tuple[int, ...],
    K: int = 5,
    N: int = 3,
    groups: int = 1,
    activation: str = "none",
    given: str = "XWB",
) -> Case:
    """The result is about 1."""
    result = (*leading, groups * N)
    weight = (K, N) if groups == 1 else (groups, K, N)
    inputs = normal(sum(leading) + K, X=(*leading, groups * K), W=weight, B=(groups * N,), M=result, R=result)
    inputs["W"] /= np.float32(max(1, K) ** 0.5)
    return Case(
        {n: x for n, x in inputs.items() if n in given},
        {"activation": activation, "groups": groups},
        ("auto",) if K else (),
    )


def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
    w = x["W"] if x["W"].ndim == 3 else x["W"][None]
    columns = zip(x["X"].tensor_split(len(w), dim=-1), w, x["B"].tensor_split(len(w)), strict=True)
    y = ACTIVATIONS[a["activation"]](
        torch.cat([torch.nn.functional.linear(v, u.T, c) for v, u, c in columns], dim=-1)
    )
    y = y * x["M"] if "M" in x else y
    return [y + x["R"] if "R" in x else y]


def open_shape(name: str, shape: tuple[int, ...]) -> list[int | str]:
    """Any sizes of the axes before the last; the layer itself is what it is."""
    return [*shape] if name in "WB" else [*(f"axis_{i}" for i in range(len(shape) - 1)), *shape[-1:]]


REFUSED = [
    Refusal(
        {"activation": "tanh"},
        {
            "reference": "activation is 'tanh'; it must be one of none, relu, gelu, sigmoid, silu",
            "body": "there is no body for activation 'tanh'",
        },
    ),
    Refusal(
        {"groups": 0},
        {"reference": "groups is 0; it must be at least 1", "body": "there is no body for .* 0 groups"},
    ),
    Refusal({"groups": 2}, {"reference": r"W \[K, N\] of one group or \[G, K, N\]"}),
    Refusal(
        {"X": (2, 3, 10), "W": (2, 5, 3), "B": (6,), "groups": 2},
        {
            "reference": "X has 3 axes; with several groups it must have 2",
            "inference": "input 0 has 3 axes; it must have 2",
        },
    ),
    Refusal(
        {"X": (4, 6)},
        {
            "reference": r"X has shape \[4, 6\]; it must be \[",
            "native": r"X has shape \[4, 6\]; it must be \[.*, 5\]",
        },
    ),
    Refusal({"X": ()}, {"inference": "input 0 has 0 axes; it must have 1 or more"}),
    Refusal(
        {"W": (4,)},
        {
            "reference": "X must be",
            "inference": "input 1 has 1 axes; it must have 2",
            "native": r"W has shape \[4\]; it must be \[inputs, outputs\]",
        },
    ),
    Refusal({"W": (5, 4), "groups": 3}, {"inference": "input (0|1) has . axes; it must have"}),
    Refusal({"W": (4, 6)}, {"reference": r"\w has shape \[.*\]; it must be \["}),
    Refusal(
        {"B": (4,)},
        {
            "reference": r"B has shape \[4\]; it must be \[3\]",
            "native": r"B has shape \[4\]; it must be \[3\]",
        },
    ),
    Refusal(
        {"M": (1, 1)},
        {
            "reference": r"M has shape \[1, 1\]; it must be \[4, 3\]",
            "native": r"M has shape \[1, 1\]; it must be \[4, 3\]",
        },
    ),
    Refusal(
        {"R": (2, 3)},
        {
            "reference": r"R has shape \[2, 3\]; it must be \[4, 3\]",
            "native": r"R has shape \[2, 3\]; it must be \[4, 3\]",
        },
    ),
    Refusal(
        {"X": (4, 6), "W": (3, 4), "B": (8,), "groups": 2},
        {"native": r"W has shape .* must be \[2, inputs, outputs\]"},
    ),
]

CASES = OpCases(
    op=OP,
    examples=150,
    cases=[
        case((4,)),
        *(
            case((7,), groups=groups, activation=a, given=given)
            for a in ACTIVATIONS
            for given in ("XWB", "XWBM", "XWBR", "XWBMR")
            for groups in (1, 3)
        ),
        *(
            case(leading, groups=groups, activation="silu", given="XWBMR")
            for leading in ((0,), (1,))
            for groups in (1, 3)
        ),
        *(
            case(leading, 19, 21, activation="silu", given="XWBMR")
            for leading in ((), (1, 1), (2, 17), (3, 1, 5), (2, 0), (2, 0, 4))
        ),
    ],
    anywhere=st.builds(
        case,
        leading=st.tuples(st.integers(0, 70)),
        K=st.integers(0, 600),
        N=st.integers(1, 300),
        groups=st.sampled_from([1, 1, 1, 2, 4, 5]),
        activation=st.sampled_from(list(ACTIVATIONS)),
        given=st.sampled_from(["XWB", "XWBM", "XWBR", "XWBMR"]),
    ),
    peer=peer,
    refused=REFUSED,
    open_shape=open_shape,
    roundings=16,
)
