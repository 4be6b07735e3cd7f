"""Cases of OnlineSoftmaxAttention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from case import Case, OpCases, Refusal, Tensors, float32, normal
from hypothesis import strategies as st

from temport.custom_ops.online_softmax_attention import OP
from temport.custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes
from temport.custom_ops.online_softmax_attention.onnx_body import Bands

PLAIN = ("dense", "attention")


def case(
    T: int,
    S: int | None = None,
    B: int = 2,
    kv: int = 2,
    group: int = 1,
    D: int = 4,
    Dv: int | None = None,
    causal: bool = False,
    window: int = 0,
    query_offset: int = -1,
    packed: bool = False,
    key_mask: bool = False,
    scale: float | None = None,
    magnitude: float = 1.0,
    forms: tuple[str, ...] | None = None,
    seed: int = 0,
) -> Case:
    """S is T by default and for packed inputs; the first row of a key_mask excludes every key."""
    keys, H = T if packed or S is None else S, kv * group
    if packed:
        inputs = normal(seed, Q=(B, T, (H + 2 * kv) * D))
    else:
        inputs = normal(seed, Q=(B, T, H * D), K=(B, keys, kv * D), V=(B, keys, kv * (Dv or D)))
    inputs["Q"] *= np.float32(magnitude)
    if key_mask:
        inputs["key_mask"] = np.random.default_rng(seed).random((B, keys)) > 0.4
        inputs["key_mask"][0] = False
    attributes = {
        "num_heads": H,
        "kv_num_heads": kv,
        "causal": int(causal),
        "window": window,
        "query_offset": query_offset,
        "scale": float32(D**-0.5 if scale is None else scale),
    }
    if forms is None:
        bands = Bands.of(OnlineSoftmaxAttributes.parse(attributes).rule, T, keys) if T and keys else None
        forms = (*PLAIN, "banded") if bands else PLAIN
    return Case(inputs, attributes, forms)


def peer(x: Tensors, a: Mapping[str, Any]) -> list[torch.Tensor]:
    """torch's own attention: position i = t + offset sees j <= i, j > i - window; a row that sees nothing is 0."""
    H, kv = a["num_heads"], a["kv_num_heads"]
    q, k, v = x["Q"], x.get("K"), x.get("V")
    if k is None or v is None:
        D = q.shape[2] // (H + 2 * kv)
        q, k, v = q.split([H * D, kv * D, kv * D], dim=2)
    q, k, v = (y.unflatten(2, (n, y.shape[2] // n)).transpose(1, 2) for y, n in ((q, H), (k, kv), (v, kv)))
    k, v = (y.repeat_interleave(H // kv, dim=1) for y in (k, v))
    T, S = q.shape[2], k.shape[2]
    i = torch.arange(T)[:, None] + (S - T if a["query_offset"] == -1 else a["query_offset"])
    j = torch.arange(S)
    allowed = (j <= i) | torch.tensor(not (a["causal"] or a["window"]))
    if a["window"]:
        allowed = allowed & (j > i - a["window"])
    if "key_mask" in x:
        allowed = allowed & x["key_mask"][:, None, None, :]
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, allowed, scale=a["scale"])
    y = torch.where(allowed.any(-1, keepdim=True), y, 0)
    return [y.transpose(1, 2).flatten(2)]


anywhere = st.builds(
    case,
    T=st.integers(1, 260),
    S=st.integers(1, 600),
    B=st.integers(1, 3),
    kv=st.integers(1, 3),
    group=st.integers(1, 3),
    D=st.integers(1, 40),
    Dv=st.integers(1, 40),
    causal=st.booleans(),
    window=st.sampled_from([0, 0, 1, 2, 7, 60, 255, 300]),
    query_offset=st.sampled_from([-1, -1, 0, 3, 100]),
    packed=st.booleans(),
    key_mask=st.booleans(),
    magnitude=st.sampled_from([0.1, 1.0]),
    seed=st.integers(0, 99),
)

DEFINED, GIVEN = "reference torch inference", "reference torch body inference"
REFUSED = [
    Refusal(
        {"num_heads": 0},
        {GIVEN: "num_heads is 0; it must be", "native": "num_heads is 0; it must be at least 1"},
    ),
    Refusal({"num_heads": True}, {"reference torch": "num_heads is True; it must be"}),
    Refusal(
        {"num_heads": None},
        {
            "reference": "num_heads is missing",
            "body": "needs the attribute num_heads",
            "native": "num_heads is missing",
        },
    ),
    Refusal({"num_heads": 2.0}, {"native": "num_heads must be an integer"}),
    Refusal(
        {"num_heads": 3}, {GIVEN: "kv_num_heads is 2; it must divide", "native": "must divide num_heads = 3"}
    ),
    Refusal(
        {"causal": 2}, {GIVEN: "causal is 2; it must be 0 or 1", "native": "causal is 2; it must be 0 or 1"}
    ),
    Refusal(
        {"window": -1}, {GIVEN: "window is -1; it must be", "native": "window is -1; it must be at least 0"}
    ),
    Refusal(
        {"query_offset": -2},
        {GIVEN: "query_offset is -2; it must be", "native": "query_offset is -2; it must be at least -1"},
    ),
    Refusal(
        {"scale": np.nan}, {GIVEN: "scale is nan; it must be", "native": "scale must be a finite number"}
    ),
    Refusal({"scale": 1}, {"native": "scale must be a float"}),
    Refusal(
        {"scale": None}, {"body": "the body needs the attribute scale; every node must write all of them"}
    ),
    Refusal({"windw": 3}, {"reference": "unknown attribute 'windw'"}),
    Refusal(
        {"Q": (2, 24)},
        {
            DEFINED: r"Q has shape \[2, 24\]; it must have 3 axes",
            "native": r"Q has shape \[2, 24\]; it must have 3 axes",
        },
    ),
    Refusal(
        {"Q": (2, 5, 23)},
        {
            DEFINED: "the last axis of packed Q is 23; it must be a positive multiple of .* = 6",
            "native": "last axis of packed Q is 23; it must be a positive multiple of .* = 6",
        },
    ),
    Refusal(
        {"Q": (2, 5, 0)}, {DEFINED: "last axis of packed Q is 0", "native": "last axis of packed Q is 0"}
    ),
    Refusal(
        {"Q": (2, 5, 8), "K": (2, 5, 8)},
        {DEFINED: "K and V must both be given", "native": "K and V must both be given"},
    ),
    Refusal(
        {"Q": (2, 5, 8), "K": (2, 5, 6), "V": (2, 5, 8)},
        {DEFINED + " native": "the head dim of Q is 4 but the head dim of K is 3"},
    ),
    Refusal(
        {"Q": (2, 5, 8), "K": (1, 5, 8), "V": (1, 5, 8)},
        {DEFINED + " native": "the batch of Q is 2 but the batch of K is 1"},
    ),
    Refusal(
        {"Q": (2, 5, 8), "K": (2, 5, 8), "V": (2, 6, 8)},
        {DEFINED + " native": "the length of K is 5 but the length of V is 6"},
    ),
    Refusal(
        {"Q": (2, 5, 24), "key_mask": (2, 4)},
        {
            DEFINED: "the number of keys is 5 but the length of key_mask is 4",
            "native": r"key_mask has shape \[2, 4\]; it must be \[2, 5\]",
        },
    ),
]

CASES = OpCases(
    op=OP,
    examples=120,
    cases=[
        case(5, packed=True, window=3),
        case(1, 1),
        case(1, 1, B=1, D=1),
        case(7, 7, D=3, causal=True, packed=True, B=3),
        case(5, 7, D=3, Dv=2, group=2, window=3, key_mask=True),
        case(5, 9),
        case(4, 3, D=2, causal=True, query_offset=0),
        case(6, 2, D=2, causal=True),
        case(9, 4, causal=True, key_mask=True),
        case(9, 5, window=2, query_offset=6, Dv=3),
        case(6, 11, key_mask=True, group=2),
        case(40, causal=True, key_mask=True),
        case(40, 51, window=7, group=2),
        case(20, 50, B=1, D=16, causal=True, query_offset=0),
        case(40, 30, B=1, D=16, window=4, query_offset=60),
        case(33, 90, window=100, key_mask=True),
        case(75, window=20, packed=True, group=3),
        case(64, window=16, packed=True, group=2, key_mask=True),
        case(49, 120, window=3, key_mask=True, Dv=5),
        case(100, 130, window=30, query_offset=20),
        case(61, window=1),
        case(60, B=1, kv=4, D=64, causal=True, window=60, packed=True),
        case(397, B=1, D=64, causal=True, window=60, packed=True),
        case(520, B=1, kv=1, D=32, causal=True, packed=True, forms=("dense",)),
        case(300, B=1, D=16, window=1),
        case(1, 600, B=1, D=33, Dv=65, causal=True),
        case(300, 700, D=8, Dv=70, group=3, key_mask=True, forms=()),
        case(154, 382, B=1, D=28, Dv=7, window=255),  # a key tile ends inside a window, off a vector
        case(64, B=1, D=16, magnitude=100.0, causal=True),
        case(150, 600, D=64, magnitude=30.0, causal=True, forms=("dense",)),
        case(300, D=32, magnitude=30.0, window=60, packed=True, forms=("banded",)),
        case(64, B=1, D=16, scale=-1.0),
        case(64, B=1, D=16, scale=0.0, causal=True),
        case(20, packed=True, window=2**62, query_offset=2**62, forms=()),
        case(7, 0, B=1, causal=True, forms=()),
        case(0, 7, B=1, causal=True, forms=()),
        case(3, 4, B=0, causal=True, forms=()),
    ],
    anywhere=anywhere,
    peer=peer,
    refused=REFUSED,
    open_shape=lambda name, shape: ("batch", f"length_{'Q' if name == 'Q' else 'K'}", *shape[2:]),
    opsets={"dense": (18,), "banded": (20,), "attention": (23,)},
    dtypes=("float32", "float16", "bfloat16"),
)
