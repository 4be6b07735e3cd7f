"""ONNX bodies of CachedAttention: the ring is written, then attention with the filled rows as its key mask.

dense       scores and weights as plain operators
attention   one ai.onnx::Attention node (opset 23 or newer)
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from temport.custom_ops.body_graph import BodyGraph
from temport.custom_ops.cached_attention.attributes import CachedAttentionAttributes
from temport.custom_ops.cached_attention.schema import SCHEMA
from temport.custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes
from temport.custom_ops.online_softmax_attention.onnx_body import AttentionBody, Lengths
from temport.custom_ops.op import Body, Host
from temport.custom_ops.ring_body import RingBody, RingNode

FORMS = ("dense", "attention")


def specialise(node: ir.Node, host: Host) -> RingNode:
    """Every attribute, and the caches."""
    return RingNode.of(node, SCHEMA, host)


def body(at: RingNode) -> Body:
    g = BodyGraph(SCHEMA, at.host, FORMS)
    a = CachedAttentionAttributes.parse(at.attributes)
    frames = g.inputs["Frames"]
    ring = RingBody(g, at.capacity, frames)
    query, key, value = ring.parts(g.inputs["QKV"])
    rows = (("Keys", key), ("Values", value))
    if at.halves:
        after, held = zip(
            *(ring.written_halves(g.inputs[name], row, f"Next{name}") for name, row in rows), strict=True
        )
    else:
        after = held = tuple(ring.written(g.inputs[name], row, f"Next{name}") for name, row in rows)
    attention = AttentionBody(
        g,
        OnlineSoftmaxAttributes(a.num_heads),
        [query, *held],
        ring.filled_since(frames),
        float(np.float32(a.scale or 0)),
        Lengths(1, at.capacity),
    )
    y = attention.attention() if at.host.form == "attention" else attention.dense()
    if at.row:
        y = g.reshape(y, 0, -1)
    return Body(g.function(y, *after, like=g.inputs["QKV"]), g.masks)
