"""The graph of sequences as a stream with a horizon sees it: attention over all earlier frames sees the last ones."""

from __future__ import annotations

import onnx_ir as ir

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.attention import Attention
from temport.exporter.streaming.ages import attention_by_age, scoring
from temport.exporter.streaming.limit_masks import limit_masks
from temport.exporter.streaming.open_sizes import name_open_sizes
from temport.exporter.streaming.shapes import along_time, extra

AT_END = -1
"""The offset of queries whose last is the newest key."""


def limited(model: ir.Model, horizon: int, declaration: Declaration) -> ir.Model:
    """The graph whose attention over all earlier frames sees the last `horizon` only, in place; what has a window of
    its own, or sees what has no place in time, stays as it is."""
    name_open_sizes(model, declaration)
    aged, _ = attention_by_age(model, declaration)
    apart = {node for plain, ages in aged.values() if ages.window for node in scoring(plain) or ()}
    limit_masks(model, horizon, declaration, apart)
    for node in model.graph:
        seen = Attention.of(node)
        if seen is None or seen.rule.window:
            continue
        keys = (seen.q if seen.k is None else seen.k).shape
        if keys is None or not along_time(keys[1]):
            continue
        if not seen.rule.causal:  # of the last frame alone, wherever among the keys it was said to stand
            seen.place_queries(AT_END)
        node.attributes["causal"] = ir.AttrInt64("causal", 1)
        node.attributes["window"] = ir.AttrInt64("window", horizon + max(extra(keys[1]) or 0, 0))
    return model
