"""The attention functions against a float64 definition written as loops, over wide ranges of shapes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from temport import graphs
from temport.graphs.attention_kernels import l1_attention, laplace_attention, paper_laplace_attention


def by_loops(q, k, v, mask):
    """One output row at a time: the softmax over the allowed keys only; no key gives 0."""
    out = np.zeros((q.shape[0], q.shape[1], v.shape[2]))
    for b, t in np.ndindex(q.shape[:2]):
        keys = np.flatnonzero(mask[t])
        if keys.size:
            scores = k[b, keys] @ q[b, t] / math.sqrt(q.shape[2])
            weights = np.exp(scores - scores.max())
            out[b, t] = weights @ v[b, keys] / weights.sum()
    return out


def draw(B, T, S, D, scale=1.0, dtype=torch.float64):
    return [(torch.randn(B, n, D, dtype=torch.float64) * scale).to(dtype) for n in (T, S, S)]


@settings(max_examples=40, deadline=None)
@given(
    T=st.integers(1, 19),
    S=st.integers(1, 19),
    D=st.integers(1, 5),
    chunk=st.integers(1, 21),
    window=st.integers(0, 22),
    causal=st.booleans(),
    alignment=st.sampled_from(["start", "end"]),
    scale=st.sampled_from([1e-3, 1.0, 100.0]),
)
def test_memory_efficient_equals_the_definition(T, S, D, chunk, window, causal, alignment, scale):
    q, k, v = draw(2, T, S, D, scale)
    i, j = np.arange(T)[:, None] + (S - T if alignment == "end" else 0), np.arange(S)[None, :]
    mask = np.ones((T, S), bool)
    if causal or window:
        mask &= j <= i
    if window:
        mask &= j > i - window
    actual = graphs.memory_efficient_attention(
        q, k, v, chunk_size=chunk, causal=causal, window=window, alignment=alignment
    )
    expected = by_loops(*(x.numpy() for x in (q, k, v)), mask)
    # exp turns an absolute error of a score into a relative one of a weight: scores reach ~scale^2 * D * 10.
    bound = 1e-15 * (10 + 10 * D * scale * scale) * S * scale * 10
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=bound)


@settings(max_examples=40, deadline=None)
@given(T=st.integers(1, 19), S=st.integers(1, 19), chunk=st.integers(1, 21), seed=st.integers(0, 99))
def test_an_arbitrary_mask(T, S, chunk, seed):
    """Random tables, with rows that allow nothing."""
    mask = np.random.default_rng(seed).random((T, S)) < 0.3
    q, k, v = draw(2, T, S, 4)
    expected = by_loops(*(x.numpy() for x in (q, k, v)), mask)
    for actual in (
        graphs.scaled_dot_product_attention(q, k, v, mask=torch.from_numpy(mask)),
        graphs.chunked_attention(q, k, v, mask=torch.from_numpy(mask), chunk_size=chunk),
    ):
        np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_types_take_their_softmax_in_float32(dtype):
    q, k, v = draw(2, 30, 30, 8, 3.0, dtype)
    expected = by_loops(*(x.double().numpy() for x in (q, k, v)), np.tri(30, dtype=bool))
    eps = torch.finfo(dtype).eps
    for actual in (
        graphs.scaled_dot_product_attention(q, k, v, mask=graphs.causal_mask(30)),
        graphs.memory_efficient_attention(q, k, v, causal=True),
    ):
        assert actual.dtype == dtype
        error = np.abs(actual.double().numpy() - expected)
        assert (
            error <= 0.51 * eps * np.abs(expected) + 1e-4 * eps + 1e-5
        ).all()  # one rounding, of the result


def test_a_mask_that_broadcasts():
    q, k, v = draw(3, 7, 5, 4)
    keys = torch.tensor([True, False, True, True, False])
    whole = graphs.scaled_dot_product_attention(q, k, v, mask=keys.expand(7, 5))
    one_row = graphs.chunked_attention(q, k, v, mask=keys[None, :], chunk_size=2)
    torch.testing.assert_close(one_row, whole, rtol=0, atol=1e-14)


def test_a_mask_of_numbers_or_of_the_wrong_size_is_refused():
    q, k, v = draw(1, 4, 4, 2)
    with pytest.raises(ValueError, match=r"give torch\.bool"):
        graphs.scaled_dot_product_attention(q, k, v, mask=torch.ones(4, 4))
    with pytest.raises(ValueError, match=r"must fit \[4, 4\]"):
        graphs.chunked_attention(q, k, v, mask=graphs.causal_mask(5))
    with pytest.raises(ValueError, match="query has 2 features and key 3"):
        graphs.scaled_dot_product_attention(q, torch.zeros(1, 4, 3), v)


def test_l1_kernel_by_loops():
    """More features than one group of differences, and not a multiple of it."""
    q, k, v = draw(2, 9, 9, 71)
    out = np.zeros((2, 9, 71))
    for b, t in np.ndindex(2, 9):
        weights = np.array([1 / (1 + sum(abs(q[b, t, c] - k[b, s, c]) for c in range(71))) for s in range(9)])
        out[b, t] = weights @ v[b].numpy() / (weights.sum() + 1e-8)
    np.testing.assert_allclose(l1_attention(q, k, v).numpy(), out, rtol=0, atol=1e-13)


@pytest.mark.parametrize("scale", [1.0, 3.0], ids="scale{}".format)
def test_laplace_kernel_by_loops(scale):
    q, k, v = draw(2, 9, 9, 5, scale)
    mu, sigma = math.sqrt(0.5), math.sqrt(1 / (4 * math.pi))
    out = np.zeros((2, 9, 5))
    for b, t in np.ndindex(2, 9):
        x = (k[b, : t + 1] @ q[b, t] / math.sqrt(5)).tolist()
        weights = np.array([0.5 * (1 + math.erf((s - mu) / (sigma * math.sqrt(2)))) for s in x])
        out[b, t] = weights @ v[b, : t + 1].numpy() / (weights.sum() + 1e-8)
    actual = laplace_attention(q, k, v, graphs.causal_mask(9))
    # 1 + erf cancels where erf nears -1, and the row's normaliser (at least 1e-8) magnifies what is left.
    np.testing.assert_allclose(actual.numpy(), out, rtol=0, atol=1e-15 / 1e-8 * scale * 10)


@pytest.mark.parametrize("scale", [1.0, 3.0], ids="scale{}".format)
def test_laplace_of_the_paper_by_loops(scale):
    """Scores are divided by the keys that a row may see, and nothing is normalised."""
    q, k, v = draw(2, 9, 9, 5, scale)
    mu, sigma = math.sqrt(0.5), math.sqrt(1 / (4 * math.pi))
    out = np.zeros((2, 9, 5))
    for b, t in np.ndindex(2, 9):
        for s in range(t + 1):
            x = float(q[b, t] @ k[b, s]) / (t + 1)
            out[b, t] += 0.5 * (1 + math.erf((x - mu) / (sigma * math.sqrt(2)))) * v[b, s].numpy()
    actual = paper_laplace_attention(q, k, v, graphs.causal_mask(9))
    np.testing.assert_allclose(actual.numpy(), out, rtol=0, atol=1e-13 * scale)
    sums = paper_laplace_attention(q, k, torch.ones(2, 9, 1, dtype=torch.float64), graphs.causal_mask(9))
    assert (sums - 1).abs().max() > 0.5


@pytest.mark.parametrize("kernel", [laplace_attention, paper_laplace_attention])
def test_laplace_of_hopeless_scores_is_zero(kernel):
    q = torch.full((1, 3, 4), 20.0)
    assert torch.equal(kernel(q, -q, q, graphs.causal_mask(3)), torch.zeros(1, 3, 4))
    assert torch.equal(kernel(q, q, q, graphs.window_mask(3, 0)), torch.zeros(1, 3, 4))
