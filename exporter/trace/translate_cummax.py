"""torch's running maxima and minima: a Scan along the axis that carries the extreme so far.

A translation cannot hold a graph, so the trace keeps one node, and `spell_running_extremes` writes the Scan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
from onnx import defs
from onnxscript.values import Op, Opset

from temport.custom_ops.schema import FLOAT_TYPES, parameter
from temport.exporter.errors import UserError
from temport.exporter.graph.edit import initializer, named, put
from temport.exporter.graph.layers import keep_layer, layer_of
from temport.exporter.graph.traced_attention import DOMAIN, VERSION

NAME = "RunningExtreme"
SCHEMA = defs.OpSchema(
    NAME,
    DOMAIN,
    VERSION,
    "The largest or smallest entry so far along an axis, and where it stands.",
    inputs=[parameter("X", "T", "any axes")],
    outputs=[parameter("Y", "T", "of X's shape"), parameter("where", "tensor(int64)", "of X's shape")],
    type_constraints=[("T", [*FLOAT_TYPES, "tensor(int32)", "tensor(int64)"], "Tensors.")],
    attributes=[
        defs.OpSchema.Attribute("axis", defs.OpSchema.AttrType.INT, "the axis", required=True),
        defs.OpSchema.Attribute("op", defs.OpSchema.AttrType.STRING, "Max or Min", required=True),
    ],
)
defs.register_schema(SCHEMA)
_OPERATOR = Op(Opset(DOMAIN, VERSION), NAME, SCHEMA)


def translate_extreme(op: str) -> Callable[..., Any]:
    """cummax or cummin: `[...]` and an axis -> values and indices, `[...]` each."""

    def translate(self: Any, dim: int) -> Any:
        return _OPERATOR(self, axis=dim, op=op)

    return translate


def spell_running_extremes(model: ir.Model) -> None:
    """Rewrite `model` in place; UserError where the places of extremes are read."""
    for node in [n for n in model.graph if (n.domain, n.op_type) == (DOMAIN, NAME)]:
        values, places = node.outputs
        if places.uses() or places.is_graph_output():
            raise UserError(
                f"{layer_of(node) or 'the model'} reads where the running extremes stand (the indices of cummax or "
                "cummin), which have no ONNX form; take the values alone"
            )
        put(values, _scan(model.graph, node))
        model.graph.remove(node, safe=True)


def _scan(graph: ir.Graph, node: ir.Node) -> ir.Value:
    x, old = node.inputs[0], node.outputs[0]
    assert x is not None and x.shape is not None and x.dtype is not None
    rank, op = len(x.shape), node.attributes["op"].as_string()
    axis = node.attributes["axis"].as_int() % rank
    kind, others = ir.TensorType(x.dtype), [d for i, d in enumerate(x.shape) if i != axis]

    def made(name: str, shape: list[Any], dtype: ir.TensorType = kind) -> ir.Value:
        return ir.Value(name=name, type=dtype, shape=ir.Shape(shape))

    def add(op: str, inputs: list[ir.Value], outputs: list[ir.Value], **attributes: Any) -> list[ir.Value]:
        new = ir.node(op, inputs, attributes, outputs=outputs, name=outputs[0].name)
        keep_layer(new, layer_of(node))
        graph.insert_before(node, new)
        return outputs

    integers = ir.TensorType(ir.DataType.INT64)
    (sizes,) = add("Shape", [x], [made(named(old, "sizes"), [rank], integers)])
    kept = initializer(graph, f"extreme/but_{axis}_of_{rank}", np.delete(np.arange(rank), axis))
    (other,) = add("Gather", [sizes, kept], [made(named(old, "others"), [rank - 1], integers)])
    value = ir.tensor(np.array([_least(x.dtype, op)], x.dtype.numpy()))
    (start,) = add("ConstantOfShape", [other], [made(named(old, "start"), others)], value=value)
    so_far, entry, more = (made(named(old, what), others) for what in ("so_far", "entry", "more"))
    out = made(named(old, "out"), others)
    inner = [
        ir.node(op, [so_far, entry], outputs=[more], name=more.name),
        ir.node("Identity", [more], outputs=[out], name=out.name),
    ]
    body = ir.Graph([so_far, entry], [more, out], nodes=inner, name=named(old, "body"))
    _, scanned = add(
        "Scan",
        [start, x],
        [made(named(old, "last"), others), made(named(old, "scanned"), list(x.shape))],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_output_axes=[axis],
    )
    return scanned


def _least(dtype: ir.DataType, op: str) -> Any:
    """What no entry is beyond."""
    kind = dtype.numpy()
    if kind.kind == "i" or kind.kind == "u":
        return np.iinfo(kind).min if op == "Max" else np.iinfo(kind).max
    infinity = float("inf") if op == "Min" else float("-inf")
    return infinity if kind.kind == "f" else ml_dtypes.bfloat16(infinity)
