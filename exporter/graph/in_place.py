"""Which states of a step model a kernel may write where it reads them."""

from __future__ import annotations

import onnx_ir as ir

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph import operators

CACHES = (1, 2)
"""Keys and Values among the inputs of an op that takes a frame; NextKeys and NextValues have the same
places among the outputs."""


def in_place_states(model: ir.Model, declaration: Declaration) -> frozenset[str]:
    """Names of the state inputs that one node alone reads, as a cache, and writes to the output paired with them.

    Such a node replaces one row, before it reads any, so both may lie in one buffer. Where the graph reads or
    returns the state anywhere else, that would find it changed.
    """
    inputs = {value.name: value for value in model.graph.inputs}
    outputs = {value.name: value for value in model.graph.outputs}
    return frozenset(
        before for before, after in declaration.states if _is_cache(inputs[before], outputs[after])
    )


def _is_cache(before: ir.Value, after: ir.Value) -> bool:
    uses = list(before.uses())
    if len(uses) != 1 or before.is_graph_output():
        return False
    node, index = uses[0]
    return (
        operators.of(node).frame
        and index in CACHES
        and node is after.producer()
        and node.outputs[index] is after
    )
