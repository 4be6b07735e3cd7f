"""Bodies of the ops that stand in the place of standard operators and say the same, only faster."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import defs, helper

from temport.custom_ops.body_graph import OLDEST_OPSET
from temport.custom_ops.op import Body


def plain_body(schema: defs.OpSchema, opset: int, nodes: Sequence[onnx.NodeProto]) -> Body:
    """The op as these standard nodes, over the names of the schema's inputs and outputs; the same for every length.

    ValueError for an opset older than a body of ours can have.
    """
    if opset < OLDEST_OPSET:
        raise ValueError(f"{schema.name}: a body needs opset {OLDEST_OPSET} or newer; it is {opset}.")
    function = helper.make_function(
        schema.domain,
        schema.name,
        [p.name for p in schema.inputs],
        [p.name for p in schema.outputs],
        nodes,
        [helper.make_opsetid("", opset)],
        attributes=list(schema.attributes),
    )
    return Body(function)
