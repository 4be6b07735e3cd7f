"""The attention layers: every way to compute gives the same numbers; bad options are one clear sentence."""

import itertools

import pytest
import torch

from temport import graphs
from temport.custom_ops.mask import MaskRule
from temport.graphs.attention_layers import MultiHeadSelfAttention

WAYS = [dict(memory_efficient=True), dict(chunked=True), dict(chunked=True, chunk_size=5)]


def same_weights(layer, other):
    other.load_state_dict(layer.state_dict())
    return other.double().eval()


@pytest.mark.parametrize("T", [1, 7, 61], ids="T{}".format)
@pytest.mark.parametrize(
    "causal, qk_layernorm, rope",
    list(itertools.product([True, False], repeat=3)),
    ids=lambda flag: str(flag)[0],
)
def test_self_attention_ways(T, causal, qk_layernorm, rope):
    options = dict(hidden_size=12, num_heads=3, causal=causal, qk_layernorm=qk_layernorm, rope=rope)
    layer = graphs.self_attention(**options).double().eval()
    x = torch.randn(2, T, 12, dtype=torch.float64)
    for way in WAYS:
        other = same_weights(layer, graphs.self_attention(**options, **way))
        torch.testing.assert_close(other(x), layer(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("T", [1, 7, 61], ids="T{}".format)
@pytest.mark.parametrize("window", [1, 7, 100], ids="W{}".format)
def test_window_attention_against_a_naive_mask(T, window):
    """The layer by its definition: i - W < j <= i, heads in contiguous chunks, no output projection."""
    layer = graphs.sliding_window_attention(input_size=5, window_size=window, num_heads=2, head_dim=3)
    layer = layer.double().eval()
    x = torch.randn(2, T, 5, dtype=torch.float64)
    q, k, v = layer.qkv(x).split(6, dim=-1)
    naive = torch.zeros(2, T, 6, dtype=torch.float64)
    for b, t, head in itertools.product(range(2), range(T), range(2)):
        columns = slice(3 * head, 3 * head + 3)
        keys = slice(max(0, t - window + 1), t + 1)
        weights = torch.softmax(k[b, keys, columns] @ q[b, t, columns] / 3**0.5, 0)
        naive[b, t, columns] = weights @ v[b, keys, columns]
    options = dict(input_size=5, window_size=window, num_heads=2, head_dim=3)
    ways = [dict(), *WAYS, dict(mask=graphs.window_mask(T, window))]
    for way in ways:
        other = same_weights(layer, graphs.sliding_window_attention(**options, **way))
        torch.testing.assert_close(other(x), naive, rtol=0, atol=1e-13)


def test_a_window_off_by_one_is_seen():
    options = dict(input_size=5, num_heads=2, head_dim=3)
    layer = graphs.sliding_window_attention(window_size=7, **options).double().eval()
    x = torch.randn(2, 20, 5, dtype=torch.float64)
    other = same_weights(layer, graphs.sliding_window_attention(window_size=8, **options))
    assert (other(x) - layer(x))[:, 7:].abs().amax(dim=-1).min() > 1e-6
    assert torch.equal(other(x)[:, :7], layer(x)[:, :7])


def test_an_own_mask_with_empty_rows_gives_zero_there():
    mask = graphs.causal_mask(6)
    mask[2] = False
    layer = graphs.sliding_window_attention(input_size=5, num_heads=2, head_dim=3, mask=mask).eval()
    y = layer(torch.randn(2, 6, 5))
    assert (y[:, 2] == 0).all() and (y[:, 3] != 0).any()


def test_rope_makes_scores_depend_on_distance_only():
    q, k = torch.randn(1, 1, 8, dtype=torch.float64), torch.randn(1, 1, 8, dtype=torch.float64)
    turned_q, turned_k = graphs.apply_rope(q.expand(1, 30, 8), k.expand(1, 30, 8))
    scores = turned_q[0] @ turned_k[0].T
    torch.testing.assert_close(scores[3:, 3:], scores[:-3, :-3], rtol=0, atol=1e-13)
    assert not torch.allclose(scores[0, 0], scores[1, 0])


def test_rope_of_one_new_query_stands_at_the_last_key():
    q, k = torch.randn(2, 9, 8), torch.randn(2, 9, 8)
    whole, _ = graphs.apply_rope(q, k)
    step, _ = graphs.apply_rope(q[:, -1:], k)
    assert torch.equal(step, whole[:, -1:])


def test_dropout_falls_on_the_output():
    layer = graphs.self_attention(hidden_size=8, num_heads=2, dropout=0.5).train()
    y = layer(torch.randn(2, 30, 8))
    assert 0.3 < (y == 0).float().mean() < 0.7


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: graphs.self_attention(hidden_size=10, num_heads=4),
            "hidden_size 10 does not divide by 4 heads",
        ),
        (lambda: graphs.self_attention(chunked=True, memory_efficient=True), "set only one of them"),
        (
            lambda: graphs.self_attention(hidden_size=9, num_heads=3, rope=True),
            "head_dim must be even, not 3",
        ),
        (lambda: graphs.self_attention(causal=1), "causal is 1; it must be true or false"),
        (lambda: graphs.self_attention(dropout=1.0), "dropout is 1.0; it must be a number from 0"),
        (
            lambda: graphs.self_attention(chunk_size=0),
            "chunk_size is 0; it must be a whole number of at least 1",
        ),
        (lambda: graphs.multi_head_attention(head_dim=2.5), "head_dim is 2.5"),
        (lambda: graphs.sliding_window_attention(window_size=0), "window_size is 0"),
        (lambda: graphs.sliding_window_attention(mask=torch.ones(3, 3)), "give a bool tensor"),
        (
            lambda: graphs.sliding_window_attention(mask=graphs.causal_mask(3), memory_efficient=True),
            "leave out mask or memory_efficient",
        ),
    ],
)
def test_bad_options(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_wrong_input_width():
    with pytest.raises(ValueError, match=r"must be \[batch, seq, 256\]"):
        graphs.self_attention()(torch.zeros(2, 3, 5))


def test_the_rule_of_a_layer_is_the_one_predicate():
    assert graphs.sliding_window_attention(window_size=7).rule == MaskRule(causal=True, window=7)
    assert isinstance(graphs.multi_head_attention(causal=False), MultiHeadSelfAttention)
