"""Block-linear attention as people write it, side by side in one module: found where it is, with torch's numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from temport.exporter.build import Built, rewrite
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.trace.trace import Traced, trace

LENGTH, BLOCK, HEADS, SIZE = 8, 3, 2, 4
WIDTH = HEADS * SIZE
Compute = Callable[[Tensor, Tensor, Tensor], Tensor]


def elu1(x: Tensor) -> Tensor:
    return F.elu(x) + 1


def same(x: Tensor) -> Tensor:
    return x


def one_after_the_other(phi: Callable[[Tensor], Tensor], eps: float | None, decay: float = 1.0) -> Compute:
    """A loop over blocks with a running state, as in code for inference; the last block is shorter."""

    def compute(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        state = torch.zeros(q.shape[0], HEADS, SIZE, SIZE, dtype=q.dtype)
        keys = torch.zeros(q.shape[0], HEADS, SIZE, dtype=q.dtype)
        outputs = []
        for start in range(0, LENGTH, BLOCK):
            qb, kb, vb = (x[:, :, start : start + BLOCK] for x in (q, k, v))
            scores = qb @ kb.mT / SIZE**0.5
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            intra = scores.masked_fill(later, -torch.inf).softmax(-1) @ vb
            inter = phi(qb) @ state
            if eps is not None:
                inter = inter / (torch.einsum("bhtd,bhd->bht", phi(qb), keys)[..., None] + eps)
            outputs.append(intra + inter)
            state = decay * state + torch.einsum("bhtd,bhte->bhde", phi(kb), vb)
            keys = decay * keys + phi(kb).sum(2)
        return torch.cat(outputs, 2)

    return compute


def all_at_once(
    phi: Callable[[Tensor], Tensor], eps: float | None, included: bool = False, gate: float = 1.0
) -> Compute:
    """Padded to whole blocks, which are an axis; earlier blocks by a cumulative sum."""

    def compute(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        blocks = -(-LENGTH // BLOCK)
        q, k, v = (
            F.pad(x, (0, 0, 0, blocks * BLOCK - LENGTH)).unflatten(2, (blocks, BLOCK)) for x in (q, k, v)
        )
        intra = F.scaled_dot_product_attention(q, k, v, is_causal=True)

        def earlier(x: Tensor) -> Tensor:
            total = x.cumsum(2)
            return total if included else F.pad(total[:, :, :-1], (0, 0, 0, 0, 1, 0))

        inter = phi(q) @ earlier(phi(k).mT @ v)
        if eps is not None:
            inter = inter / (phi(q) @ earlier(phi(k).sum(3).unsqueeze(-1)) + eps)
        return (intra + gate * inter).flatten(2, 3)[:, :, :LENGTH]

    return compute


RIGHT: dict[str, tuple[Compute, str, str]] = {
    "loop": (one_after_the_other(elu1, 1e-6), "elu1", "key_sum"),
    "axis": (all_at_once(elu1, None), "elu1", "none"),
    "axis_of_products": (all_at_once(same, 1e-8), "identity", "key_sum"),
}
WRONG: dict[str, Compute] = {
    "decay": one_after_the_other(same, None, decay=0.9),
    "axis_and_gate": all_at_once(elu1, 1e-6, gate=0.5),
    "feature_map": all_at_once(torch.relu, None),
    "own_block_twice": all_at_once(elu1, 1e-8, included=True),
}
"""Lightning Attention-2's decay, Infini-attention's gate, and two others that the op has not."""


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        names = [*RIGHT, *WRONG]
        self.qkv = nn.ModuleDict({name: nn.Linear(WIDTH, 3 * WIDTH) for name in names})
        self.one = nn.ModuleDict({n: nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in "qkv") for n in names})
        self.out = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in names})

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        results = []
        for name, compute in ({n: c for n, (c, _, _) in RIGHT.items()} | WRONG).items():
            rows = (
                (layer(x) for layer in self.one[name]) if "axis" in name else self.qkv[name](x).chunk(3, -1)
            )
            q, k, v = (part.unflatten(2, (HEADS, SIZE)).transpose(1, 2) for part in rows)
            results.append(self.out[name](compute(q, k, v).transpose(1, 2).flatten(2)))
        return tuple(results)


@cache
def traced() -> tuple[nn.Module, Traced, Declaration]:
    module = Blocks().eval()
    shape = (Axis("batch", 1, 2, 3), Axis("seq", LENGTH, LENGTH, LENGTH), WIDTH)
    outputs = tuple(TensorSpec(f"{name}_", "float32", shape) for name in (*RIGHT, *WRONG))
    declared = Declaration("module", {}, (TensorSpec("x", "float32", shape),), outputs, module="a test's")
    return module, trace(module, declared), declared


def built(ops: str) -> Built:
    _, graph, declared = traced()
    return rewrite(graph, replace(declared, ops=ops))


def found(model: ir.Model, name: str) -> list[tuple[int, int, str, str]]:
    """Of each op behind an output: heads, block size, feature map, normalizer."""
    pending, seen = [next(v for v in model.graph.outputs if v.name == f"{name}_")], set()
    ops = []
    while pending:
        node = pending.pop().producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type == "BlockLinearAttention":
            given = {n: a.value for n, a in node.attributes.items()}
            ops.append(tuple(given[n] for n in ("num_heads", "block_size", "feature_map", "normalizer")))
        pending += [v for v in node.inputs if v is not None]
    return ops


def test_each_spelling_is_found_and_what_the_op_does_not_compute_is_not() -> None:
    model = built("custom").model
    right = {name: [(HEADS, BLOCK, *words)] for name, (_, *words) in RIGHT.items()}
    assert {name: found(model, name) for name in RIGHT} == right
    assert {name: found(model, name) for name in WRONG} == {name: [] for name in WRONG}


@pytest.mark.parametrize("ops", ["custom", "standard"])
def test_every_spelling_has_the_numbers_of_torch(ops: str) -> None:
    module, _, _ = traced()
    graph = Float64Graph(ir.to_proto(built(ops).model))
    x = torch.randn(3, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        expected = module.double()(x)
    module.float()
    got = graph.run({"x": x.numpy()})
    for name, truth in zip((*RIGHT, *WRONG), expected, strict=True):
        scale = float(truth.abs().max())
        np.testing.assert_allclose(got[f"{name}_"], truth.numpy(), rtol=0, atol=1e-6 * scale, err_msg=name)


class Cross(nn.Module):
    """Frames that attend to a few rows of a memory."""

    def forward(self, frames: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q, k, v = (x.unflatten(2, (HEADS, SIZE)).transpose(1, 2) for x in (frames, keys, values))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def test_attention_to_a_memory_is_none() -> None:
    batch, seq = Axis("batch", 1, 2, 3), Axis("seq", 1, LENGTH, 2 * LENGTH)
    frames, output = (TensorSpec(name, "float32", (batch, seq, WIDTH)) for name in ("frames", "output"))
    memory = [TensorSpec(name, "float32", (batch, BLOCK, WIDTH)) for name in ("keys", "values")]
    declared = Declaration("module", {}, (frames, *memory), (output,), module="a test's")
    model = rewrite(trace(Cross().eval(), declared), declared).model
    assert "BlockLinearAttention" not in {node.op_type for node in model.graph}
