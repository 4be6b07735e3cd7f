"""The newest frame of a stream as a row, `[batch, C]` in place of `[batch, 1, C]`, where attention meets flat rows.

`flatten_rows` leaves a reshape before and behind each attention. One frame has no positions to keep apart: the ops of
step models take it either way, so neither reshape is needed there.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph import operators
from temport.exporter.graph.edit import replace
from temport.exporter.graph.standard_operator import is_standard


def flat_frames(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where no frame is made of a row and becomes one. Run it after `flatten_rows`."""
    found = [node for node in list(model.graph) if _flatten(model.graph, node)]
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _flatten(graph: ir.Graph, node: ir.Node) -> bool:
    if not operators.of(node).frame:
        return False
    frame, output = node.inputs[0], node.outputs[0]
    before = frame.producer() if frame is not None else None
    behind = [use.node for use in output.uses()]
    if any(user.graph is not graph for user in behind):
        return False
    if before is None or output.is_graph_output() or not is_standard(before, "Reshape"):
        return False
    row = before.inputs[0]
    if not _is_row_of(row, frame) or not all(
        is_standard(node, "Reshape") and _is_row_of(node.outputs[0], output) for node in behind
    ):
        return False
    assert row is not None and row.shape is not None and output.shape is not None
    node.replace_input_with(0, row)
    output.shape = ir.Shape([row.shape[0], output.shape[2]])
    for reshape in behind:
        replace(graph, reshape, output)
    return True


def _is_row_of(row: ir.Value | None, frame: ir.Value | None) -> bool:
    """Whether these are `[batch, C]` and `[batch, 1, C]`."""
    if row is None or row.shape is None or frame is None or frame.shape is None:
        return False
    if (len(row.shape), len(frame.shape)) != (2, 3):
        return False
    return bool(frame.shape[1] == 1 and row.shape[1] == frame.shape[2])
