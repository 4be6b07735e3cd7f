"""What torch's exporter would do again and again is done once, and the graph is the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch
from onnxscript._framework_apis.torch_2_5 import get_torchlib_ops
from onnxscript.rewriter import pattern, rewrite
from torch import nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.trace import (
    composite_ops,
    entered_kernels,
    open_sizes,
    pattern_matching,
    promoted_types,
    torch_to_onnx,
    torch_translations,
    uncompiled_graphs,
    untold_nodes,
)
from temport.exporter.trace.clean import clean
from temport.exporter.trace.pattern_matching import patterns_tried_at_their_operator
from temport.exporter.trace.replaced import replaced

QUICKER: dict[str, list[tuple[str, str]]] = {
    "translations_read_once": [(torch_translations.MODULE, torch_translations.READER)],
    "domains_told": [(torch_translations.VALUES, torch_translations.SIGNATURE)],
    "composite_ops_looked_up_once": [(composite_ops.MODULE, composite_ops.LOOK_UP)],
    "kernels_entered_without_annotations": [(entered_kernels.MODULE, entered_kernels.ENTER)],
    "sizes_read_as_they_are": [(open_sizes.MODULE, open_sizes.READ)],
    "numbers_told_once": [(open_sizes.MODULE, open_sizes.NUMBER)],
    "sizes_computed_once": [(open_sizes.MODULE, f"SymNode.{operator}") for operator in open_sizes.OPERATORS],
    "graphs_compiled_when_called": [(uncompiled_graphs.MODULE, uncompiled_graphs.FLAG)],
    "nodes_made_without_stacks": [untold_nodes.STACK],
    "nodes_made_without_layouts": [untold_nodes.LAYOUT],
    "types_promoted_without_a_run": [(promoted_types.MODULE, promoted_types.RUN)],
    "patterns_tried_at_their_operator": [(pattern_matching.MODULE, pattern_matching.TRY)],
}
"""What each replaces."""


class Halves(nn.Module):
    """Of frames whose number is open, and doubled: sizes that are read are numbers, names and terms. Types are mixed in
    the middle."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.cat([x, x], 1).reshape(-1, 8)
        return y[:, :4] * torch.arange(y.shape[0])[:, None] * torch.sigmoid(y[:, 4:])


def traced() -> bytes:
    """What a file holds of the graph, which is not where in Python its nodes come from."""
    shape, rows = (3, Axis("seq", 1, 5, 9), 8), Axis("6*seq", 6, 30, 54)
    spec = [TensorSpec("x", "float32", shape), TensorSpec("y", "float32", (rows, 4))]
    model = torch_to_onnx.to_onnx(Halves().eval(), Declaration("module", {}, (spec[0],), (spec[1],)))
    assert "Cast" in {node.op_type for node in model.graph}
    clean(model)
    return ir.to_proto(model).SerializeToString(deterministic=True)


def test_the_same_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = traced()
    for name in QUICKER:
        monkeypatch.setattr(torch_to_onnx, name, contextlib.nullcontext)
    assert traced() == quick


def test_a_pattern_of_two_outputs_is_still_found() -> None:
    """Whichever nodes stand between them, before them and behind them."""
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[3] x) => (float[3] y, float[3] z) '
        "{ z = Abs(x) a = Relu(x) c = Sigmoid(a) b = Neg(x) y = Mul(c, b) }"
    )
    rule = pattern.RewriteRule(
        lambda op, x: (op.Relu(x), op.Neg(x)), lambda op, x: op.Split(x, num_outputs=2, _outputs=2)
    )
    with patterns_tried_at_their_operator():
        found = rewrite(ir.from_proto(proto), [rule])
    assert [node.op_type for node in found.graph] == ["Abs", "Split", "Sigmoid", "Mul"]


def test_a_second_kernel_for_a_key_is_refused_as_before() -> None:
    op, key = torch.ops.aten.relu.default, torch._C.DispatchKey.AutogradXLA
    kernels = dict(op.py_kernels)
    try:
        with entered_kernels.kernels_entered_without_annotations():
            op.py_impl(key)(torch.abs)
            assert op.py_kernels[key] is torch.abs
            with pytest.raises(RuntimeError, match="override a python impl"):
                op.py_impl(key)(torch.neg)
    finally:
        op.py_kernels.clear()
        op.py_kernels.update(kernels)
        op._dispatch_cache.clear()


def test_a_size_that_was_replaced_is_read_anew() -> None:
    with open_sizes.sizes_read_as_they_are():
        size = ShapeEnv().create_unbacked_symint()
        before = size.node.expr
        assert before.is_symbol and (size + 1).node.expr == before + 1
        torch._check(size == 3)
        assert size.node.expr == 3 and (size + 1).node.expr == 4


def test_a_sum_of_sizes_is_one_of_its_own() -> None:
    """The same expression, and no other than those of these sizes."""
    sizes = ShapeEnv()
    one, other = sizes.create_unbacked_symint().node, sizes.create_unbacked_symint().node
    with open_sizes.sizes_computed_once():
        first, again, different = one.add(other), one.add(other), one.mul(other)
        assert first is not again and first.expr == again.expr == one.expr + other.expr
        assert different.expr == one.expr * other.expr and one.sub(other).expr == one.expr - other.expr


@pytest.mark.parametrize("name", QUICKER)
def test_each_finds_in_this_torch_what_it_replaces_and_gives_it_back(name: str) -> None:
    """Otherwise it leaves torch as it is, and says nothing."""

    def now() -> list[Any]:
        found: list[Any] = []
        for there in QUICKER[name]:
            with replaced(*there, lambda before: found.append(before) or before):
                pass
        return found

    before = now()
    assert len(before) == len(QUICKER[name])
    with getattr(torch_to_onnx, name)():
        assert all(one is not other for one, other in zip(before, now(), strict=True))
    assert all(one is other for one, other in zip(before, now(), strict=True))


def test_traces_of_several_threads_wait_for_each_other() -> None:
    """torch's exporter knows one trace at a time, and what was replaced for one would be kept as the original."""
    from torch._export import utils

    before = vars(utils)[composite_ops.LOOK_UP]
    with ThreadPoolExecutor(3) as threads:
        first, *others = [threads.submit(traced) for _ in range(3)]
        assert all(other.result() == first.result() for other in others)
    assert vars(utils)[composite_ops.LOOK_UP] is before


def test_one_look_up() -> None:
    from torch._export import utils

    looked: list[Callable[[], None]] = []
    with replaced(composite_ops.MODULE, composite_ops.LOOK_UP, lambda f: lambda: looked.append(f)):
        with composite_ops.composite_ops_looked_up_once():
            utils._materialize_cpp_cia_ops()
            utils._materialize_cpp_cia_ops()
        assert len(looked) == 1
        utils._materialize_cpp_cia_ops()
    assert len(looked) == 2


@pytest.mark.parametrize("there", [("torch.nowhere", "f"), ("torch", "nowhere"), ("torch", "Tensor.nowhere")])
def test_another_version_is_left_alone(there: tuple[str, str]) -> None:
    with replaced(*there, lambda before: pytest.fail("there is nothing")):
        pass


def test_domains_are_told_as_they_are_parsed() -> None:
    """And whatever else is asked of a signature."""
    before = {meta: meta.function.function_ir for meta in get_torchlib_ops()[::40]}
    with torch_translations.domains_told():
        for meta, parsed in before.items():
            told = meta.function.function_ir
            assert (told.domain, meta.domain) == (parsed.domain, parsed.domain)
            assert [value.name for value in told.inputs] == [value.name for value in parsed.inputs]
