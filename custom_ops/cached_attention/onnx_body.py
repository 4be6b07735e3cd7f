"""ONNX bodies of CachedAttention: the ring is written, then attention with the filled rows as its key mask.

dense       scores and weights as plain operators
attention   one ai.onnx::Attention node (opset 23 or newer)
"""

from __future__ import annotations

import numpy as np

from temport.custom_ops.body_graph import BodyGraph
from temport.custom_ops.cached_attention.attributes import OP_NAME, CachedAttentionAttributes
from temport.custom_ops.cached_attention.schema import SCHEMA
from temport.custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes
from temport.custom_ops.online_softmax_attention.onnx_body import AttentionBody
from temport.custom_ops.op import Body, Specialisation
from temport.custom_ops.ring_body import RingBody

FORMS = ("dense", "attention")


def body(at: Specialisation) -> Body:
    """The body for one specialisation, whose `key_length` is the number of rows of the caches."""
    if at.key_length is None:
        raise ValueError(f"{OP_NAME}: the caches must have a fixed number of rows.")
    g = BodyGraph(SCHEMA, at, FORMS)
    a = CachedAttentionAttributes.parse(at.attributes)
    frames = g.inputs["Frames"]
    ring = RingBody(g, at.key_length, frames)
    query, key, value = ring.parts(g.inputs["QKV"])
    next_keys = ring.written(g.inputs["Keys"], key, "NextKeys")
    next_values = ring.written(g.inputs["Values"], value, "NextValues")
    attention = AttentionBody(
        g,
        OnlineSoftmaxAttributes(a.num_heads),
        at,
        [query, next_keys, next_values],
        ring.filled_since(frames),
        float(np.float32(a.scale or 0)),
    )
    form = "attention" if at.form == "attention" else "dense"
    y = attention.attention() if form == "attention" else attention.dense()
    if at.query_rank == 2:
        y = g.reshape(y, 0, -1)
    return Body(g.function(y, next_keys, next_values, like=g.inputs["QKV"]), form, g.masks)
