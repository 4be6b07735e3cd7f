"""Options: documented defaults, and one clear sentence for each value that cannot be."""

import warnings

import pytest

from temport import graphs
from temport.graphs.registry import ARCHITECTURES


def configure(name, **options):
    return ARCHITECTURES[name].config(**{**ARCHITECTURES[name].example, **options})


@pytest.mark.parametrize("option", ["window_size", "embed_dim"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "60", True, None], ids=repr)
def test_what_is_no_count(option, value):
    with pytest.raises(
        ValueError, match=rf"({option}|seq_len) is .*; it must be a whole number of at least 1"
    ):
        configure("sliding_window", **{option: value})


@pytest.mark.parametrize("name", ["hybrid", "hybrid_mlp", "mega", "lightning"])
def test_a_window_that_the_model_does_not_have(name):
    """The reference implementation takes any value and does nothing with it."""
    assert configure(name, window_size=60) == configure(name)
    said = r"window_size is 4, and no value of it changes anything: .*; leave window_size out"
    with pytest.raises(ValueError, match=said):
        configure(name, window_size=4)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("value", [-0.1, 1, 1.5, "0.1", False], ids=repr)
def test_a_dropout_that_is_no_rate(name, value):
    with pytest.raises(ValueError, match=r"dropout is .*; it must be a number from 0"):
        configure(name, dropout=value)


@pytest.mark.parametrize(
    "name, options, message",
    [
        (
            "attention",
            dict(hidden_size=250),
            "hidden_size 250 does not divide by 4 heads; give a multiple of 4",
        ),
        ("attention", dict(hidden_size=0), "hidden_size is 0"),
        ("lightning", dict(hidden_size=250), "hidden_size 250 does not divide by 8 heads"),
        ("lightning", dict(feature_map="relu"), "feature_map is 'relu'; it must be one of identity, elu1"),
        ("lightning", dict(normalizer="sum"), "normalizer is 'sum'; it must be one of key_sum, none"),
        ("dms", dict(n_heads=7), "hid_dim 256 does not divide by 7 heads"),
        ("dms", dict(attn_bias="yes"), "attn_bias is 'yes'; it must be true or false"),
        ("hybrid_mlp", dict(mlp_sizes=()), "give at least one width"),
        ("hybrid_mlp", dict(mlp_sizes=(8, 0)), r"mlp_sizes\[1\] is 0"),
        ("hybrid", dict(lstm_layers=0), "lstm_layers is 0"),
        ("sliding_window", dict(embed_dim=0), "embed_dim is 0"),
        ("sliding_window", dict(seq_len=0), "seq_len is 0"),
        ("mega", dict(attention_kernel="relu"), "it must be one of softmax, laplace, laplace_paper, l1"),
        ("mega", dict(attention_kernel="l1", laplace_attention=True), "asks for laplace and .* for l1"),
        ("mega", dict(attention_kernel="softmax", laplace_attention=True), "give one of them"),
        ("dms", dict(masked=False, mask_shape="B1LM"), "mask_shape is 'B1LM' and masked false"),
        ("dms", dict(mask_shape="BHLM"), "it must be one of B11M, 111M, B1LM, 11LM"),
        ("mega", dict(laplace_attention="no"), "laplace_attention is 'no'; it must be true or false"),
    ],
)
def test_a_bad_option(name, options, message):
    with pytest.raises(ValueError, match=message):
        configure(name, **options)


def test_a_block_is_no_longer_than_the_sequence():
    config = configure("lightning")
    assert (config.feature_map, config.normalizer, config.used_block_size) == ("identity", "key_sum", 60)


def test_mega_kernels_and_inner_size():
    block = graphs.build_mega_block()
    assert block.attention.kernel == "softmax" and block.ffn.gate.out_features == 688
    assert graphs.build_mega_block(laplace_attention=True).attention.kernel == "laplace"
    for kernel in ("laplace", "laplace_paper"):
        both = graphs.build_mega_block(laplace_attention=True, attention_kernel=kernel)
        assert both.attention.kernel == kernel


def test_an_idle_linear_branch_is_told():
    small = dict(embed_dim=4, hidden_size=8, num_heads=2, num_layers=1)
    with pytest.warns(
        UserWarning, match="block_size 64, clipped to 60, covers the whole sequence of 60 frames"
    ):
        model = graphs.build_lightning(**small)
    assert model.blocks[0].attention.block_size == 60
    with pytest.warns(UserWarning, match="block_size 64 covers the whole sequence of 64 frames"):
        graphs.build_lightning(**small, seq_len=64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graphs.build_lightning(**small, seq_len=65)
        graphs.build_lightning_attention(hidden_size=8, num_heads=2)


def test_hybrid_mlp_takes_a_list_of_sizes():
    assert configure("hybrid_mlp", mlp_sizes=[5, 6]).mlp_sizes == (5, 6)
