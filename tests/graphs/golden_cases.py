"""The golden cases: the module of each with the reference's parameters, its inputs, and what the reference gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from temport import graphs
from temport.graphs.edifice_names import Names, Source
from temport.graphs.edifice_weights import convert
from temport.graphs.feed_forward import FeedForward, GatedFeedForward
from temport.graphs.mega import edifice_block
from temport.graphs.registry import ARCHITECTURES

Array = npt.NDArray[Any]
FOLDER = Path(__file__).parent.parent / "golden"
BOUND = 1e-5
SINE_BOUND = 2e-5  # float32 angles of some 40 radians are off by 2e-6 before the sine is taken
MODELS: dict[str, tuple[str, dict[str, Any], float]] = {
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
"""Case -> architecture, its options, the bound of its outputs."""


def read(name: str) -> dict[str, Array]:
    """All arrays of one golden case."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def parameters(case: Mapping[str, Array]) -> dict[str, Array]:
    return {key.removeprefix("param."): x for key, x in case.items() if key.startswith("param.")}


def close(actual: Array | Tensor, expected: Array, bound: float = BOUND, where: str = "") -> None:
    got = actual.detach().numpy() if isinstance(actual, Tensor) else actual
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound, err_msg=where)


def settings(name: str) -> list[str]:
    """Options of a model as `--set` takes them; the length comes from elsewhere."""
    return [f"{key}={value}" for key, value in MODELS[name][1].items() if key != "seq_len"]


def load_model(name: str, case: Mapping[str, Array], model: nn.Module | None = None) -> Any:
    """The model of a case in eval mode, or `model`, with the parameters of the reference."""
    arch, options, _ = MODELS[name]
    config = ARCHITECTURES[arch].config(**options)
    model = ARCHITECTURES[arch].build(config) if model is None else model
    model.load_state_dict(convert(arch, config, parameters(case)))
    return model.eval()


def linear(own: str, layer: str) -> Names:
    return {
        f"{own}.weight": Source((f"{layer}.kernel",), transposed=True),
        f"{own}.bias": Source((f"{layer}.bias",)),
    }


def fill(module: nn.Module, case: Mapping[str, Array], names: Names) -> nn.Module:
    """Load a layer from reference tensors: own name -> reference layer or key."""
    state = {}
    for own, source in names.items():
        parts = [parameters(case)[key] for key in source.keys]
        state[own] = torch.from_numpy(np.concatenate([p.T if source.transposed else p for p in parts]))
    module.load_state_dict(state)
    return module.eval()


@dataclass(frozen=True)
class Layer:
    """A layer of one case; `inputs` are names of arrays of the case."""

    case: str
    make: Callable[[], nn.Module]
    names: Names
    inputs: tuple[str, ...] = ("input",)

    def load(self) -> tuple[nn.Module, dict[str, Array], Array]:
        """The layer in eval mode, its inputs and the output of the reference."""
        case = read(self.case)
        return fill(self.make(), case, self.names), {key: case[key] for key in self.inputs}, case["output"]


def _self_attention(case: str, **options: Any) -> Layer:
    names = linear("qkv", "self_attn_qkv") | linear("output", "self_attn_output")
    return Layer(case, lambda: graphs.self_attention(hidden_size=32, num_heads=4, **options), names)


def _window(**options: Any) -> Layer:
    make = partial(
        graphs.sliding_window_attention, input_size=24, window_size=12, num_heads=4, head_dim=8, **options
    )
    return Layer("window_attention_chunked", make, linear("qkv", "window_attn_qkv"))


def _dms(case: str, bias: bool) -> Layer:
    keys = parameters(read(case))
    inputs = tuple(key for key in ("query", "key", "value", "mask") if key in read(case))
    make = partial(graphs.MultiHeadAttentionLayer, 32, 4, 0.1, bias)
    return Layer(case, make, {key: Source((key,)) for key in keys}, inputs)


MEMORY_EFFICIENT, ROTARY = "self_attention_memeff_causal", "self_attention_rope_qkln_noncausal"
LAYERS = {
    "mega_block_l1": Layer(
        "mega_block_laplace",
        lambda: graphs.build_mega_block(hidden_size=32, ema_dim=6, attention_kernel="l1"),
        {own.removeprefix("block."): s for own, s in edifice_block("block", "mega_block_1").items()},
    ),
    "memory_efficient": _self_attention(MEMORY_EFFICIENT, memory_efficient=True),
    "op": _self_attention(MEMORY_EFFICIENT),
    "chunked": _self_attention(MEMORY_EFFICIENT, chunked=True, chunk_size=16),
    "rotary": _self_attention(ROTARY, causal=False, qk_layernorm=True, rope=True),
    "rotary-chunked": _self_attention(ROTARY, causal=False, qk_layernorm=True, rope=True, chunked=True),
    "window-chunked": _window(chunked=True, chunk_size=16),
    "window": _window(),
    "window-memory_efficient": _window(memory_efficient=True),
    "window-mask": _window(mask=graphs.window_mask(40, 12)),
    "window-mask-chunked": _window(mask=graphs.window_mask(40, 12), chunked=True),
    "dms-causal": _dms("dms_causal", False),
    "dms-masked": _dms("dms_masked", True),
    "feed_forward": Layer(
        "ffn", lambda: FeedForward(32), linear("up", "ffn_up") | linear("down", "ffn_down")
    ),
    "gated_feed_forward": Layer(
        "swiglu",
        lambda: GatedFeedForward(32),
        linear("gate", "swiglu_gate") | linear("up", "swiglu_up") | linear("down", "swiglu_down"),
    ),
}
"""Every layer of the golden cases, in each way to compute it."""

Function = Callable[[Tensor, Tensor, Tensor], Tensor]
FUNCTIONS: dict[str, Function] = {
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
"""Attention as functions of query, key and value, by the array of `primitives` that each has to give."""
