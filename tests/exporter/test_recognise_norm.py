"""Normalisation as people write it, side by side in one module: found where it is one, and the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from temport.exporter.build import Built, rewrite
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.trace.trace import Traced, trace

WIDTH, EPSILON = 7, 1e-5
Compute = Callable[[Tensor, Tensor, Tensor], Tensor]


def mean(x: Tensor) -> Tensor:
    return x.mean(-1, keepdim=True)


def far(x: Tensor) -> Tensor:
    return x - mean(x)


LAYER: dict[str, Compute] = {
    "squares": lambda x, w, b: w * far(x) / torch.sqrt(mean(far(x) ** 2) + EPSILON) + b,
    "var": lambda x, w, b: far(x) * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + EPSILON) * w + b,
    "var_of_a_sample": lambda x, w, b: far(x) / (x.var(-1, keepdim=True) + EPSILON).sqrt() * w + b,
    "moments": lambda x, w, b: far(x) / (mean(x * x) - mean(x) ** 2 + 1e-3).sqrt(),
    "of_a_sum": lambda x, w, b: far(x + b) / torch.sqrt(mean(far(x + b).pow(2)) + 1e-6) * w,
    "before_others": lambda x, w, b: torch.relu(far(x) / torch.sqrt(mean(far(x) ** 2) + EPSILON)),
}
ROOT: dict[str, Compute] = {
    "torch": lambda x, w, b: nn.functional.rms_norm(x, (WIDTH,), w, EPSILON),
    "llama": lambda x, w, b: w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)),
    "gemma": lambda x, w, b: x.float() * torch.rsqrt(mean(x * x) + 1e-6) * (1 + w),
    "root": lambda x, w, b: x / torch.sqrt((x * x).sum(-1, keepdim=True) / WIDTH + 1e-3) * w + b,
    "residual": lambda x, w, b: nn.functional.rms_norm(x + x.flip(-1), (WIDTH,), w, 1e-3),
}
NEITHER: dict[str, Compute] = {
    "epsilon_outside": lambda x, w, b: w * far(x) / (x.std(-1, keepdim=True) + EPSILON) + b,
    "over_time": lambda x, w, b: x / torch.sqrt((x * x).mean(1, keepdim=True) + EPSILON) * w,
    "absolute": lambda x, w, b: far(x) / (mean(far(x).abs()) + EPSILON),
    "no_epsilon": lambda x, w, b: x / x.norm(dim=-1, keepdim=True).clamp_min(1e-2),
    "scaled_by_another": lambda x, w, b: x * torch.rsqrt(mean(x[:, :1] ** 2) + EPSILON),
    "mean_of_others": lambda x, w, b: (x - mean(x.roll(1, 1))) * torch.rsqrt(mean(x * x) + EPSILON),
}
ALL = {**LAYER, **ROOT, **NEITHER}


class Norms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weights = nn.ParameterDict({name: nn.Parameter(torch.randn(2, WIDTH)) for name in ALL})
        self.dense = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in ALL})

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            compute(self.dense[name](x), *self.weights[name]).tanh() for name, compute in ALL.items()
        )


@cache
def traced() -> tuple[nn.Module, Traced, Declaration]:
    module = Norms().eval()
    shape = (Axis("batch", 1, 2, 3), Axis("seq", 1, 5, 9), WIDTH)
    outputs = tuple(TensorSpec(f"{name}_", "float32", shape) for name in ALL)
    declared = Declaration("module", {}, (TensorSpec("x", "float32", shape),), outputs, module="a test's")
    return module, trace(module, declared), declared


def built(ops: str, opset: int = 20) -> Built:
    _, graph, declared = traced()
    return rewrite(graph, replace(declared, ops=ops, opset=opset))


def normalisations(model: ir.Model, name: str) -> list[tuple[str, int]]:
    """Operators behind an output, down to its dense layer, with `centred`."""
    value = next(v for v in model.graph.outputs if v.name == f"{name}_")
    found = []
    while (node := value.producer()) is not None and node.op_type not in ("FusedDense", "MatMul", "Gemm"):
        if "Norm" in node.op_type:
            centred = node.attributes["centred"].as_int() if "centred" in node.attributes else 1
            found.append((node.op_type, centred))
        value = next(v for v in node.inputs if v is not None and v.const_value is None)
    return found


def test_each_spelling_is_found_and_what_is_none_is_not() -> None:
    model = built("custom").model
    for names, right in ((LAYER, 1), (ROOT, 0)):
        assert {n: normalisations(model, n) for n in names} == {
            n: [("ResidualLayerNorm", right)] for n in names
        }
    assert {n: normalisations(model, n) for n in NEITHER} == {n: [] for n in NEITHER}


@pytest.mark.parametrize("ops", ["custom", "standard"])
def test_every_spelling_has_the_numbers_of_torch(ops: str) -> None:
    module, _, _ = traced()
    graph = Float64Graph(ir.to_proto(built(ops).model))
    random = torch.Generator().manual_seed(1)
    for shape, scale in (((2, 5, WIDTH), 1.0), ((3, 9, WIDTH), 1e-3), ((1, 1, WIDTH), 1e3)):
        x = torch.randn(shape, generator=random, dtype=torch.float64) * scale
        with torch.no_grad():
            expected = module.double()(x)
        got = graph.run({"x": x.numpy()})
        for name, truth in zip(ALL, expected, strict=True):
            np.testing.assert_allclose(got[f"{name}_"], truth.numpy(), rtol=1e-6, atol=1e-7, err_msg=name)
    module.float()
