"""Every golden vector of the reference implementations, within the error of its float32 arithmetic."""

import numpy as np
import pytest
import torch

from temport import graphs
from temport.graphs.edifice_names import Source
from temport.graphs.edifice_weights import convert
from temport.graphs.feed_forward import FeedForward, GatedFeedForward
from temport.graphs.mega import edifice_block
from temport.graphs.registry import ARCHITECTURES

BOUND = 1e-5
SINE_BOUND = 2e-5  # float32 angles of some 40 radians are off by 2e-6 before the sine is taken


def parameters(case):
    return {key.removeprefix("param."): x for key, x in case.items() if key.startswith("param.")}


def fill(module, case, names):
    """Load a layer from reference tensors: own name -> reference layer or key."""
    state = {}
    for own, source in names.items():
        parts = [parameters(case)[key] for key in source.keys]
        state[own] = torch.from_numpy(np.concatenate([p.T if source.transposed else p for p in parts]))
    module.load_state_dict(state)
    return module.eval()


def linear(own, layer):
    return {
        f"{own}.weight": Source((f"{layer}.kernel",), transposed=True),
        f"{own}.bias": Source((f"{layer}.bias",)),
    }


def close(actual, expected, bound=BOUND):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=bound)


MODELS = {
    "sliding_window": (
        "sliding_window",
        dict(embed_dim=24, num_heads=4, head_dim=8, num_layers=2, ffn_dim=48),
        SINE_BOUND,
    ),
    "hybrid_zero_state": (
        "hybrid",
        dict(embed_dim=24, num_heads=4, head_dim=8, lstm_hidden=20, lstm_layers=2),
        BOUND,
    ),
    "mega": ("mega", dict(embed_dim=24, num_layers=2, hidden_size=32, ema_dim=6), BOUND),
    "lightning_posqk": (
        "lightning",
        dict(embed_dim=24, num_heads=4, num_layers=2, seq_len=64, hidden_size=32, block_size=16),
        BOUND,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_model(golden, name):
    arch, options, bound = MODELS[name]
    case = golden(name)
    config = ARCHITECTURES[arch].config(**options)
    model = ARCHITECTURES[arch].build(config).eval()
    model.load_state_dict(convert(arch, config, parameters(case)))
    x = torch.from_numpy(case["input"])
    close(model.forward_sequence(x), case["output_seq"], bound)
    close(model(x), case["output"], bound)
    graphs.bake(model, x.shape[1])
    close(model(x), case["output"], bound)


def test_a_wrong_weight_is_seen(golden):
    arch, options, bound = MODELS["mega"]
    case = golden("mega")
    case["param.mega_block_2_gattn_k.kernel"][3, 5] *= -1
    config = ARCHITECTURES[arch].config(**options)
    model = ARCHITECTURES[arch].build(config).eval()
    model.load_state_dict(convert(arch, config, parameters(case)))
    with pytest.raises(AssertionError):
        close(model.forward_sequence(torch.from_numpy(case["input"])), case["output_seq"], bound)


def test_mega_block_l1(golden):
    case = golden("mega_block_laplace")
    block = graphs.build_mega_block(hidden_size=32, ema_dim=6, attention_kernel="l1")
    names = {own.removeprefix("block."): s for own, s in edifice_block("block", "mega_block_1").items()}
    close(fill(block, case, names)(torch.from_numpy(case["input"])), case["output"])


@pytest.mark.parametrize(
    "name, options",
    [
        ("self_attention_memeff_causal", dict(causal=True, memory_efficient=True)),
        ("self_attention_memeff_causal", dict(causal=True)),
        ("self_attention_memeff_causal", dict(causal=True, chunked=True, chunk_size=16)),
        ("self_attention_rope_qkln_noncausal", dict(causal=False, qk_layernorm=True, rope=True)),
        (
            "self_attention_rope_qkln_noncausal",
            dict(causal=False, qk_layernorm=True, rope=True, chunked=True),
        ),
    ],
)
def test_self_attention(golden, name, options):
    case = golden(name)
    layer = graphs.self_attention(hidden_size=32, num_heads=4, **options)
    fill(layer, case, linear("qkv", "self_attn_qkv") | linear("output", "self_attn_output"))
    close(layer(torch.from_numpy(case["input"])), case["output"])


@pytest.mark.parametrize(
    "options",
    [
        dict(chunked=True, chunk_size=16),
        dict(),
        dict(memory_efficient=True),
        dict(mask=graphs.window_mask(40, 12)),
        dict(mask=graphs.window_mask(40, 12), chunked=True),
    ],
    ids=["chunked", "op", "memory_efficient", "mask", "mask-chunked"],
)
def test_window_attention(golden, options):
    case = golden("window_attention_chunked")
    layer = graphs.sliding_window_attention(input_size=24, window_size=12, num_heads=4, head_dim=8, **options)
    fill(layer, case, linear("qkv", "window_attn_qkv"))
    close(layer(torch.from_numpy(case["input"])), case["output"])


@pytest.mark.parametrize("name, bias", [("dms_causal", False), ("dms_masked", True)])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_dms(golden, name, bias, training):
    """In training the plain path runs; with dropout 1e-9 it must give the same numbers."""
    case = golden(name)
    layer = graphs.MultiHeadAttentionLayer(32, 4, 1e-9 if training else 0.1, bias).train(training)
    layer.load_state_dict({key: torch.from_numpy(x) for key, x in parameters(case).items()})
    inputs = [torch.from_numpy(case[key]) for key in ("query", "key", "value", "mask") if key in case]
    close(layer(*inputs), case["output"])


def test_feed_forward(golden):
    case = golden("ffn")
    layer = fill(FeedForward(32), case, linear("up", "ffn_up") | linear("down", "ffn_down"))
    close(layer(torch.from_numpy(case["input"])), case["output"])


def test_gated_feed_forward(golden):
    case = golden("swiglu")
    names = linear("gate", "swiglu_gate") | linear("up", "swiglu_up") | linear("down", "swiglu_down")
    close(fill(GatedFeedForward(32), case, names)(torch.from_numpy(case["input"])), case["output"])


@pytest.mark.parametrize("eps, key", [(1e-5, "output_default"), (1e-6, "output_eps1e6")])
def test_layer_norm(golden, eps, key):
    """Only rows 0-3, whose variance exceeds eps: below it Axon 0.8.0 divides by sqrt(eps) instead of
    sqrt(var + eps), a defect of that version."""
    case = golden("layer_norm")
    rows = 4
    norm = torch.nn.LayerNorm(32, eps=eps)
    norm.load_state_dict(
        {"weight": torch.from_numpy(case["param.n.gamma"]), "bias": torch.from_numpy(case["param.n.beta"])}
    )
    assert (case["input"][:rows].var(axis=1) > eps).all()
    close(norm(torch.from_numpy(case["input"]))[:rows], case[key][:rows])


def test_qk_layer_norm(golden):
    for name, source in (("layer_norm", "input"), ("primitives", "query")):
        case = golden(name)
        close(graphs.qk_layer_norm(torch.from_numpy(case[source])), case["qk_layer_norm"])


PRIMITIVES = {
    "sdpa": lambda q, k, v: graphs.scaled_dot_product_attention(q, k, v),
    "sdpa_causal": lambda q, k, v: graphs.scaled_dot_product_attention(q, k, v, mask=graphs.causal_mask(40)),
    "sdpa_window12": lambda q, k, v: graphs.scaled_dot_product_attention(
        q, k, v, mask=graphs.window_mask(40, 12)
    ),
    "chunked": lambda q, k, v: graphs.chunked_attention(q, k, v, chunk_size=16),
    "chunked_causal": lambda q, k, v: graphs.chunked_attention(
        q, k, v, mask=graphs.causal_mask(40), chunk_size=16
    ),
    "chunked_default_causal": lambda q, k, v: graphs.chunked_attention(q, k, v, mask=graphs.causal_mask(40)),
    "memeff": lambda q, k, v: graphs.memory_efficient_attention(q, k, v, chunk_size=16),
    "memeff_causal": lambda q, k, v: graphs.memory_efficient_attention(q, k, v, chunk_size=16, causal=True),
    "memeff_causal_odd": lambda q, k, v: graphs.memory_efficient_attention(
        q, k, v, chunk_size=12, causal=True
    ),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_attention_function(golden, name):
    case = golden("primitives")
    q, k, v = (torch.from_numpy(case[key]) for key in ("query", "key", "value"))
    close(PRIMITIVES[name](q, k, v), case[name])


def test_masks(golden):
    case = golden("primitives")
    assert np.array_equal(graphs.causal_mask(7).numpy(), case["causal_mask_7"] != 0)
    for window in (1, 3, 100):
        assert np.array_equal(graphs.window_mask(7, window).numpy(), case[f"window_mask_7_{window}"] != 0)


def test_positional_encoding(golden):
    case = golden("primitives")
    x = torch.from_numpy(case["x"])
    close(graphs.add_positional_encoding(x), case["posenc"], SINE_BOUND)
    close(graphs.add_positional_encoding(x, scale=0.1), case["posenc_scale_0p1"], SINE_BOUND)


def test_rope(golden):
    case = golden("primitives")
    table = graphs.rope_tables(40, 16)
    close(table[:, 0], case["rope_cos_16_40"], SINE_BOUND)
    close(table[:, 1], case["rope_sin_16_40"], SINE_BOUND)
    q, k = graphs.apply_rope(torch.from_numpy(case["query"]), torch.from_numpy(case["key"]))
    close(q, case["rope_q"], SINE_BOUND)
    close(k, case["rope_k"], SINE_BOUND)
