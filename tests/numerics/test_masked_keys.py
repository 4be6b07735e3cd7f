"""A key that a row may not see has no influence on it, whatever it holds: NaN and infinity stay where they are seen.

Not part of this rule are the ONNX bodies, which multiply the values of excluded keys by weights of 0.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.numerics.attention_nodes import NODES, Products, attend, block_linear
from tests.numerics.masked_keys import poison_keys
from tests.numerics.one_node import EPS, Array, Node

WHOLE = [name for name in NODES if not name.startswith("stream")]
POISON = [np.nan, np.inf, -np.inf]


def check(node: Node, poison: float, dtype: str, threads: int = 1) -> None:
    """Rows that see none of the poisoned keys keep their values, and each of the others holds something infinite."""
    clean = node.run(dtype, threads)[0]
    seen = poison_keys(node, poison)
    dirty = node.run(dtype, threads)[0]
    # the rows of a tile are multiplied one by one where a value is infinite, which moves roundings
    allowed = 8 * EPS["float32"] + (0 if dtype == "float32" else EPS[dtype])
    np.testing.assert_allclose(dirty[~seen], clean[~seen], rtol=0, atol=2 * allowed)
    assert not np.isfinite(dirty[seen]).all(-1).any()


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("name", WHOLE)
def test_excluded_keys_have_no_influence(name: str, poison: float, dtype: str) -> None:
    check(NODES[name](Products()), poison, dtype)


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(1, 150),
    S=st.integers(1, 400),
    causal=st.integers(0, 1),
    window=st.sampled_from([0, 1, 5, 60, 300]),
    masked=st.booleans(),
    dim=st.sampled_from([2, 5, 16, 31, 64]),
    poison=st.sampled_from(POISON),
    seed=st.integers(0, 99),
    threads=st.integers(1, 2),
)
def test_excluded_keys_have_no_influence_anywhere(
    T: int, S: int, causal: int, window: int, masked: bool, dim: int, poison: float, seed: int, threads: int
) -> None:
    node = attend(Products(dim=dim, seed=seed), T, S, masked=masked, causal=causal, window=window)
    check(node, poison, "float32", threads)


@settings(max_examples=30, deadline=None)
@given(
    T=st.integers(1, 400),
    block=st.sampled_from([1, 7, 16, 60, 150, 500]),
    dim=st.sampled_from([2, 5, 16, 64]),
    poison=st.sampled_from(POISON),
    threads=st.integers(1, 2),
)
def test_later_keys_have_no_influence_in_blocks(
    T: int, block: int, dim: int, poison: float, threads: int
) -> None:
    check(block_linear(Products(dim=dim), T, block), poison, "float32", threads)


@pytest.mark.parametrize("dtype", EPS)
@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("name", ["stream that begins", "stream of blocks"])
def test_rows_of_a_ring_that_are_not_filled_have_no_influence(name: str, poison: float, dtype: str) -> None:
    """Nor have those of the block before, which stand behind the newest row."""
    node = NODES[name](Products())
    clean = node.run(dtype)[0]
    first = int(node.inputs["Frames"][0, 0]) % 37 + 1
    for state in ("Keys", "Values"):
        node.inputs[state][:, first:] = poison
    np.testing.assert_array_equal(node.run(dtype)[0], clean)


@pytest.mark.parametrize("poison", POISON)
def test_a_window_forgets_and_its_stream_does_so_at_the_same_frame(poison: float) -> None:
    """One poisoned frame of 40: 9 rows of a window of 9 show it, in the window and in the stream."""
    whole = attend(Products(), 40, 40, window=9)
    for name in "KV":
        whole.inputs[name][:, 12] = poison
    rows = whole.run()[0]
    shows = np.arange(12, 21)
    assert [t for t in range(40) if not np.isfinite(rows[:, t]).all()] == list(shows)
    state = {name: np.zeros((2, 9, 32), np.float32) for name in ("Keys", "Values")}
    scale = {"num_heads": 2, "scale": whole.attributes["scale"]}
    frames = np.zeros((2, 1), np.int64)
    node = Node(
        "CachedAttention", {"QKV": np.zeros((2, 1, 96), np.float32), **state, "Frames": frames}, scale
    )
    session, finite = node.session(), []
    for t in range(40):
        newest: Array = np.concatenate([whole.inputs[name][:, t : t + 1] for name in "QKV"], axis=2)
        y, *after = session.run(None, {"QKV": newest, **state, "Frames": frames + t})
        state = dict(zip(("Keys", "Values"), after, strict=True))
        finite.append(np.isfinite(y).all())
    assert [t for t in range(40) if not finite[t]] == list(shows)
