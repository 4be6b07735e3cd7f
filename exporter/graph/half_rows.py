"""Keys and values that a ring holds in float16: in a graph of sequences they are rounded where attention takes them.

The node is for the truth of a stream alone; no file has it.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference.op_run import OpRun

from temport.exporter.graph.attention import Attention
from temport.exporter.graph.edit import cut, insert, named

DOMAIN, VERSION, NAME = "temport.truth", 1, "HalfRows"


class HalfRows(OpRun):
    """Numbers of any type to the nearest of float16, of two the even one, and to infinity beyond its largest."""

    op_domain = DOMAIN

    def _run(self, x: Any) -> tuple[Any, ...]:
        with np.errstate(over="ignore"):
            return (x.astype(np.float16).astype(x.dtype),)


class PlainRows(HalfRows):
    """The same numbers, for a while in its place."""

    def _run(self, x: Any) -> tuple[Any, ...]:
        return (x,)


PlainRows.__name__ = NAME  # the evaluator goes by it


def round_rows(model: ir.Model, layers: Collection[str]) -> None:
    """Keys and values of these attention nodes, named by their outputs, are rounded, in place."""
    model.opset_imports[DOMAIN] = VERSION
    for node in list(model.graph):
        seen = Attention.of(node)
        if seen is None or node.outputs[0].name not in layers:
            continue
        if not seen.packed:
            for place in (1, 2):
                value = node.inputs[place]
                assert value is not None
                node.replace_input_with(place, _rounded(model.graph, node, value))
            continue
        edges, q = seen.edges, seen.q
        assert q.shape is not None
        rows = [cut(model.graph, node, q, 2, a, b) for a, b in pairwise(edges)]
        rows = [rows[0], *(_rounded(model.graph, node, row) for row in rows[1:])]
        together = insert(
            model.graph, node, "Concat", rows, list(q.shape), named(q, "half_rows"), {"axis": 2}
        )
        node.replace_input_with(0, together)


def _rounded(graph: ir.Graph, before: ir.Node, value: ir.Value) -> ir.Value:
    """Made once for all attention that takes the value."""
    name = named(value, "half")
    made = next((node.outputs[0] for node, _ in value.uses() if node.outputs[0].name == name), None)
    if made is None:
        made = ir.Value(name=name, type=value.type, shape=value.shape)
        graph.insert_before(before, ir.node(NAME, [value], domain=DOMAIN, outputs=[made], name=name))
    return made
