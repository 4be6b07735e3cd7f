"""The DirectMultiStep layer: top-left causal rule, key mask, lengths that differ, rows that may see nothing."""

import itertools

import pytest
import torch

from temport import graphs

MASK = torch.ones(2, 1, 1, 4, dtype=torch.bool)


def naive(layer, query, key, value, mask):
    """One query row and head at a time."""
    q, k, v = layer.query(query), layer.key(key), layer.value(value)
    width = q.shape[-1] // layer.n_heads
    out = torch.zeros_like(q)
    for b, t, head in itertools.product(range(q.shape[0]), range(q.shape[1]), range(layer.n_heads)):
        columns = slice(head * width, (head + 1) * width)
        allowed = torch.arange(k.shape[1]) <= t if mask is None else mask[b, 0, 0]
        if allowed.any():
            weights = torch.softmax(k[b, allowed, columns] @ q[b, t, columns] / width**0.5, 0)
            out[b, t, columns] = weights @ v[b, allowed, columns]
    return layer.projection(out)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("masked", [False, True], ids=["causal", "masked"])
@pytest.mark.parametrize("L, M", [(1, 1), (5, 5), (4, 9), (9, 4)])
def test_against_one_row_at_a_time(L, M, masked, training):
    """In training with a vanishing dropout the plain path must agree with the op."""
    layer = graphs.MultiHeadAttentionLayer(6, 2, 1e-15 if training else 0.1, True).double().train(training)
    query, key, value = (torch.randn(3, n, 6, dtype=torch.float64) for n in (L, M, M))
    mask = torch.rand(3, 1, 1, M) < 0.5 if masked else None
    if mask is not None:
        mask[1] = False
    y = layer(query, key, value, mask)
    torch.testing.assert_close(y, naive(layer, query, key, value, mask), rtol=0, atol=1e-13)
    if mask is not None:
        torch.testing.assert_close(y[1], layer.projection.bias.expand(L, 6), rtol=0, atol=0)


def test_bottom_right_alignment_would_be_seen():
    layer = graphs.MultiHeadAttentionLayer(6, 2, 0.0, True).double().eval()
    query, memory = torch.randn(1, 3, 6, dtype=torch.float64), torch.randn(1, 8, 6, dtype=torch.float64)
    changed = memory.clone()
    changed[:, 3:] += 1
    assert torch.equal(layer(query, memory, memory), layer(query, changed, changed))


@pytest.mark.parametrize(
    "shapes, mask, message",
    [
        ((8, 8, 7), None, r"value has shape \[2, 4, 7\]; it must be \[B, M, 8\]"),
        ((8, 8, 8), MASK.float(), r"give torch\.bool"),
        ((8, 8, 8), MASK[..., :3], r"mask has shape \[2, 1, 1, 3\]; it must be \[2, 1, 1, 4\]"),
        ((8, 8, 8), MASK[:, 0, 0], r"it must be \[2, 1, 1, 4\]"),
        ((8, 8, 8), MASK.expand(2, 2, 4, 4), r"its first axis may be 1, and its third may be 4"),
        ((8, 8, 8), MASK.expand(2, 1, 3, 4), r"mask has shape \[2, 1, 3, 4\]"),
    ],
)
def test_wrong_inputs(shapes, mask, message):
    layer = graphs.MultiHeadAttentionLayer(8, 2, 0.1, False)
    with pytest.raises(ValueError, match=message):
        layer(*(torch.zeros(2, 4, width) for width in shapes), mask)


def test_key_and_value_of_different_lengths():
    layer = graphs.MultiHeadAttentionLayer(8, 2, 0.1, False)
    with pytest.raises(ValueError, match="key has 4 rows and value 5"):
        layer(torch.zeros(1, 3, 8), torch.zeros(1, 4, 8), torch.zeros(1, 5, 8))
