"""Every golden vector of the reference implementations, within the error of its float32 arithmetic."""

import numpy as np
import pytest
import torch

from temport import graphs
from tests.graphs.golden_cases import (
    FUNCTIONS,
    LAYERS,
    MODELS,
    SINE_BOUND,
    close,
    load_model,
    parameters,
    read,
)


@pytest.mark.parametrize("name", MODELS)
def test_model(name):
    case, bound = read(name), MODELS[name][2]
    model, x = load_model(name, case), torch.from_numpy(case["input"])
    close(model.forward_sequence(x), case["output_seq"], bound)
    close(model(x), case["output"], bound)
    graphs.bake(model, x.shape[1])
    close(model(x), case["output"], bound)


def test_a_wrong_weight_is_seen():
    case = read("mega")
    case["param.mega_block_2_gattn_k.kernel"][3, 5] *= -1
    model = load_model("mega", case)
    with pytest.raises(AssertionError):
        close(model.forward_sequence(torch.from_numpy(case["input"])), case["output_seq"])


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    layer, inputs, output = LAYERS[name].load()
    close(layer(*map(torch.from_numpy, inputs.values())), output)


@pytest.mark.parametrize("name, bias", [("dms_causal", False), ("dms_masked", True)])
def test_dms_in_training(name, bias):
    """There the plain path runs; with dropout 1e-9 it must give the same numbers."""
    case = read(name)
    layer = graphs.MultiHeadAttentionLayer(32, 4, 1e-9, bias).train()
    layer.load_state_dict({key: torch.from_numpy(x) for key, x in parameters(case).items()})
    inputs = [torch.from_numpy(case[key]) for key in ("query", "key", "value", "mask") if key in case]
    close(layer(*inputs), case["output"])


@pytest.mark.parametrize("eps, key", [(1e-5, "output_default"), (1e-6, "output_eps1e6")])
def test_layer_norm(eps, key):
    """Only rows 0-3, whose variance exceeds eps: below it Axon 0.8.0 divides by sqrt(eps) instead of
    sqrt(var + eps), a defect of that version."""
    case = read("layer_norm")
    rows = 4
    norm = torch.nn.LayerNorm(32, eps=eps)
    norm.load_state_dict(
        {"weight": torch.from_numpy(case["param.n.gamma"]), "bias": torch.from_numpy(case["param.n.beta"])}
    )
    assert (case["input"][:rows].var(axis=1) > eps).all()
    close(norm(torch.from_numpy(case["input"]))[:rows], case[key][:rows])


def test_qk_layer_norm():
    for name, source in (("layer_norm", "input"), ("primitives", "query")):
        case = read(name)
        close(graphs.qk_layer_norm(torch.from_numpy(case[source])), case["qk_layer_norm"])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_attention_function(name):
    case = read("primitives")
    q, k, v = (torch.from_numpy(case[key]) for key in ("query", "key", "value"))
    close(FUNCTIONS[name](q, k, v), case[name])


def test_masks():
    case = read("primitives")
    assert np.array_equal(graphs.causal_mask(7).numpy(), case["causal_mask_7"] != 0)
    for window in (1, 3, 100):
        assert np.array_equal(graphs.window_mask(7, window).numpy(), case[f"window_mask_7_{window}"] != 0)


def test_positional_encoding():
    case = read("primitives")
    x = torch.from_numpy(case["x"])
    close(graphs.add_positional_encoding(x), case["posenc"], SINE_BOUND)
    close(graphs.add_positional_encoding(x, scale=0.1), case["posenc_scale_0p1"], SINE_BOUND)


def test_rope():
    case = read("primitives")
    table = graphs.rope_tables(40, 16)
    close(table[:, 0], case["rope_cos_16_40"], SINE_BOUND)
    close(table[:, 1], case["rope_sin_16_40"], SINE_BOUND)
    q, k = graphs.apply_rope(torch.from_numpy(case["query"]), torch.from_numpy(case["key"]))
    close(q, case["rope_q"], SINE_BOUND)
    close(k, case["rope_k"], SINE_BOUND)
