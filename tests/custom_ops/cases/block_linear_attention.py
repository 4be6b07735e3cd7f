"""Cases of BlockLinearAttention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from case import Case, OpCases, Refusal, Tensors, float32, normal
from hypothesis import strategies as st

from temport.custom_ops.block_linear_attention import OP

MAPS = [
    (feature_map, normalizer) for feature_map in ("identity", "elu1") for normalizer in ("key_sum", "none")
]


def case(
    T: int,
    block: int,
    B: int = 2,
    H: int = 2,
    D: int = 5,
    Dv: int | None = None,
    maps: tuple[str, str] = ("elu1", "key_sum"),
    packed: bool = False,
    forms: tuple[str, ...] = ("dense", "blocked"),
    seed: int = 0,
) -> Case:
    """`identity` with `key_sum` draws positive queries and keys: elsewhere its denominator may pass through 0."""
    inputs = normal(seed, Q=(B, T, H * D), K=(B, T, H * D), V=(B, T, H * (D if packed else Dv or D)))
    if maps == ("identity", "key_sum"):
        inputs |= {name: np.abs(inputs[name]) + np.float32(0.1) for name in "QK"}
    if packed:
        inputs = {"Q": np.concatenate(list(inputs.values()), axis=2)}
    attributes = {
        "num_heads": H,
        "block_size": block,
        "scale": float32(D**-0.5),
        "feature_map": maps[0],
        "normalizer": maps[1],
        "eps": float32(1e-8),
    }
    return Case(inputs, attributes, forms)


def phi(x: torch.Tensor, feature_map: str) -> torch.Tensor:
    return x if feature_map == "identity" else torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
    """Both parts from whole T x T tables."""
    H = a["num_heads"]
    parts = (x["Q"], x["K"], x["V"]) if "K" in x else x["Q"].chunk(3, dim=2)
    q, k, v = (y.unflatten(2, (H, y.shape[2] // H)).transpose(1, 2) for y in parts)
    block = torch.arange(q.shape[2]) // a["block_size"]
    own = (block[:, None] == block) & torch.ones(len(block), len(block), dtype=torch.bool).tril()
    scores = (q @ k.mT) * a["scale"]
    intra = scores.masked_fill(~own, -torch.inf).softmax(-1) @ v
    phi_q, phi_k = phi(q, a["feature_map"]), phi(k, a["feature_map"])
    products = torch.where(block[:, None] > block, phi_q @ phi_k.mT, 0)
    inter = products @ v
    if a["normalizer"] == "key_sum":
        inter = inter / (products.sum(-1, keepdim=True) + a["eps"])
    return [(intra + inter).transpose(1, 2).flatten(2)]


GIVEN = "reference torch body inference"
REFUSED = [
    Refusal(
        {"block_size": 0},
        {GIVEN: "block_size is 0; it must be", "native": "block_size is 0; it must be at least 1"},
    ),
    Refusal({"block_size": None}, {"reference native": "block_size is missing"}),
    Refusal({"num_heads": None}, {"reference native": "num_heads is missing"}),
    Refusal({"scale": np.inf}, {GIVEN: "scale is inf; it must be"}),
    Refusal({"scale": None}, {"body": "the body needs the attribute scale"}),
    Refusal(
        {"feature_map": "relu"},
        {
            GIVEN: "feature_map is 'relu'; it must be",
            "native": "feature_map is 'relu'; it must be identity or elu1",
        },
    ),
    Refusal({"normalizer": "sum"}, {GIVEN: "normalizer is 'sum'; it must be"}),
    Refusal({"normalizer": 1}, {"native": "normalizer must be a string"}),
    Refusal({"eps": 0.0}, {GIVEN: "eps is 0.0; it must be", "native": "eps is 0.0"}),
    Refusal({"windw": 3}, {"reference": "unknown attribute 'windw'"}),
    Refusal(
        {"Q": (2, 5, 8), "K": (2, 6, 8), "V": (2, 6, 8)},
        {
            "reference torch body inference": "Q has 5 rows but K has 6; they must be equal",
            "native": "Q has 5 rows but K has 6",
        },
    ),
]

CASES = OpCases(
    op=OP,
    examples=80,
    cases=[
        case(7, 3, packed=True),
        case(1, 1, B=1),
        *(case(9, 4, D=3, maps=maps) for maps in MAPS),
        case(7, 1, D=3, Dv=2),
        case(20, 64, packed=True),
        case(64, 16, packed=True),
        *(case(75, 16, Dv=3, maps=maps) for maps in MAPS),
        case(130, 64, packed=True),
        case(130, 1, B=1, Dv=9),
        case(200, 64, B=1, H=4, D=64, packed=True),
        case(500, 150, B=1, D=8, Dv=33, forms=("blocked",)),
        case(700, 300, D=8, maps=("elu1", "none"), forms=()),
        case(20, 2**62, packed=True, forms=()),
        case(0, 2, B=1, forms=()),
        case(3, 2, B=0, forms=()),
    ],
    anywhere=st.builds(
        case,
        T=st.integers(1, 300),
        block=st.integers(1, 320),
        B=st.integers(1, 2),
        H=st.integers(1, 3),
        D=st.integers(1, 40),
        Dv=st.integers(1, 40),
        maps=st.sampled_from(MAPS),
        packed=st.booleans(),
        seed=st.integers(0, 99),
    ),
    peer=peer,
    refused=REFUSED,
    open_shape=lambda name, shape: ("batch", "length", shape[2]),
    opsets={"dense": (18,), "blocked": (18,)},
    dtypes=("float32", "float16", "bfloat16"),
)
