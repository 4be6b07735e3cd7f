"""Attention over the cache of a stream."""

from __future__ import annotations

import math

from temport.exporter.native.plan import Call, Form, NoForm


def cached_attention(call: Call) -> None:
    qkv, frames = call.input(0), call.input(3)
    keys, values = call.node.inputs[1], call.node.inputs[2]
    assert keys is not None and values is not None
    batch, slots, width = call.plan.shape(keys)
    heads = call.attribute("num_heads")
    if not (slots.fixed and width.fixed):
        raise NoForm("the size of its cache is open")
    dim = width.most // heads
    ring = f"PanelRing<{heads}, {dim}, {slots}>"
    panel = call.plan.isa.panel
    key_floats = heads * -(-slots.most // panel) * dim * panel
    value_floats = heads * -(-dim // panel) * slots.most * panel
    place = [
        call.plan.keep(
            before,
            after,
            entry=floats * 4,
            load=f"{ring}::load_{what}s(row, 1, place);",
            store=f"{ring}::store_{what}s(place, 1, row);",
        )
        for before, after, what, floats in (
            (keys, call.node.outputs[1], "key", key_floats),
            (values, call.node.outputs[2], "value", value_floats),
        )
    ]
    scale = call.attribute("scale", 1 / math.sqrt(dim))
    y = call.output(0)
    call.line(
        f"{ring}{{at<float>(memory, {place[0]}), at<float>(memory, {place[1]})}}.step("
        f"{batch}, {qkv.code}, {frames.code}, {float(scale)!r}f, {y.code});"
    )


FORMS: dict[str, Form] = {"CachedAttention": cached_attention}
