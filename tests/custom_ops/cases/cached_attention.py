"""Cases of CachedAttention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from case import Array, Case, OpCases, Refusal, Tensors, float32, normal
from hypothesis import strategies as st

from temport.custom_ops.cached_attention import OP

LONG = 10**12
"""Frames of a stream that has run for five hundred years."""
FORMS = ("dense", "attention")
FRAMES = [(0,), (LONG,), (0, 1, 7, LONG, -1)]


def case(
    N: int,
    D: int,
    H: int = 2,
    frames: tuple[int, ...] = (3,),
    scale: float | None = None,
    magnitude: float = 1.0,
    row: bool = False,
    forms: tuple[str, ...] = FORMS,
    seed: int = 0,
) -> Case:
    """One frame of streams that have seen `frames` before it; `row` gives it without an axis of its own."""
    inputs = ring_inputs(N, H * D, frames, row, seed)
    inputs["QKV"][..., : H * D] *= np.float32(magnitude)
    inputs["Frames"] = np.array(frames, np.int64).reshape(-1, 1)
    return Case(inputs, {"num_heads": H, "scale": float32(D**-0.5 if scale is None else scale)}, forms)


def ring_inputs(N: int, C: int, frames: tuple[int, ...], row: bool, seed: int) -> dict[str, Array]:
    B = len(frames)
    return normal(seed, QKV=(B, 3 * C) if row else (B, 1, 3 * C), Keys=(B, N, C), Values=(B, N, C))


def written(x: Tensors, slots: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The query `[B, C]`, and keys and values with the newest frame in its row."""
    q, k, v = x["QKV"].reshape(len(slots), x["QKV"].shape[-1]).chunk(3, dim=1)
    keys, values = x["Keys"].clone(), x["Values"].clone()
    for b, slot in enumerate(slots):
        keys[b, slot], values[b, slot] = k[b], v[b]
    return q, keys, values


def attended(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, H: int, scale: float) -> torch.Tensor:
    """One query `[C]` over the rows of `[n, C]`, by head; nothing where there are none."""
    if len(keys) == 0:
        return torch.zeros_like(q)
    q, k, v = (y.unflatten(-1, (H, -1)).transpose(0, 1) for y in (q[None], keys, values))
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale)
    return y.transpose(0, 1).flatten()


def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
    """Stream by stream, over the rows that are filled."""
    N, frames = x["Keys"].shape[1], x["Frames"].flatten().tolist()
    q, keys, values = written(x, [n % N for n in frames])
    y = torch.zeros_like(q)
    for b, n in enumerate(frames):
        filled = max(0, min(n + 1, N))
        y[b] = attended(q[b], keys[b, :filled], values[b, :filled], a["num_heads"], a["scale"])
    return [y.reshape(*x["QKV"].shape[:-1], y.shape[1]), keys, values]


ALL = "reference torch inference"


def refused_shapes() -> list[Refusal]:
    """Of the ring, for a first case of caches `[2, 5, 6]` and two heads."""

    def alike(change: dict[str, Any], defined: str, native: str, by: str = ALL) -> Refusal:
        return Refusal(change, {by: defined, "native": native})

    return [
        alike(
            {"QKV": (2, 2, 18)},
            r"QKV has shape \[2, 2, 18\]; with Keys \[2, 5, 6\] it must be \[2, 1, 18\]",
            r"QKV has shape \[2, 2, 18\]; it must be \[2, 1, 18\]",
        ),
        alike(
            {"QKV": (2, 17)},
            r"QKV has shape \[2, 17\]; with Keys \[2, 5, 6\] it must be \[2, 18\]",
            r"QKV has shape \[2, 17\]; it must be \[2, 18\]",
        ),
        alike(
            {"Keys": (2, 5)},
            r"Keys has shape \[2, 5\]; it must be \[batch, capacity, width\]",
            r"Keys has shape \[2, 5\]; it must be \[batch, N, C\] with N at least 1",
            "reference torch",
        ),
        alike(
            {"Keys": (2, 5, 7)},
            "the last axis of Keys is 7; it must be a positive multiple of num_heads = 2",
            "last axis of Keys is 7; it must be a positive multiple of num_heads = 2",
        ),
        alike(
            {"Keys": (2, 0, 6), "Values": (2, 0, 6)},
            "Keys has no rows",
            r"Keys has shape \[2, 0, 6\]; it must be \[batch, N, C\] with N at least 1",
            "reference torch",
        ),
        alike(
            {"Values": (2, 4, 6)},
            r"Values has shape \[2, 4, 6\]; with Keys \[2, 5, 6\] it must be \[2, 5, 6\]",
            r"Values has shape \[2, 4, 6\]; it must be \[2, 5, 6\]",
        ),
        alike(
            {"Frames": (3, 1)},
            r"Frames has shape \[3, 1\]; with Keys \[2, 5, 6\] it must be \[2, 1\]",
            r"Frames has shape \[3, 1\]; it must be \[2, 1\]",
        ),
        Refusal({"Frames": (2,)}, {"native": r"Frames has shape \[2\]; it must be \[2, 1\]"}),
        Refusal(
            {"Frames": None},
            {
                "reference": "must (all )?be given",
                "native": r"Frames is missing; it must be given with shape \[2, 1\]",
            },
        ),
        Refusal(
            {"Keys": None},
            {
                "reference": "must (all )?be given",
                "native": r"Keys is missing; it must be given with shape \[batch, N, C\]",
            },
        ),
        Refusal(
            {"Keys": ("batch", "rows", 6)},
            {"body": "the caches must have a fixed number of rows and of columns"},
        ),
        Refusal(
            {"num_heads": 0},
            {"reference torch body inference": "num_heads is 0; it must be", "native": "num_heads is 0"},
        ),
        Refusal({"num_heads": True}, {"reference torch": "num_heads is True; it must be"}),
        Refusal(
            {"num_heads": None},
            {
                "reference": "num_heads is missing",
                "native": "num_heads is missing; it must be an integer of at least 1",
            },
        ),
        Refusal({"windw": 3}, {"reference": "unknown attribute 'windw'"}),
    ]


def frames_of(N: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(
        st.one_of(st.integers(-2 * N, 3 * N), st.sampled_from([LONG, 2**63 - 1])), min_size=1, max_size=4
    ).map(tuple)


CASES = OpCases(
    op=OP,
    cases=[
        case(5, 3, frames=(3, 4)),
        case(1, 4, H=1, frames=(0,)),
        case(1, 3, frames=(7, 0)),
        case(2, 1, H=3, frames=(1, 2, LONG, 2**63 - 1)),
        case(5, 3, frames=(4, 0, 5, LONG + 3)),
        case(5, 3, frames=(3, -1, LONG), row=True),
        case(5, 3, frames=(-1, -7, 0)),
        case(60, 16, H=4, frames=(59, 60, 17)),
        *(
            case(N, D, frames=frames, forms=())
            for N in (1, 2, 60, 65)
            for D in (1, 16, 33, 64)
            for frames in FRAMES
        ),
        *(case(60, 32, H=8, frames=(n,), forms=()) for n in (58, 59, 60, 61, 119)),
        case(
            300, 256, H=3, frames=(299, 12, 1000, 5, 600), forms=()
        ),  # several key tiles, more work than for one thread
        case(60, 64, H=4, frames=(70,), scale=-1.0),
        case(60, 64, H=4, frames=(70,), scale=0.0),
        case(65, 64, H=4, frames=(70,), magnitude=100.0, forms=("dense",)),
        case(60, 64, H=1, frames=(-61, -60, -(2**63), 2**63 - 1), forms=()),
        case(60, 33, H=3, frames=(0, 20, 58, -1, LONG), row=True, forms=()),
        case(5, 3, frames=(), forms=()),
    ],
    anywhere=st.integers(1, 70).flatmap(
        lambda N: st.builds(
            case,
            st.just(N),
            st.integers(1, 40),
            st.integers(1, 3),
            frames_of(N),
            row=st.booleans(),
            seed=st.integers(0, 99),
        )
    ),
    peer=peer,
    refused=[
        *refused_shapes(),
        Refusal({"scale": np.nan}, {"reference torch body inference": "scale is nan; it must be"}),
        Refusal({"scale": None}, {"body": "the body needs the attribute scale"}),
    ],
    open_shape=lambda name, shape: ("batch", *shape[1:]),
    opsets={"dense": (18,), "attention": (23,)},
    dtypes=("float32", "float16", "bfloat16"),
    copies=frozenset({"NextKeys", "NextValues"}),
    in_place={"NextKeys": "Keys", "NextValues": "Values"},
)
