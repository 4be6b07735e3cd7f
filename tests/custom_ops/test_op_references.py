"""The frozen references against the definitions written as scalar loops, one output row at a time."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temport.custom_ops.table import OPS


def attention_row(q, keys, values, scale):
    """Softmax attention of one query over a list of keys; no key gives zeros."""
    if not keys:
        return np.zeros(values.shape[-1])
    scores = [scale * math.fsum(q * k) for k in keys]
    weights = [math.exp(s - max(scores)) for s in scores]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(1, 6),
    S=st.integers(1, 6),
    groups=st.integers(1, 3),
    causal=st.booleans(),
    window=st.sampled_from([0, 1, 3, 9]),
    offset=st.sampled_from([-1, 0, 2]),
    masked=st.booleans(),
    seed=st.integers(0, 999),
)
def test_online_softmax(T, S, groups, causal, window, offset, masked, seed):
    rng = np.random.default_rng(seed)
    H, kv, D, Dv = 2 * groups, 2, 3, 2
    q, k, v = (rng.standard_normal(s) for s in ((1, T, H * D), (1, S, kv * D), (1, S, kv * Dv)))
    key_mask = rng.random((1, S)) > 0.5 if masked else None
    attributes = {
        "num_heads": H,
        "kv_num_heads": kv,
        "causal": causal,
        "window": window,
        "query_offset": offset,
    }
    output = OPS["OnlineSoftmaxAttention"].reference([q, k, v, key_mask], attributes)
    for t in range(T):
        i = t + (S - T if offset == -1 else offset)
        for h in range(H):
            g = h // groups
            seen = [
                j
                for j in range(S)
                if (not (causal or window) or j <= i)
                and (not window or j > i - window)
                and (key_mask is None or key_mask[0, j])
            ]
            keys = [k[0, j, g * D : (g + 1) * D] for j in seen]
            values = v[0, seen, g * Dv : (g + 1) * Dv]
            row = attention_row(q[0, t, h * D : (h + 1) * D], keys, values, D**-0.5)
            np.testing.assert_allclose(output[0, t, h * Dv : (h + 1) * Dv], row, rtol=1e-12, atol=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    T=st.integers(1, 9),
    block=st.sampled_from([1, 2, 4, 20]),
    feature_map=st.sampled_from(["identity", "elu1"]),
    normalizer=st.sampled_from(["key_sum", "none"]),
    seed=st.integers(0, 999),
)
def test_block_linear(T, block, feature_map, normalizer, seed):
    rng = np.random.default_rng(seed)
    H, D, Dv = 2, 3, 2
    q, k = rng.standard_normal((2, 1, T, H * D))
    v = rng.standard_normal((1, T, H * Dv))
    attributes = {
        "num_heads": H,
        "block_size": block,
        "feature_map": feature_map,
        "normalizer": normalizer,
    }
    output = OPS["BlockLinearAttention"].reference([q, k, v], attributes)

    def phi(x):
        return x if feature_map == "identity" else np.where(x > 0, x + 1, np.exp(x))

    for t in range(T):
        start = t - t % block
        for h in range(H):
            q_t, heads = q[0, t, h * D : (h + 1) * D], slice(h * D, (h + 1) * D)
            values = v[0, :, h * Dv : (h + 1) * Dv]
            row = attention_row(q_t, list(k[0, start : t + 1, heads]), values[start : t + 1], D**-0.5)
            products = [math.fsum(phi(q_t) * phi(k[0, j, heads])) for j in range(start)]
            if products:
                inter = sum(p * values[j] for j, p in enumerate(products))
                row = row + (inter / (math.fsum(products) + 1e-8) if normalizer == "key_sum" else inter)
            np.testing.assert_allclose(output[0, t, h * Dv : (h + 1) * Dv], row, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("op", ["OnlineSoftmaxAttention", "BlockLinearAttention"])
def test_packed_input_is_the_same_as_separate(op):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 7, 6))
    attributes = {"num_heads": 2} | ({"block_size": 3} if op == "BlockLinearAttention" else {"window": 2})
    packed = OPS[op].reference([np.concatenate([q, k, v], axis=2)], attributes)
    np.testing.assert_array_equal(packed, OPS[op].reference([q, k, v], attributes))


def test_large_logits_do_not_overflow():
    q, k, v = 1e4 * np.random.default_rng(0).standard_normal((3, 1, 5, 4))
    assert np.isfinite(OPS["OnlineSoftmaxAttention"].reference([q, k, v], {"num_heads": 1})).all()


def test_identity_with_key_sum_is_ill_conditioned():
    """A denominator that passes through 0: a change of 1e-9 in one key changes the output by a large factor."""
    attributes = {"num_heads": 1, "block_size": 1, "eps": 1e-30, "normalizer": "key_sum"}
    k = np.array([[[1.0], [-1.0 + 1e-9], [1.0]]])
    run = OPS["BlockLinearAttention"].reference
    q, v = np.ones((1, 3, 1)), np.array([[[1.0], [3.0], [1.0]]])
    first = run([q, k, v], attributes)[0, 2, 0]
    second = run([q, k + np.array([[[0], [1e-9], [0]]]), v], attributes)[0, 2, 0]
    assert abs(first) > 1e8 and abs(first / second - 1) > 0.4
    sound = {**attributes, "feature_map": "elu1"}
    assert abs(run([q, k, v], sound)[0, 2, 0]) < 10
