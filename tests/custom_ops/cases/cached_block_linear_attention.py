"""Cases of CachedBlockLinearAttention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from case import Case, OpCases, Refusal, Tensors, float32, normal
from hypothesis import strategies as st

from cases.block_linear_attention import phi
from cases.cached_attention import (
    ALL,
    FORMS,
    FRAMES,
    LONG,
    attended,
    frames_of,
    refused_shapes,
    ring_inputs,
    written,
)
from temport.custom_ops.cached_block_linear_attention import OP


def case(
    N: int,
    D: int,
    H: int = 2,
    frames: tuple[int, ...] = (3,),
    maps: tuple[str, str] = ("elu1", "key_sum"),
    row: bool = False,
    forms: tuple[str, ...] = FORMS,
    seed: int = 0,
) -> Case:
    """Sums as large as those of some frames; with the identity as phi all features are positive."""
    inputs = ring_inputs(N, H * D, frames, row, seed)
    if maps[0] == "identity":
        features = inputs["QKV"][..., : 2 * H * D]
        inputs["QKV"][..., : 2 * H * D] = np.abs(features) + np.float32(0.1)
    sums = (len(frames), H, D, D + 1)
    inputs |= normal(seed + 1, Earlier=sums, Block=sums, Lost=sums)
    inputs["Earlier"][..., -1] += 40
    inputs["Block"][..., -1] += 9
    for name, factor in (("Earlier", 5), ("Block", 3), ("Lost", 1e-7)):
        inputs[name] *= np.float32(factor)
    inputs["Frames"] = np.array(frames, np.int64).reshape(-1, 1)
    attributes = {"num_heads": H, "feature_map": maps[0], "normalizer": maps[1], "eps": float32(1e-8)}
    return Case(inputs, attributes, forms)


def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
    """Stream by stream inside the block, then the linear part by head; every operation in the type of the inputs."""
    N, H = x["Keys"].shape[1], a["num_heads"]
    slots = [n % N for n in x["Frames"].flatten().tolist()]
    q, keys, values = written(x, slots)
    inside = torch.zeros_like(q)
    for b, slot in enumerate(slots):
        scale = (q.shape[1] // H) ** -0.5
        inside[b] = attended(q[b], keys[b, : slot + 1], values[b, : slot + 1], H, scale)
    q, k, v = (
        y.unflatten(1, (H, 1, q.shape[1] // H))
        for y in x["QKV"].reshape(len(slots), 3 * q.shape[1]).chunk(3, dim=1)
    )
    weighted = phi(q, a["feature_map"]) @ x["Earlier"]
    before = weighted[..., :-1]
    if a["normalizer"] == "key_sum":
        before = before / (weighted[..., -1:] + a["eps"])
    added = phi(k, a["feature_map"]).mT * torch.nn.functional.pad(v, (0, 1), value=1.0) - x["Lost"]
    grown = x["Block"] + added
    ends = torch.tensor([slot == N - 1 for slot in slots], dtype=torch.bool)[:, None, None, None]
    complete = torch.where(ends, grown, 0.0)
    y = (inside + before.flatten(1)).reshape(*x["QKV"].shape[:-1], inside.shape[1])
    return [y, keys, values, x["Earlier"] + complete, grown - complete, (grown - x["Block"]) - added]


SUMS = r"it must be \[2, 2, 3, 4\]"
REFUSED = [
    *refused_shapes(),
    *(
        Refusal(
            {name: shape}, {ALL + " native": rf"{name} has shape \[{', '.join(map(str, shape))}\]; {SUMS}"}
        )
        for name, shape in {"Earlier": (2, 2, 3, 3), "Block": (2, 2, 4, 3), "Lost": (1, 2, 3, 4)}.items()
    ),
    *(
        Refusal({name: value}, {"reference torch body inference": f"{name} is '?{value}'?; it must be"})
        for name, value in {"feature_map": "relu", "normalizer": "sum", "eps": 0.0}.items()
    ),
    Refusal(
        {"feature_map": "relu"}, {"native": "attribute feature_map is 'relu'; it must be identity or elu1"}
    ),
]
IDENTITY = ("identity", "key_sum")

CASES = OpCases(
    op=OP,
    cases=[
        case(5, 3, frames=(3, 4)),
        case(1, 4, H=1, frames=(0,)),
        case(1, 3, frames=(7, 0)),
        case(2, 1, H=3, frames=(1, 2, LONG, 2**63 - 1)),
        case(5, 3, frames=(4, 0, 5, LONG + 3)),
        case(5, 3, frames=(3, 4, LONG), row=True),
        case(60, 16, H=4, frames=(59, 60, 17)),
        case(4, 5, frames=(3, 9), maps=IDENTITY),
        case(4, 5, frames=(3, 9), maps=("identity", "none")),
        case(4, 5, frames=(2, 8), maps=("elu1", "none")),
        *(
            case(N, D, frames=frames, forms=())
            for N in (1, 2, 60, 65)
            for D in (1, 16, 33, 64)
            for frames in FRAMES
        ),
        *(case(60, 32, H=8, frames=(n,), maps=IDENTITY, forms=()) for n in (0, 58, 59, 60, 119)),
        *(
            case(60, D, frames=(59, 130), maps=("identity", "none"), forms=())
            for D in (1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 63, 65, 256)
        ),
        case(300, 256, H=3, frames=(299, 12, 1000, 5, 600), maps=IDENTITY, forms=()),
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
            st.sampled_from([IDENTITY, ("elu1", "key_sum"), ("elu1", "none")]),
            st.booleans(),
            seed=st.integers(0, 99),
        )
    ),
    peer=peer,
    refused=REFUSED,
    open_shape=lambda name, shape: ("batch", *shape[1:]),
    opsets={"dense": (18,), "attention": (23,)},
    dtypes=("float32", "float16", "bfloat16"),
    copies=frozenset({"NextKeys", "NextValues"}),
    floor={"NextLost": 16.0},  # what rounding took from a sum of that size, where the truth is 0
    in_place={"NextKeys": "Keys", "NextValues": "Values"},
)
