"""Attention of opset 23 in a file, all its ways side by side in one graph: torch's numbers, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn import functional as F

from temport.exporter.build import Built, rewrite
from temport.exporter.graph.attention import Attention
from temport.exporter.onnx_source.declare import declare_onnx
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.trace.trace import Traced, trace
from tests.exporter import onnx_files as files

BATCH, HEADS, SIZE, WIDTH = 3, 4, 4, 16
SIZES = (
    {"batch": 2, "seq": 5, "past": 3},
    {"batch": 3, "seq": 9, "past": 0},
    {"batch": 1, "seq": 1, "past": 7},
)
ALL, CAUSAL, KEYS, CAUSAL_KEYS = ((causal, 0, keys) for keys in (False, True) for causal in (False, True))


@dataclass(frozen=True)
class Way:
    """One node, and what it becomes: a rule (causal, window, mask of keys), or why it stays in other operators.

    rows    3 axes in and out, with the numbers of heads as attributes
    mask    the name of an input or a constant
    past    keys and values before
    shared  heads of queries for each head of keys
    """

    becomes: tuple[bool, int, bool] | str
    rows: bool = False
    mask: str | None = None
    past: bool = False
    shared: int = 1
    given: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1


CAPPED = "it caps its scores (softcap)"
WAYS = {
    "plain": Way(ALL),
    "of_rows": Way(ALL, rows=True),
    "causal": Way(CAUSAL, given={"is_causal": 1}),
    "causal_rows_grouped": Way(CAUSAL, rows=True, shared=2, given={"is_causal": 1, "scale": 0.75}),
    "grouped": Way(ALL, shared=4),
    "keys": Way(KEYS, mask="keep"),
    "keys_causal": Way(CAUSAL_KEYS, rows=True, mask="keep", given={"is_causal": 1}),
    "any_pairs": Way("its mask depends on pairs", mask="pairs"),
    "pairs_causal": Way("its mask depends on pairs", mask="pairs", shared=2, given={"is_causal": 1}),
    "any_added": Way("added to its scores depends on inputs", mask="added"),
    "added_causal": Way(
        "what is added to its scores depends on inputs", mask="added", rows=True, given={"is_causal": 1}
    ),
    "after_past": Way(ALL, past=True, outputs=3),
    "past_causal": Way(CAUSAL, past=True, given={"is_causal": 1}, outputs=3),
    "past_causal_rows": Way(CAUSAL, rows=True, past=True, given={"is_causal": 1}),
    "presents_without_past": Way(CAUSAL, given={"is_causal": 1}, outputs=3),
    "capped": Way(CAPPED, given={"softcap": 2.0, "is_causal": 1}),
    "scores_used": Way("its scores are used too (qk_matmul_output)", outputs=4),
    "same_precision": Way(ALL, given={"softmax_precision": TensorProto.FLOAT}),
}


def file_of_all(opset: int) -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["x", f"w{n}"], [n]) for n in "qkv"]
    shape = ["batch", "seq", WIDTH]
    by_head: list[Any] = ["batch", HEADS, "seq", SIZE]
    inputs: list[files.Info] = [
        ("x", files.F, shape),
        ("keep", TensorProto.BOOL, ["batch", 1, 1, "seq"]),
        ("pairs", TensorProto.BOOL, ["batch", 1, "seq", "seq"]),
        ("added", files.F, [HEADS, "seq", "seq"]),
        ("past_k", files.F, ["batch", HEADS, "past", SIZE]),
        ("past_v", files.F, ["batch", HEADS, "past", SIZE]),
    ]
    for n in "qkv":
        nodes.append(helper.make_node("Reshape", [n, "apart"], [f"{n}_apart"]))
        nodes.append(helper.make_node("Transpose", [f"{n}_apart"], [f"{n}4"], perm=[0, 2, 1, 3]))
        for heads in (1, 2):
            nodes.append(helper.make_node("Slice", [f"{n}4", "zero", f"n{heads}", "one"], [f"{n}4_{heads}"]))
            nodes.append(helper.make_node("Slice", [n, "zero", f"n{heads * SIZE}", "two"], [f"{n}_{heads}"]))
    outputs: list[files.Info] = []
    for name, way in WAYS.items():
        kv = HEADS // way.shared
        taken = [f"{n}" if way.rows else f"{n}4" for n in "qkv"]
        taken = [taken[0], *(t if way.shared == 1 else f"{t}_{kv}" for t in taken[1:])]
        past = ["past_k", "past_v"] if way.past else []
        taken += [way.mask or "", *past] if way.mask or past else []
        heads = {"q_num_heads": HEADS, "kv_num_heads": kv} if way.rows else {}
        results = [name, *(f"{name}_{part}" for part in ("k", "v", "scores"))][: way.outputs]
        nodes.append(helper.make_node("Attention", taken, results, f"node_{name}", **heads, **way.given))
        keys = "past + seq" if way.past else "seq"
        shapes = [
            shape if way.rows else by_head,
            *[["batch", HEADS, keys, SIZE]] * 2,
            ["batch", HEADS, "seq", "seq"],
        ]
        outputs += [(r, files.F, s) for r, s in zip(results, shapes, strict=False)]
    weights = {f"w{n}": np.roll(files.random(WIDTH, WIDTH), i) for i, n in enumerate("qkv")}
    numbers = {"zero": [0], "one": [1], "two": [2], "apart": [0, 0, HEADS, SIZE]}
    numbers |= {f"n{n}": [n] for n in (1, 2, SIZE, 2 * SIZE)}
    return files.model(
        opset, nodes, inputs, outputs, **weights, **{n: np.array(v) for n, v in numbers.items()}
    )


@cache
def built(opset: int, ops: str) -> tuple[dict[str, np.ndarray], Traced, Built]:
    """Weights of the file, its graph and what the passes make of it."""
    model = file_of_all(opset)
    with TemporaryDirectory() as folder:
        declaration, called = declare_onnx(
            files.written(Path(folder), model), batch="1:2:3", seq="1:5:9", axes={"past": "0:3:7"}
        )
    traced = trace(called, replace(declaration, ops=ops))
    weights = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    return weights, traced, rewrite(traced, replace(declaration, ops=ops))


def drawn(sizes: dict[str, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(sizes["seq"])
    batch, T, past = sizes["batch"], sizes["seq"], [sizes["batch"], HEADS, sizes["past"], SIZE]
    keep = rng.random((batch, 1, 1, T)) < 0.7
    keep[0] = False  # a sequence without any key
    return {
        "x": rng.standard_normal((batch, T, WIDTH)),
        "keep": keep,
        "pairs": rng.random((batch, 1, T, T)) < 0.5,
        "added": rng.standard_normal((HEADS, T, T)),
        "past_k": rng.standard_normal(past),
        "past_v": rng.standard_normal(past),
    }


def truth(way: Way, inputs: dict[str, np.ndarray], weights: dict[str, np.ndarray]) -> list[torch.Tensor]:
    """Every output of a node by torch alone, in float64."""
    given = {name: torch.from_numpy(array) for name, array in inputs.items()}
    q, k, v = (
        (given["x"] @ torch.from_numpy(weights[f"w{n}"])).unflatten(2, (HEADS, SIZE)).transpose(1, 2)
        for n in "qkv"
    )
    k, v = k[:, : HEADS // way.shared], v[:, : HEADS // way.shared]
    if way.past:
        k, v = torch.cat([given["past_k"], k], 2), torch.cat([given["past_v"], v], 2)
    T, S = q.shape[2], k.shape[2]
    mask = torch.zeros(T, S, dtype=torch.float64)
    if way.given.get("is_causal"):
        mask = mask.masked_fill(~torch.ones(T, S, dtype=torch.bool).tril(S - T), -torch.inf)
    if way.mask:
        said = given[way.mask]
        mask = mask + said if said.is_floating_point() else mask.masked_fill(~said, -torch.inf)
    scale, cap = way.given.get("scale", SIZE**-0.5), way.given.get("softcap")
    if cap:
        weighed = torch.tanh(q @ k.mT * scale / cap) * cap + mask
        y = weighed.softmax(-1) @ v
    else:
        y = F.scaled_dot_product_attention(q, k, v, mask, scale=scale, enable_gqa=True)
    rows = y.transpose(1, 2).flatten(2) if way.rows else y
    return [rows, k, v, *([q @ k.mT * scale] if way.outputs > 3 else [])][: way.outputs]


@pytest.mark.parametrize(("opset", "ops"), [(23, "custom"), (24, "standard")])
def test_every_way_has_the_numbers_of_torch(opset: int, ops: str) -> None:
    """Before the passes, which is the oracle, and after them."""
    weights, traced, rewritten = built(opset, ops)
    for model in (traced.model, rewritten.model):
        graph = Float64Graph(ir.to_proto(model))
        for sizes in SIZES:
            inputs = drawn(sizes)
            got = graph.run(inputs)
            for name, way in WAYS.items():
                names = [name, *(f"{name}_{part}" for part in ("k", "v", "scores"))]
                for result, expected in zip(names, truth(way, inputs, weights), strict=False):
                    np.testing.assert_allclose(
                        got[result], expected.numpy(), rtol=1e-6, atol=1e-7, err_msg=f"{result} at {sizes}"
                    )


def test_each_is_the_op_where_its_mask_is_a_rule_and_otherwise_the_report_says_why() -> None:
    _, _, rewritten = built(23, "custom")
    nodes = {node.name: node for node in rewritten.model.graph}
    for name, way in WAYS.items():
        if isinstance(way.becomes, str):
            (said,) = (w for w in rewritten.warnings if way.becomes in w)
            assert f"node_{name}" in said or " more)" in said
            continue
        attention = Attention.of(nodes[f"node_{name}"])
        assert attention is not None, name
        rule = attention.rule
        assert (rule.causal, rule.window, attention.key_mask is not None) == way.becomes, name
        assert rule.query_offset is None or not rule.causal, "queries are the last ones, after a past or none"
    left = {node.name for node in rewritten.model.graph if node.op_type == "Attention"}
    assert left == {"node_capped", "node_scores_used"}
