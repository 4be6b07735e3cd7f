"""Keep an epsilon that the tracer's optimiser would take for zero.

onnxscript's rewrite of `x + 0` to `x` compares a scalar with an absolute tolerance of 1e-8, so the 1e-8 that
keeps a divisor away from 0 would vanish, and 0/0 would be NaN. The rewrite leaves anything but scalars alone:
an epsilon of shape [1] means the same and stays.
"""

from __future__ import annotations

import onnx_ir as ir

from temport.exporter.graph.standard_operator import is_standard

LARGEST = 1e-8
"""The optimiser's tolerance."""


def keep_small_addends(model: ir.Model) -> None:
    """Give every scalar constant that is added or subtracted, nonzero but at most 1e-8, the shape [1], in place."""
    for node in model.graph.all_nodes():
        if not is_standard(node, "Add", "Sub"):
            continue
        for index, value in enumerate(node.inputs):
            constant = ir.convenience.get_const_tensor(value) if value is not None else None
            other = node.inputs[1 - index]
            if constant is None or other is None or constant.size != 1 or len(constant.shape) > 0:
                continue
            scalar = float(constant.numpy())
            if scalar == 0 or abs(scalar) > LARGEST or other.shape is None or len(other.shape) == 0:
                continue
            row = ir.tensor(constant.numpy().reshape(1), dtype=constant.dtype)
            kept = ir.node("Constant", [], {"value": row})
            model.graph.insert_before(node, kept)
            node.replace_input_with(index, kept.outputs[0])
