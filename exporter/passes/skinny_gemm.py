"""Dense layers over one row as `SkinnyGemm`: one frame of a stream, the last position of a pruned block."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from exporter.passes.initializers import initializer
from exporter.passes.projection import stand_in

FEWEST_WEIGHTS = 1 << 14
"""A smaller weight stays in the first-level cache, and its product is over before it matters how it is read."""


def skinny_gemm(model: ir.Model) -> bool:
    """Rewrite `model` in place; False where every dense layer has more rows. Run it after `flatten_rows`."""
    graph = model.graph
    found = [node for node in list(graph) if _is_skinny(node)]
    for node in found:
        x, weight, bias = [*node.inputs, None][:3]
        assert weight is not None and weight.const_value is not None
        if node.attributes.get_int("transB", 0):
            matrix = weight
        else:
            transposed = np.ascontiguousarray(weight.const_value.numpy().T)
            matrix = initializer(graph, f"{weight.name}/outputs_first", transposed)
        if bias is None:
            zeros = np.zeros(_outputs(node, weight.const_value), np.float32)
            bias = initializer(graph, f"no_bias/of_{zeros.size}", zeros)
        stand_in(graph, node, "SkinnyGemm", [x, matrix, bias], {})
    if found:
        common.RemoveUnusedNodesPass()(model)
    return bool(found)


def _is_skinny(node: ir.Node) -> bool:
    """A float32 `X W + B` with constant W and B, one row, and a weight whose reading takes time.

    From two rows on ONNX Runtime's own product is as fast.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Gemm", "MatMul"):
        return False
    x, weight, bias = [*node.inputs, None][:3]
    if x is None or weight is None or weight.const_value is None or x.shape is None:
        return False
    given = {name: attribute.value for name, attribute in node.attributes.items()}
    plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
    rows = x.shape[0] if len(x.shape) == 2 else None
    return (
        plain
        and x.const_value is None
        and weight.dtype == ir.DataType.FLOAT
        and len(weight.const_value.shape) == 2
        and weight.const_value.size >= FEWEST_WEIGHTS
        and rows == 1
        and (
            bias is None
            or (
                bias.const_value is not None
                and tuple(bias.const_value.shape) == (_outputs(node, weight.const_value),)
            )
        )
    )


def _outputs(node: ir.Node, weight: ir.TensorProtocol) -> int:
    """How many outputs the layer has."""
    return int(weight.numpy().shape[0 if node.attributes.get_int("transB", 0) else 1])
