"""Compare the built engine with what was asked: masks baked, attention fused, precision kept.

This is the only proof there is without a GPU, so a difference fails the build.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from temport.exporter.compilers.contract import CompileError
from temport.exporter.compilers.layers import EngineLayer, LayerTensor
from temport.exporter.compilers.lower_attention import EXCLUDED, LoweredAttention, MaskConstant

_STORED = {
    ir.DataType.FLOAT16: "Half",
    ir.DataType.INT8: "Int8",
    ir.DataType.INT4: "Int4",
    ir.DataType.FLOAT8E4M3FN: "FP8",
}
"""Types that weights are stored in, as a layer table calls them."""
_WIDEN = ("Cast", "DequantizeLinear")


def check_mask_constants(model: ir.Model, masks: Sequence[MaskConstant]) -> list[dict[str, Any]]:
    """Re-derive each mask of the lowered graph from its rule, compare bit for bit, and describe it."""
    described = []
    for mask in masks:
        tensor = model.graph.initializers[mask.name].const_value
        if tensor is None:
            raise CompileError(f"mask {mask.name} is not a constant of the lowered model")
        kind = ir.DataType[mask.element_type]
        array = tensor.numpy()
        allowed = mask.rule.array(mask.query_length, mask.key_length)
        truth = allowed if kind == ir.DataType.BOOL else np.where(allowed, 0.0, EXCLUDED[kind])
        if not np.array_equal(array.astype(np.float64), truth.astype(np.float64)):
            raise CompileError(f"mask {mask.name} differs from {mask.rule}")
        described.append(
            {
                "name": mask.name,
                "rule": {
                    "causal": mask.rule.causal,
                    "window": mask.rule.window,
                    "query_offset": mask.rule.query_offset,
                },
                "shape": [mask.query_length, mask.key_length],
                "element_type": mask.element_type,
                "bytes": array.nbytes,
                "allowed": float(allowed.mean()),
                "sha256": hashlib.sha256(array.tobytes()).hexdigest(),
            }
        )
    return described


def check_layers(
    layers: Sequence[EngineLayer], attention: Sequence[LoweredAttention]
) -> list[dict[str, Any]]:
    """What each attention node became; raises `CompileError` where it is not what was required."""
    if not layers:
        raise CompileError("the builder printed no layer table, so nothing can be said of the engine")
    for layer in layers:
        if layer.makes_positions:
            raise CompileError(
                f"engine layer {layer.name} makes positions at run time, for {', '.join(layer.onnx_nodes)}: "
                "a mask or a position table is computed in the engine instead of being a constant"
            )
    return [_outcome(entry, layers) for entry in attention]


def _outcome(entry: LoweredAttention, layers: Sequence[EngineLayer]) -> dict[str, Any]:
    made = [layer for layer in layers if entry.node in layer.onnx_nodes]
    kernels = [layer for layer in made if layer.fused_attention]
    plugins = [layer for layer in made if layer.plugin]
    if entry.form == "plugin" and not plugins:
        raise CompileError(f"{entry.node} was given to the plugin and the engine has no plugin layer for it")
    if entry.form == "fused" and not kernels:
        names = ", ".join(layer.name for layer in made) or "no layer of that name"
        raise CompileError(
            f"{entry.node} ({entry.element_type.lower()}, head dim {entry.head_dim}) should be one fused "
            f"attention kernel and became {names}"
        )
    outcome = "plugin" if plugins else "fused" if kernels else "decomposed"
    constants = [
        {"name": c.name, "shape": list(c.shape), "bytes": c.bytes}
        for layer in kernels or made
        for c in layer.constants
        if len([d for d in c.shape if d > 1]) >= 2
    ]
    return {
        "node": entry.node,
        "element_type": entry.element_type,
        "heads": entry.heads,
        "kv_heads": entry.kv_heads,
        "head_dim": entry.head_dim,
        "value_dim": entry.value_dim,
        "mask": entry.mask,
        "key_mask": entry.key_mask,
        "outcome": outcome,
        "why": entry.why if outcome == "decomposed" else "",
        "layers": [layer.name for layer in made],
        "mask_constants": constants,
    }


def precision_table(layers: Sequence[EngineLayer]) -> dict[str, int]:
    """Number of layers that read or write each element type, without shape arithmetic."""
    return dict(Counter(kind for layer in layers for kind in layer.types if layer.type != "shape_call"))


def constants_table(layers: Sequence[EngineLayer]) -> dict[str, int]:
    """Bytes of the constants that layers read, by element type."""
    found: Counter[str] = Counter()
    for constant in _constants(layers):
        found[constant.type] += constant.bytes
    return dict(found)


def widened_weights(model: ir.Model, layers: Sequence[EngineLayer]) -> Iterator[str]:
    """Types of the weights of `model` that the engine holds in more bits: the builder computed them, once for all.

    Numbers are counted: an engine joins, turns and renames what it holds.
    """
    held: Counter[str] = Counter()
    for constant in _constants(layers):
        held[constant.type] += constant.numbers
    stored: Counter[ir.DataType] = Counter()
    for value in model.graph.initializers.values():
        widened = any(n.op_type in _WIDEN and place == 0 and not _is_scale(n) for n, place in value.uses())
        if widened and value.dtype in _STORED and value.const_value is not None:
            stored[value.dtype] += value.const_value.size
    for kind, numbers in stored.items():
        if (there := held[_STORED[kind]]) < numbers:
            yield (
                f"of {numbers} numbers that the model stores as {kind.name.lower()} the engine holds {numbers - there} "
                "in a wider type, so it is not smaller for them; what it computes is the same"
            )


def _is_scale(node: ir.Node) -> bool:
    """Whether what a node gives are scales, which an engine joins with what they belong to."""
    return all(n.op_type == "DequantizeLinear" and place == 1 for n, place in node.outputs[0].uses())


def _constants(layers: Sequence[EngineLayer]) -> set[LayerTensor]:
    """Each once, however many layers read it."""
    return {constant for layer in layers for constant in layer.constants}
