"""A small graph evaluated in float64: the truth for any rewrite of it."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from temport.custom_ops.table import OPS

OPERATORS = {
    "MatMul": lambda a, b: a @ b,
    "Add": lambda a, b: a + b,
    "Slice": lambda a, lo, hi, axis: a[:, int(lo[0]) :],
    "Reshape": lambda a, shape: a.reshape(shape),
}


def evaluate(model: ir.Model, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output of the main graph in float64, attention by the op's reference."""
    constants = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    values = {
        name: array.astype(np.float64) if array.dtype == np.float32 else array
        for name, array in {**constants, **inputs}.items()
    }
    for node in model.graph:
        args = [None if v is None else values[v.name] for v in node.inputs]
        if node.domain == "temport":
            attributes = {n: a.value for n, a in node.attributes.items()}
            result = OPS[node.op_type].reference(args, attributes)
        else:
            result = OPERATORS[node.op_type](*args)
        values[node.outputs[0].name] = result
    return values[model.graph.outputs[0].name]
