"""A small model of every registered architecture, in which no branch is idle, and copies of it with other weights.

Tracing is nearly all the time of a build. A copy has another seed's parameters where the graph holds them as they are
or transposed, and keeps those that the graph holds in another form (the gates of an LSTM, the taps of an average).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration
from temport.exporter.streaming.declare import declare_stream
from temport.exporter.trace.trace import Traced
from tests.traces import traced

SEQ = 20
NARROW = ("embed_dim=10", "hidden_size=16", "num_layers=1")
HYBRID = ("embed_dim=10", "lstm_hidden=12", "num_heads=2", "head_dim=8")
MODELS: dict[str, tuple[str, ...]] = {
    "sliding_window": ("embed_dim=10", "num_heads=2", "head_dim=8", "ffn_dim=12", "window_size=7"),
    "attention": ("embed_dim=10", "hidden_size=16", "num_heads=4", "window_size=5"),
    "hybrid": HYBRID,
    "hybrid_mlp": (*HYBRID, "mlp_sizes=6,3"),
    "mega": NARROW,
    "lightning": (*NARROW, "num_heads=2", "block_size=6", "feature_map=elu1"),
    "dms": ("hid_dim=16", "n_heads=2"),
}
STEP_MODELS = tuple(name for name in MODELS if name != "dms")


@dataclass(frozen=True)
class Small:
    """A declared module and its trace."""

    declaration: Declaration
    module: nn.Module
    traced: Traced


@cache
def small(arch: str, streaming: bool = False, precision: str = "float32") -> Small:
    """The model of one architecture at seed 0; every precision shares one trace."""
    if precision != "float32":
        base = small(arch, streaming)
        return replace(base, declaration=replace(base.declaration, precision=precision))
    declaration, module, _ = declare(arch, MODELS[arch], seq=str(SEQ))
    if streaming:
        declaration = declare_stream(declaration, module)
    return Small(declaration, module, traced(module, declaration))


def reseeded(base: Small, seed: int) -> Small:
    """`base` with the initial weights of another seed."""
    arch = base.declaration.arch
    _, fresh, _ = declare(arch, MODELS[arch], seq=str(SEQ), seed=seed)
    module = copy.deepcopy(base.module)
    graph = base.traced.model.clone()
    new = dict(fresh.named_parameters())
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            places = list(_places(graph, parameter.numpy()))
            for value, transposed in places:
                array = new[name].numpy()
                value.const_value = ir.tensor(np.array(array.T if transposed else array), name=value.name)
            if places:
                parameter.copy_(new[name])
    declaration = replace(base.declaration, seed=seed)
    return Small(declaration, module, replace(base.traced, model=graph))


def _places(model: ir.Model, array: np.ndarray) -> Iterator[tuple[ir.Value, bool]]:
    """Constants of the graph that are `array` or its transpose, where no other parameter could be meant."""
    if array.size < 2 or np.ptp(array) == 0:
        return
    for value in model.graph.initializers.values():
        constant = value.const_value.numpy() if value.const_value is not None else None
        if constant is None:
            continue
        if constant.shape == array.shape and np.array_equal(constant, array):
            yield value, False
        elif constant.shape == array.T.shape and np.array_equal(constant, array.T):
            yield value, True
