"""The graph of sequences as a stream with a horizon sees it: attention over all earlier frames sees the last ones."""

from __future__ import annotations

import onnx_ir as ir

from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.attention import Attention
from temport.exporter.streaming.ages import attention_by_age, scoring
from temport.exporter.streaming.limit_masks import limit_masks
from temport.exporter.streaming.open_sizes import name_open_sizes
from temport.exporter.streaming.shapes import along_time, entries, extra

AT_END = -1
"""The offset of queries whose last is the newest key."""


def limited(model: ir.Model, horizon: int, declaration: Declaration) -> ir.Model:
    """The graph whose attention over all earlier frames sees the last `horizon` only, in place; what has a window of
    its own, or sees what has no place in time, stays as it is. Where k entries come with each frame, each of them sees
    the last `k * horizon` entries, its own included."""
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
        rows = entries(keys[1]) or 1
        window = horizon * rows + max(extra(keys[1], rows) or 0, 0)
        node.attributes["window"] = ir.AttrInt64("window", window)
    return model
