"""Cases of ResidualLayerNorm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from case import Case, OpCases, Refusal, Tensors, float32, normal
from hypothesis import strategies as st

from temport.custom_ops.residual_layer_norm import OP


def case(
    leading: tuple[int, ...],
    width: int = 5,
    mean: float = 0.0,
    addend: bool = False,
    epsilon: float = 1e-5,
    centred: bool = True,
    forms: tuple[str, ...] = ("auto",),
) -> Case:
    """Rows lie around `mean`, and every row has a deviation of its own."""
    rows = (*leading, width)
    inputs = normal(width, X=rows, Scale=(width,), B=(width,), R=rows)
    deviation = normal(1, deviation=(*leading, 1))["deviation"]
    inputs["X"] = inputs["X"] * deviation + np.float32(mean)
    attributes = {"epsilon": float32(epsilon), "centred": int(centred)}
    return Case({n: x for n, x in inputs.items() if addend or n != "R"}, attributes, forms)


def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
    total = x["X"] + x["R"] if "R" in x else x["X"]
    if total.numel() == 0:
        return [total]
    if not a["centred"]:
        return [torch.nn.functional.rms_norm(total, total.shape[-1:], x["Scale"], a["epsilon"]) + x["B"]]
    return [torch.nn.functional.layer_norm(total, total.shape[-1:], x["Scale"], x["B"], a["epsilon"])]


def open_shape(name: str, shape: tuple[int, ...]) -> list[int | str]:
    return [*(f"axis_{i}" for i in range(len(shape) - 1)), *shape[-1:]]


CASES = OpCases(
    op=OP,
    examples=150,
    cases=[
        case((2,), addend=True),
        *(
            case(leading, addend=addend, epsilon=epsilon, centred=centred)
            for leading, centred in (((1,), False), ((7,), True), ((2, 3), False), ((1, 5), True))
            for addend in (False, True)
            for epsilon in (1e-5, 0.5)
        ),
        *(case(leading, 19, 1.0, addend=True, epsilon=1e-3) for leading in ((), (2, 17), (3, 1, 5))),
        *(
            case((70,), width, mean, addend=True, centred=centred, forms=())
            for width, centred in ((4, True), (33, True), (33, False), (3000, True), (3000, False))
            for mean in (-100.0, 1e4)
        ),
        case((2, 0, 4), addend=True, forms=()),
    ],
    anywhere=st.builds(
        case,
        leading=st.tuples(st.integers(0, 70)),
        width=st.one_of(st.integers(1, 70), st.integers(71, 3000)),
        mean=st.sampled_from([0.0, 1.0, -10.0]),
        addend=st.booleans(),
        centred=st.booleans(),
    ),
    peer=peer,
    refused=[
        *(
            Refusal({name: (1, 5)}, {"reference native": rf"{name} has shape \[1, 5\]; it must be \["})
            for name in ("Scale", "B", "R")
        ),
        Refusal({"Scale": (1, 5)}, {"inference": "input 1 has 2 axes; it must have 1"}),
        Refusal({"Scale": (4,)}, {"reference native": r"Scale has shape \[4\]; it must be \[5\]"}),
        Refusal(
            {"X": ()},
            {
                "reference": r"X must be \[\.\.\., width\]",
                "native": r"X has no axis; it must be \[\.\.\., width\]",
            },
        ),
    ],
    open_shape=open_shape,
)
