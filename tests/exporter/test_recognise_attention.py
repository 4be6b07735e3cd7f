"""Attention as torch code spells it: recognised where its mask is a rule, and with torch's numbers in every case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from temport.exporter.build import rewrite
from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.declare.slow_path import slow_path
from temport.exporter.graph.attention import Attention
from temport.exporter.graph.prove_mask import MASK, Hindrance
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.passes.notes import Notes
from temport.exporter.passes.recognise_attention import NAME, Stays, recognise_attention
from temport.exporter.trace.fold_constants import fold_constants
from temport.exporter.trace.trace import Traced, trace
from tests.exporter.attention_spellings import BATCH, LONGEST, RIGHT, WIDTH, WRONG, Rule, Spellings

ALMOST = 1e-6
"""The op's scale is an attribute, and so are a mask's numbers, in float32."""
NAMES = [*RIGHT, *WRONG]


LENGTHS = {"open": (2, 9, 24), "fixed": (9,)}


@dataclass(frozen=True)
class Case:
    """A traced graph, the same after the pass, and the module."""

    module: nn.Module
    traced: Traced
    declaration: Declaration
    recognised: ir.Model
    notes: Notes


@cache
def traced() -> tuple[nn.Module, Traced, Declaration]:
    """The module, traced once at an open length."""
    torch.manual_seed(0)
    module = Spellings().eval()
    batch, seq = Axis("batch", 1, BATCH, 8), Axis("seq", 2, 9, LONGEST)
    with slow_path():
        results = module(torch.randn(BATCH, 9, WIDTH), torch.ones(BATCH, 9, dtype=torch.bool))
    by_size = {BATCH: batch, 9: seq}
    outputs = tuple(
        TensorSpec(f"{name}_", "float32", tuple(by_size.get(n, n) for n in y.shape))
        for name, y in zip(NAMES, results, strict=True)
    )
    inputs = TensorSpec("x", "float32", (batch, seq, WIDTH)), TensorSpec("keep", "bool", (batch, seq))
    declaration = Declaration("module", {}, inputs, outputs, module="a module of a test")
    return module, trace(module, declaration), declaration


@cache
def case(length: str) -> Case:
    """At a fixed length it is the same graph with that length for the open one, and its constants folded."""
    module, graph, declaration = traced()
    if length == "fixed":
        graph, declaration = (
            fixed(graph, 9),
            replace(declaration, inputs=tuple(map(at_nine, declaration.inputs))),
        )
    model, notes = graph.model.clone(), Notes()
    assert recognise_attention(model, declaration, notes)
    return Case(module, graph, declaration, model, notes)


def at_nine(spec: TensorSpec) -> TensorSpec:
    nine = Axis("seq", 9, 9, 9)
    return replace(spec, shape=tuple(nine if d == Axis("seq", 2, 9, LONGEST) else d for d in spec.shape))


def fixed(graph: Traced, length: int) -> Traced:
    model = graph.model.clone()
    for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape([length if d == "seq" else d for d in value.shape])
    fold_constants(model)
    return replace(graph, model=model, outputs=tuple(map(at_nine, graph.outputs)))


def rule_of(model: ir.Model, name: str) -> Rule | None:
    """What the last attention before an output was recognised as."""
    pending = [next(v for v in model.graph.outputs if v.name == f"{name}_")]
    while pending:
        node = pending.pop(0).producer()
        if node is None:
            continue
        attention = Attention.of(node)
        if attention is not None:
            rule = attention.rule
            return rule.causal, rule.window, attention.key_mask is not None, rule.query_offset or 0
        pending += [v for v in node.inputs if v is not None]
    return None


@pytest.mark.parametrize("length", LENGTHS)
def test_each_spelling_is_recognised_as_its_rule_and_no_wrong_one_is(length: str) -> None:
    model = case(length).recognised
    found = {name: rule_of(model, name) for name in NAMES}
    assert {name: found[name] for name in RIGHT} == {name: rule for name, (_, rule) in RIGHT.items()}
    assert not [name for name, (_, rule) in WRONG.items() if found[name] == rule]
    for why in (
        "what is added to its scores depends on inputs, as for relative",
        "its scores go through Tanh",
        "its scores go through Mul",
        "its weights are read too",
    ):
        assert any(why in note for note in case(length).notes), why
    reasons = [why.hindrance for why in case(length).notes.reasons(NAME) if isinstance(why, Stays)]
    assert Hindrance("adds other numbers than 0 and -inf", MASK) in reasons
    assert {why.of for why in reasons if why.lacks.startswith("its ")} == {""}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("ops", "without"), [("custom", ()), ("standard", ("recognise_attention",))])
def test_every_spelling_has_the_numbers_of_torch(length: str, ops: str, without: tuple[str, ...]) -> None:
    at = case(length)
    built = rewrite(at.traced, replace(at.declaration, ops=ops, without=without))
    graph = Float64Graph(ir.to_proto(built.model))
    module = at.module.double()
    for T in LENGTHS[length]:
        random = torch.Generator().manual_seed(T)
        x = torch.randn(BATCH, T, WIDTH, generator=random, dtype=torch.float64)
        keep = torch.rand(BATCH, T, generator=random) < 0.75
        keep[0, 0] = True
        keep[1] = False  # a sequence without any key: 0 in torch
        with torch.no_grad(), slow_path():
            expected = module(x, keep)
        got = graph.run({"x": x.numpy(), "keep": keep.numpy()})
        for name, truth in zip(NAMES, expected, strict=True):
            error = np.abs(got[f"{name}_"] - truth.numpy()).max()
            assert error < ALMOST * max(1.0, float(truth.abs().max())), (name, T, error)
    module.float()
