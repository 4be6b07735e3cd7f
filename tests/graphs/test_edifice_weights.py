"""Weight import: each tensor of the reference's file is accounted for, by name and shape."""

import dataclasses

import numpy as np
import pytest
import torch

from temport.graphs.edifice_weights import convert
from temport.graphs.registry import ARCHITECTURES
from tests.small_models import SMALL


def reference_file(name, config):
    """Random tensors under the reference's names, derived here from an own model and the documented layout."""
    state = ARCHITECTURES[name].build(config).state_dict()
    tensors = {}
    for own, source in ARCHITECTURES[name].edifice(config).items():
        for key, part in zip(source.keys, state[own].chunk(len(source.keys)), strict=True):
            tensors[key] = (part.T if source.transposed else part).contiguous().numpy()
    return state, tensors


@pytest.mark.parametrize("name", [name for name, small in SMALL.items() if small.arch.edifice])
def test_round_trip(name):
    arch, config = SMALL[name].arch.name, SMALL[name].config()
    state, tensors = reference_file(arch, config)
    converted = convert(arch, config, tensors)
    assert sorted(converted) == sorted(state)
    assert all(torch.equal(converted[key], state[key]) for key in state)
    SMALL[name].build().load_state_dict(converted)


def test_an_architecture_without_a_reference_says_so(monkeypatch):
    alone = dataclasses.replace(ARCHITECTURES["mega"], edifice=None)
    monkeypatch.setitem(ARCHITECTURES, "mega", alone)
    with pytest.raises(ValueError, match="the reference implementation has no mega"):
        convert("mega", SMALL["mega-softmax"].config(), {})


def test_the_random_initial_state_of_the_reference_is_ignored(small):
    config = ARCHITECTURES["hybrid"].config(**small["hybrid"])
    _, tensors = reference_file("hybrid", config)
    tensors["lstm_1_c_hidden_state.key"] = np.zeros(2, np.uint32)
    convert("hybrid", config, tensors)


def test_every_wrong_tensor_is_named(small):
    config = ARCHITECTURES["mega"].config(**small["mega"])
    _, tensors = reference_file("mega", config)
    del tensors["mega_block_2_gattn_v.bias"]
    del tensors["mega_block_1_ema.mega_block_1_ema_alpha"]
    tensors["mega_block_3_gattn_v.bias"] = np.zeros(8, np.float32)
    tensors["final_norm.gamma"] = np.zeros(9, np.float32)
    tensors["input_projection.kernel"] = tensors["input_projection.kernel"].T
    with pytest.raises(ValueError) as error:
        convert("mega", config, tensors)
    assert str(error.value).split("; ") == [
        "mega_block_1_ema.mega_block_1_ema_alpha is missing",
        "mega_block_2_gattn_v.bias is missing",
        "mega_block_3_gattn_v.bias is not a tensor of this model",
        "final_norm.gamma has shape [9], expected [8]",
        "input_projection.kernel has shape [8, 6], expected [6, 8]",
    ]


def test_lstm_gates_are_stacked_i_f_g_o(small):
    config = ARCHITECTURES["hybrid"].config(**small["hybrid"])
    _, tensors = reference_file("hybrid", config)
    for value, gate in enumerate("ifgo"):
        tensors[f"lstm_2.bias.b{gate}"] = np.full(5, value, np.float32)
    bias = convert("hybrid", config, tensors)["backbone.lstms.1.bias"]
    assert bias.tolist() == [0.0] * 5 + [1.0] * 5 + [2.0] * 5 + [3.0] * 5
