"""Replace one node of a graph by several: the few moves that the lowerings share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from temport.exporter.graph.edit import initializer


class GraphEdit:
    """New nodes go in front of `anchor`; their names start with its name, so an engine's layers lead back
    to it."""

    def __init__(self, graph: ir.Graph, anchor: ir.Node) -> None:
        self._graph, self._anchor = graph, anchor
        self._count = 0

    def op(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> ir.Value:
        """One `ai.onnx` node with one output."""
        return self.ops(kind, inputs, attributes, 1, name)[0]

    def ops(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        outputs: int = 1,
        name: str | None = None,
    ) -> Sequence[ir.Value]:
        """One `ai.onnx` node with `outputs` outputs."""
        name = name or self._fresh(kind)
        node = ir.Node(
            "",
            kind,
            inputs,
            ir.convenience.convert_attributes(attributes or {}),
            num_outputs=outputs,
            name=name,
        )
        for index, value in enumerate(node.outputs):
            value.name = f"{name}/out{index}" if outputs > 1 else f"{name}/out"
        self._graph.insert_before(self._anchor, node)
        return node.outputs

    def constant(self, array: np.ndarray, role: str) -> ir.Value:
        """A constant of this node alone."""
        return self.shared_constant(array, self._fresh(role))

    def shared_constant(self, array: np.ndarray, name: str) -> ir.Value:
        """An initializer; asking again for the same name and content gives the same one."""
        return initializer(self._graph, name, array)

    def replace(self, node: ir.Node, value: ir.Value) -> None:
        """`value` takes the place, name, type and shape of `node`'s output, and `node` goes."""
        old = node.outputs[0]
        value.type, value.shape, value.name = old.type, old.shape, old.name
        old.name = None
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        self._graph.remove(node, safe=True)

    def _fresh(self, role: str) -> str:
        self._count += 1
        return f"{self._anchor.name}/{role}_{self._count}"
