"""What the reference implementations document, clause by clause: names, arguments, defaults, and what they give."""

import dataclasses
import inspect
from itertools import pairwise

import numpy as np
import pytest
import torch

from temport import graphs
from temport.custom_ops.block_linear_attention import block_linear_attention
from temport.custom_ops.online_softmax_attention import online_softmax_attention
from temport.graphs import hybrid, lightning, mega, sliding_window
from temport.graphs.dms import MASK_AXES
from temport.graphs.registry import ARCHITECTURES

GIVEN = object()
"""The default of an argument that has to be given."""
WAYS = dict(qk_layernorm=False, chunked=False, memory_efficient=False, chunk_size=32)
FUNCTIONS = {
    graphs.self_attention: dict(hidden_size=256, num_heads=1, dropout=0.1, causal=True, rope=False, **WAYS),
    graphs.multi_head_attention: dict(num_heads=4, head_dim=64, dropout=0.1, causal=True, **WAYS),
    graphs.sliding_window_attention: dict(
        window_size=60, hidden_size=None, num_heads=4, head_dim=64, mask=None, **WAYS
    ),
    graphs.build_lightning_attention: dict(hidden_size=256, num_heads=8, block_size=64),
    graphs.build_mega_block: dict(hidden_size=256, ema_dim=16, dropout=0.1, laplace_attention=False),
    graphs.scaled_dot_product_attention: dict(query=GIVEN, key=GIVEN, value=GIVEN, mask=None),
    graphs.chunked_attention: dict(query=GIVEN, key=GIVEN, value=GIVEN, mask=None, chunk_size=32),
    graphs.memory_efficient_attention: dict(query=GIVEN, key=GIVEN, value=GIVEN, chunk_size=32, causal=False),
    graphs.qk_layer_norm: dict(x=GIVEN),
    graphs.add_positional_encoding: dict(x=GIVEN, scale=0.01),
    graphs.causal_mask: dict(seq_len=GIVEN),
    graphs.window_mask: dict(seq_len=GIVEN, window_size=GIVEN),
    graphs.rope_tables: dict(base=10000.0),
    graphs.MultiHeadAttentionLayer: dict(hid_dim=GIVEN, n_heads=GIVEN, dropout=GIVEN, attn_bias=GIVEN),
    graphs.MultiHeadAttentionLayer.forward: dict(
        query_BLD=GIVEN, key_BMD=GIVEN, value_BMD=GIVEN, mask_B11M=None
    ),
    online_softmax_attention: dict(
        num_heads=GIVEN, kv_num_heads=None, causal=False, window=0, query_offset=-1, scale=None, key_mask=None
    ),
    block_linear_attention: dict(
        num_heads=GIVEN, block_size=GIVEN, scale=None, feature_map="identity", normalizer="key_sum", eps=1e-8
    ),
}
MULTI_HEAD = dict(
    embed_dim=GIVEN,
    window_size=60,
    seq_len=None,
    num_heads=4,
    head_dim=64,
    num_layers=2,
    ffn_dim=256,
    dropout=0.1,
)
HYBRID = dict(
    embed_dim=GIVEN, lstm_hidden=256, lstm_layers=1, num_heads=4, head_dim=64, dropout=0.1, window_size=60
)
OPTIONS = {
    "sliding_window": MULTI_HEAD,
    "attention": MULTI_HEAD | dict(hidden_size=None),
    "hybrid": HYBRID,
    "hybrid_mlp": HYBRID | dict(mlp_sizes=(256, 256)),
    "mega": dict(
        embed_dim=GIVEN, hidden_size=256, ema_dim=16, num_layers=4, dropout=0.1, window_size=60,
        laplace_attention=False,
    ),
    "lightning": dict(
        embed_dim=GIVEN, hidden_size=256, num_heads=8, num_layers=4, block_size=64, dropout=0.1, window_size=60
    ),
    "dms": dict(hid_dim=GIVEN, n_heads=GIVEN),
}  # fmt: skip
BUILDERS = {
    "sliding_window": graphs.build_sliding_window,
    "attention": graphs.build_attention,
    "hybrid": graphs.build_hybrid,
    "hybrid_mlp": graphs.build_hybrid_mlp,
    "mega": graphs.build_mega,
    "lightning": graphs.build_lightning,
}
SIZES = {
    "sliding_window": (sliding_window.output_size, [{}, {"num_heads": 3, "head_dim": 5}]),
    "attention": (sliding_window.output_size, [{"num_heads": 3, "hidden_size": 12, "head_dim": 7}]),
    "hybrid": (hybrid.output_size, [{}, {"num_heads": 3, "head_dim": 5, "lstm_hidden": 7}]),
    "hybrid_mlp": (hybrid.output_size, [{"mlp_sizes": (7, 9)}]),
    "mega": (mega.output_size, [{}, {"hidden_size": 12, "num_layers": 1}]),
    "lightning": (lightning.output_size, [{}, {"hidden_size": 12, "num_heads": 2, "num_layers": 1}]),
}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__qualname__)
def test_arguments_and_defaults(function):
    parameters = inspect.signature(function).parameters
    found = {name: parameters[name].default for name in FUNCTIONS[function]}
    assert found == {
        name: inspect.Parameter.empty if default is GIVEN else default
        for name, default in FUNCTIONS[function].items()
    }


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_options_and_defaults(name):
    fields = {field.name: field.default for field in dataclasses.fields(ARCHITECTURES[name].config)}
    assert {option: fields[option] for option in OPTIONS[name]} == {
        option: dataclasses.MISSING if default is GIVEN else default
        for option, default in OPTIONS[name].items()
    }


@pytest.mark.filterwarnings("ignore:block_size")
@pytest.mark.parametrize("name", BUILDERS)
def test_builders_and_output_sizes(name):
    output_size, sets = SIZES[name]
    for options in sets:
        model = BUILDERS[name](embed_dim=6, **options).eval()
        assert type(model) is type(
            ARCHITECTURES[name].build(ARCHITECTURES[name].config(embed_dim=6, **options))
        )
        with torch.no_grad():
            width = model(torch.zeros(1, 3, 6)).shape[-1]
        assert output_size(**options) == output_size(embed_dim=6, dropout=0.2, **options) == width
    with pytest.raises(TypeError, match="hiden_size"):
        output_size(hiden_size=3)
    with pytest.raises(ValueError, match="dropout is 7"):
        output_size(dropout=7)


def test_an_output_size_is_that_of_the_standard_entry():
    assert graphs.output_size is sliding_window.output_size
    assert graphs.output_size(num_heads=8) == 512 and graphs.output_size(num_heads=8, hidden_size=96) == 96
    with pytest.raises(ValueError, match="hidden_size 250 does not divide by 4 heads"):
        graphs.output_size(hidden_size=250)


def test_recommended_defaults():
    """Each is what the reference recommends, and options of the model."""
    multi_head = {"window_size": 60, "num_heads": 4, "head_dim": 64, "num_layers": 2, "dropout": 0.1}
    assert graphs.recommended_defaults() == sliding_window.recommended_defaults() == multi_head
    assert mega.recommended_defaults() == {
        "hidden_size": 256, "ema_dim": 16, "num_layers": 4, "window_size": 60, "dropout": 0.1,
        "laplace_attention": False,
    }  # fmt: skip
    for build, defaults in (
        (graphs.build_attention, multi_head),
        (graphs.build_mega, mega.recommended_defaults()),
    ):
        model = build(embed_dim=4, **defaults)
        assert len(getattr(model, "layers", None) or model.blocks) == defaults["num_layers"]


def test_lengths_and_windows_of_nothing():
    assert graphs.causal_mask(0).shape == graphs.window_mask(0, 3).shape == (0, 0)
    assert graphs.window_mask(5, 0).shape == (5, 5) and not graphs.window_mask(5, 0).any()
    layer = graphs.sliding_window_attention(input_size=4, hidden_size=4, mask=graphs.window_mask(5, 0))
    assert torch.equal(layer(torch.randn(2, 5, 4)), torch.zeros(2, 5, 4))
    for wrong in (lambda: graphs.causal_mask(-1), lambda: graphs.window_mask(3, -1)):
        with pytest.raises(ValueError, match="is -1; it must be a whole number of at least 0"):
            wrong()


def test_hidden_size_of_a_sliding_window_layer():
    layer = graphs.sliding_window_attention(input_size=6, hidden_size=12, num_heads=3, head_dim=64)
    assert layer(torch.zeros(1, 2, 6)).shape == (1, 2, 12) and layer.num_heads == 3
    with pytest.raises(ValueError, match="hidden_size 10 does not divide by 4 heads"):
        graphs.sliding_window_attention(hidden_size=10)


def test_memory_efficient_attention_is_aligned_to_the_start():
    """With fewer queries than keys the first query sees the first key alone; the op's own default is the other one."""
    q, k, v = (torch.randn(2, n, 4) for n in (3, 7, 7))
    by_default = graphs.memory_efficient_attention(q, k, v, causal=True)
    assert torch.equal(by_default[:, 0], v[:, 0])
    at_the_end = graphs.memory_efficient_attention(q, k, v, causal=True, alignment="end")
    expected = online_softmax_attention(q, k, v, num_heads=1, causal=True)
    torch.testing.assert_close(at_the_end, expected, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="alignment is 'middle'; it must be one of start, end"):
        graphs.memory_efficient_attention(q, k, v, alignment="middle")


@pytest.mark.parametrize("layers", [1, 3])
def test_dropout_between_the_blocks_of_lightning(layers):
    """Behind every block but the last; those inside a block are switched off here."""
    model = graphs.build_lightning(
        embed_dim=4, hidden_size=4, num_heads=1, num_layers=layers, block_size=2, dropout=0.5
    )
    for block in model.blocks:
        block.dropout.p = block.ffn.dropout.p = 0.0
    x, seen = torch.randn(64, 6, 4), []
    for block in model.blocks:
        block.register_forward_hook(lambda block, args, output: seen.append((args[0], output)))
    with torch.no_grad():
        model.train()(x)
    for (_, before), (after, _) in pairwise(seen):
        kept = after != 0
        torch.testing.assert_close(after[kept], 2 * before[kept], rtol=0, atol=1e-6)
        assert 0.4 < kept.float().mean() < 0.6
    assert torch.equal(seen[0][0], x)
    assert len(seen) == layers


@pytest.mark.parametrize("shape", MASK_AXES)
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_masks_of_dms(shape, training):
    """Each shape is the one for every sequence and query, broadcast; in training dropout vanishes."""
    layer = graphs.MultiHeadAttentionLayer(6, 2, 1e-15, True).double().train(training)
    query, key, value = (torch.randn(3, n, 6, dtype=torch.float64) for n in (4, 5, 5))
    sizes = {"batch": 3, "seq": 4, "memory": 5}
    mask = torch.rand([sizes.get(axis, axis) for axis in MASK_AXES[shape]]) < 0.5
    mask[..., 0] |= ~mask.any(-1)
    mask[0, 0, 0] = False  # a row that sees nothing
    actual = layer(query, key, value, mask)
    whole = mask.expand(3, 1, 4, 5)
    for b, t in np.ndindex(3, 4):
        row = layer(
            query[b : b + 1, t : t + 1], key[b : b + 1], value[b : b + 1], whole[b : b + 1, :, t : t + 1]
        )
        torch.testing.assert_close(actual[b, t], row[0, 0], rtol=0, atol=1e-13)
    assert torch.equal(actual[0, 0], layer.projection.bias)
