"""Native attention at scores of any size: the softmax of the float32 scores, in every kernel, type and instruction set.

A score beyond the range of float32 is an infinity there: -inf has no weight, and a row with a score of +inf, or with
nothing but -inf, is NaN, as torch.softmax has it. A row that may see no key is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.instruction_sets import HERE, Forced
from tests.numerics.attention_nodes import NODES, Products, attend
from tests.numerics.one_node import EPS, Array, Node

SIZES = ((-8, 0), (0, 11), (9, 11), (12, 11), (40, 0), (76, 11))
"""Power and common part of `Products`: scores from 1 to 3e29."""
LINEAR = {"feature_map": "elu1", "normalizer": "key_sum", "eps": 1e-8}
NO_RULE = {"causal": 0, "window": 0, "query_offset": -1}


def excess(node: Node, dtype: str, y: Array, truth: Array) -> float:
    """The largest error of Y in units of what is allowed; a NaN is infinitely wrong.

    Sixteen roundings of float32 for the weights and their sums, and that of the element type where Y is stored, of
    values up to 1, and 2 where a linear part is added.
    """
    size = 2 if "Linear" in node.op else 1
    allowed = size * (16 * EPS["float32"] + (0 if dtype == "float32" else EPS[dtype] / 2))
    off = np.abs(y - truth) / allowed
    return float(np.where(np.isnan(off), np.inf, off).max())


def error(node: Node, dtype: str) -> float:
    """The same of what this process computes."""
    return excess(node, dtype, node.run(dtype)[0], node.truth()[0])


@pytest.fixture(
    scope="module",
    params=[
        tuple(isa for isa in HERE if isa != "sse42"),
        *(pytest.param((isa,), marks=pytest.mark.thorough) for isa in HERE if isa == "sse42"),
    ],
    ids="-".join,
)
def forced(request: pytest.FixtureRequest) -> Iterator[dict[str, Forced]]:
    """Every instruction set of this machine; what is right is computed once for all."""
    with ExitStack() as stack:
        processes = {isa: stack.enter_context(Forced(isa)) for isa in request.param}
        for isa, process in processes.items():
            assert process.description.endswith(f", {isa}")
        yield processes


@lru_cache(maxsize=2)  # of the types that have the same range, and of all instruction sets
def truth(name: str, products: Products) -> Array:
    return NODES[name](products).truth()[0]


def test_exact_scores(forced: dict[str, Forced]) -> None:
    for name, build in NODES.items():
        for power, common in SIZES:
            for dtype in EPS:
                products = Products.fitting(dtype, power, common)
                node = build(products)
                for isa, process in forced.items():
                    y = process.run(node.model(dtype), node.inputs)["Y"]
                    off = excess(node, dtype, y, truth(name, products))
                    assert off <= 1, (isa, name, dtype, power, common, off)


def test_rounded_scores(forced: dict[str, Forced]) -> None:
    """Which of two near keys is the greater is up to rounding here; that the weights add up to 1 is not."""
    random = np.random.default_rng(0)
    for name, build in NODES.items():
        for magnitude in (1e3, 1e6, 1e12, 1e18):
            if "blocks" in name:
                continue  # a linear part is added
            node = build(Products())
            for given_name in {"Q", "K", "QKV", "Keys"} & node.inputs.keys():
                x = node.inputs[given_name]
                last = x.shape[2] // 3 * 2 if given_name == "QKV" else x.shape[2]  # without its values
                x[..., :last] = magnitude * random.standard_normal((*x.shape[:2], last))
            total = node.truth()[0][..., ::16]
            for dtype in ("float32", "bfloat16"):
                for isa, process in forced.items():
                    ones = process.run(node.model(dtype), node.inputs)["Y"][..., ::16]
                    assert np.abs(ones - total).max() <= 1e-5, (isa, name, dtype, magnitude)


def infinite_scores() -> dict[str, Array]:
    """Keys `[1, 3, 4]` by what a query of 1e25, 0, ... has for scores; one of 0, 1, ... has 1/2, 1 and 3/2."""
    columns = {
        "one +inf": (0, 1e25, 0),
        "all +inf": (1e25, 1e25, 1e25),
        "one -inf": (0, -1e25, 0),
        "all -inf": (-1e25, -1e25, -1e25),
        "both": (-1e25, 1e25, 0),
    }
    return {
        name: np.stack([column, (1, 2, 3), *np.zeros((2, 3))], axis=1).astype(np.float32)[None]
        for name, column in columns.items()
    }


def softmax_in_torch(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """From scores in float32, with a scale of 1/2."""
    queries, keys, values = map(torch.from_numpy, (q, k, v))
    scores = queries @ keys.mT * 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape, dtype=torch.bool).triu(1), -np.inf)
    weights = torch.softmax(scores, -1)
    return torch.where(weights[..., None] == 0, 0.0, weights[..., None] * values[:, None]).sum(2).numpy()


def test_infinite_scores(forced: dict[str, Forced]) -> None:
    q = np.zeros((1, 3, 4), np.float32)
    q[0, 1, 0], q[0, [0, 2], 1] = 1e25, 1
    v = np.array([[[1, 0, 0.5, 2], [1, 1, 0.25, 4], [1, -1, 0.125, 8]]], np.float32)
    full = {"num_heads": 1, "kv_num_heads": 1, "scale": 0.5, **NO_RULE}
    block = {"num_heads": 1, "block_size": 3, "scale": 0.5, **LINEAR}
    for name, k in infinite_scores().items():
        ring = {"QKV": np.concatenate([q, k, v], axis=2)[:, 1:2], "Keys": k, "Values": v}
        ring["Frames"] = np.full((1, 1), 4, np.int64)
        sums = {n: np.zeros((1, 1, 4, 5), np.float32) for n in ("Earlier", "Block", "Lost")}
        ends = {**ring, **sums, "Frames": np.full((1, 1), 1, np.int64)}
        all_keys, own_keys = softmax_in_torch(q, k, v, False), softmax_in_torch(q, k, v, True)
        cases = [
            (Node("OnlineSoftmaxAttention", {"Q": q, "K": k, "V": v}, full), all_keys),
            (Node("OnlineSoftmaxAttention", {"Q": q[:, 1:2], "K": k, "V": v}, full), all_keys[:, 1:2]),
            (Node("OnlineSoftmaxAttention", {"Q": q, "K": k, "V": v}, {**full, "causal": 1}), own_keys),
            (Node("BlockLinearAttention", {"Q": q, "K": k, "V": v}, block), own_keys),
            (Node("CachedAttention", ring, {"num_heads": 1, "scale": 0.5}), all_keys[:, 1:2]),
            (
                Node("CachedBlockLinearAttention", ends, {"num_heads": 1, **LINEAR}),
                own_keys[:, 1:2],
            ),
        ]
        for node, expected in cases:
            for dtype in ("float32", "bfloat16"):
                for isa, process in forced.items():
                    y = process.run(node.model(dtype), node.inputs)["Y"]
                    near = np.allclose(y, expected, rtol=4 * EPS[dtype], atol=1e-6, equal_nan=True)
                    assert near, (isa, name, node.op, dtype, y, expected)


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(sorted(NODES)),
    dtype=st.sampled_from(sorted(EPS)),
    power=st.integers(-12, 76),
    common=st.integers(0, 11),
    dim=st.sampled_from([2, 5, 16, 31, 64]),
    seed=st.integers(0, 99),
)
def test_any_scores(name: str, dtype: str, power: int, common: int, dim: int, seed: int) -> None:
    assert error(NODES[name](Products.fitting(dtype, power, common, dim, seed)), dtype) <= 1


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(1, 100),
    S=st.integers(1, 400),
    window=st.sampled_from([0, 1, 5, 60, 300]),
    masked=st.booleans(),
    scale=st.sampled_from([0.0, 2.0**-126, 2.0**-101, 1e-30, 0.3, 1.0, -0.3, -1e20, -(2.0**99), 2.0**101]),
    power=st.integers(-90, 90),
    seed=st.integers(0, 99),
)
def test_any_shape_and_scale(
    T: int, S: int, window: int, masked: bool, scale: float, power: int, seed: int
) -> None:
    """Scales of either sign and of any size; those that are taken into the queries are powers of two."""
    exponent = round(np.log2(abs(scale or 1)))
    power = min(max(power, -90 - min(0, exponent)), 96 - max(0, exponent))
    node = attend(Products(power, 8, seed=seed), T, S, masked=masked, window=window)
    node = Node(node.op, node.inputs, {**node.attributes, "scale": float(np.float32(scale))})
    assert error(node, "float32") <= 1


def test_a_window_and_its_stream_agree() -> None:
    """Frame by frame through the ring: the rows of the window over the whole sequence, at every size."""
    for power, common in SIZES:
        whole = attend(Products(power, common), 60, 60, window=9)
        rows = whole.run()[0]
        state = {name: np.zeros((2, 9, 32), np.float32) for name in ("Keys", "Values")}
        inputs = {"QKV": np.zeros((2, 1, 96), np.float32), **state, "Frames": np.zeros((2, 1), np.int64)}
        attributes = {"num_heads": 2, "scale": whole.attributes["scale"]}
        session = Node("CachedAttention", inputs, attributes).session()
        for t in range(60):
            newest = np.concatenate([whole.inputs[name][:, t : t + 1] for name in "QKV"], axis=2)
            feed = {"QKV": newest, **state, "Frames": np.full((2, 1), t, np.int64)}
            y, *after = session.run(None, feed)
            state = dict(zip(("Keys", "Values"), after, strict=True))
            np.testing.assert_allclose(y, rows[:, t : t + 1], rtol=0, atol=16 * EPS["float32"])


def test_a_row_without_a_key_is_0_and_one_of_minus_infinities_is_not() -> None:
    k, v = infinite_scores()["all -inf"], np.ones((1, 3, 4), np.float32)
    q = np.zeros((1, 3, 4), np.float32)
    q[:, :, 0] = 1e25
    for key, expected in ((True, np.nan), (False, 0.0)):
        inputs = {"Q": q, "K": k, "V": v, "key_mask": np.array([[key, False, False]])}
        attributes = {"num_heads": 1, "kv_num_heads": 1, "scale": 0.5, **NO_RULE}
        y = Node("OnlineSoftmaxAttention", inputs, attributes).run()[0]
        np.testing.assert_array_equal(y, np.full((1, 3, 4), expected, np.float32))
