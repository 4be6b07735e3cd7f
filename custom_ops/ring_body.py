"""A ring of cached frames in a function body: the row that a frame takes, and the rows that are filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx import defs

from temport.custom_ops import node as read
from temport.custom_ops.body_graph import BodyGraph
from temport.custom_ops.mask import MaskRule
from temport.custom_ops.op import Host


@dataclass(frozen=True)
class RingNode:
    """What of a node over caches `[batch, capacity, width]` its body is made for.

    attributes   every attribute of the node, by name
    row          QKV is `[batch, 3*width]`: the one frame has no axis of its own
    halves       the caches are float16, and QKV is not
    host         the model around it
    """

    attributes: dict[str, Any]
    capacity: int
    width: int
    row: bool
    halves: bool
    host: Host

    @classmethod
    def of(cls, node: ir.Node, schema: defs.OpSchema, host: Host) -> RingNode:
        """ValueError where the caches are not of a fixed size."""
        given = read.inputs(node, schema)
        _, capacity, width = read.shape(given["Keys"])
        if capacity is None or width is None:
            raise ValueError(f"{schema.name}: the caches must have a fixed number of rows and of columns.")
        qkv, keys = given["QKV"], given["Keys"]
        halves = keys.dtype == ir.DataType.FLOAT16 and qkv.dtype != keys.dtype
        return cls(read.attributes(node, schema), capacity, width, len(read.shape(qkv)) == 2, halves, host)


class RingBody:
    """Rows of caches `[B, capacity, ...]` for the frame of which `frames` `[B, 1]` others came before."""

    def __init__(self, graph: BodyGraph, capacity: int, frames: ir.Value) -> None:
        self.graph, self.capacity, self.frames = graph, capacity, frames
        self.slot = graph.op("Mod", frames, graph.integers(capacity))
        """Row of the newest frame, `[B, 1]`."""
        rows = graph.constant(np.arange(capacity), np.int64)
        self._newest = graph.unsqueeze(graph.op("Equal", rows, self.slot), 2)

    def parts(self, qkv: ir.Value) -> list[ir.Value]:
        """Packed query, key and value of one frame `[B, 1, 3*C]` or `[B, 3*C]` as three of `[B, 1, C]`."""
        rows = self.graph.reshape(qkv, 0, 3, -1)  # the one row is cut in three
        return [self.graph.slice(rows, 1, n, n + 1) for n in range(3)]

    def written(self, cache: ir.Value, newest: ir.Value, name: str) -> ir.Value:
        """The cache `[B, capacity, C]` with `newest` `[B, 1, C]` in its row, as the output `name`."""
        return self.graph.op("Where", self._newest, newest, cache, name=name)

    def written_halves(self, cache: ir.Value, newest: ir.Value, name: str) -> tuple[ir.Value, ir.Value]:
        """The same of a cache in float16, and a row that is rounded to it: the output `name`, its numbers in float32.

        The row is put in its place in float32, which every runtime can: around a `Where` of halves ONNX Runtime has
        casts of its own, and takes them away together with the one that rounds.
        """
        g, half, wide = self.graph, ir.DataType.FLOAT16.value, ir.DataType.FLOAT.value
        rounded = g.op("Cast", g.op("Cast", newest, to=half), to=wide)
        held = g.op("Where", self._newest, rounded, g.op("Cast", cache, to=wide))
        return g.op("Cast", held, to=half, name=name), held

    def filled_since(self, frames: ir.Value) -> ir.Value:
        """Which rows hold a frame where `frames` `[B, 1]` others came before the newest, bool `[B, capacity]`.

        Row n of the table is what n frames fill: none, the first, the first two, and so on to all of them.
        """
        g = self.graph
        before = g.op(
            "Min", frames, g.integers(self.capacity - 1)
        )  # first: one more than the most is the least
        count = g.op("Max", g.op("Add", before, g.integers(1)), g.integers(0))
        table = g.mask(MaskRule(causal=True), self.capacity + 1, self.capacity)
        return g.op("Gather", table, g.op("Squeeze", count, g.integers(1)), axis=0)
