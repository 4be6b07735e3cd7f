"""A 0 added between a conversion from a half type and the recurrent layer behind it, in float32.

TensorRT-RTX 1.7 moves the conversion into the loop over the frames, where it takes the whole sequence for one frame,
and refuses the model ("Mismatched number of elements in reshape op"). A sum in between stays where it is; a product
with 1 is removed, and the conversion moves all the same.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.exporter.compilers.graph_edit import GraphEdit
from temport.exporter.graph import operators
from temport.exporter.graph.standard_operator import is_standard

RECURRENT = ("GRU", "LSTM", "RNN")
HALVES = {ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


def part_recurrent_casts(model: ir.Model) -> None:
    """In place. Run it where types are known and no function is left."""
    graph = model.graph
    for node in list(graph):
        x = node.inputs[0] if is_standard(node, *RECURRENT) else None
        if x is not None and _from_half(x):
            edit = GraphEdit(graph, node)
            node.replace_input_with(
                0, edit.op("Add", [x, edit.shared_constant(np.zeros((), np.float32), "recurrent/zero")])
            )


def _from_half(value: ir.Value) -> bool:
    """Whether a value is one of a half type, converted and moved."""
    node = value.producer()
    if node is None:
        return False
    if is_standard(node, "Cast"):
        return node.inputs[0] is not None and node.inputs[0].dtype in HALVES
    return operators.of(node).moves and any(_from_half(given) for given in node.inputs if given is not None)
