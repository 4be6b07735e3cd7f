"""What of a node over whole sequences, Q with K and V or packed, its body is made for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir
from onnx import defs

from temport.custom_ops import node as read
from temport.custom_ops.op import Host

LENGTH = 1
"""Axis of queries, keys and values."""


@dataclass(frozen=True)
class SequenceNode:
    """attributes      every attribute of the node, by name
    query_length    T where it is fixed, None where it is dynamic
    key_length      S likewise; T where Q is packed
    packed          Q carries queries, keys and values, K and V are absent
    key_mask        the node has a key_mask
    host            the model around it
    """

    attributes: dict[str, Any]
    query_length: int | None
    key_length: int | None
    packed: bool
    key_mask: bool
    host: Host

    @classmethod
    def of(cls, node: ir.Node, schema: defs.OpSchema, host: Host) -> SequenceNode:
        given = read.inputs(node, schema)
        return cls(
            attributes=read.attributes(node, schema),
            query_length=read.shape(given["Q"])[LENGTH],
            key_length=read.shape(given.get("K", given["Q"]))[LENGTH],
            packed="K" not in given,
            key_mask="key_mask" in given,
            host=host,
        )

    def joined(self, other: SequenceNode) -> SequenceNode | None:
        """What serves the nodes of both, open where their lengths differ; None where more than lengths differs."""
        if replace(self, query_length=None, key_length=None) != replace(
            other, query_length=None, key_length=None, host=self.host
        ):
            return None
        lengths = [(at.query_length, at.key_length, at.host.max_length) for at in (self, other)]
        longest = max(length for row in lengths for length in row if length is not None)
        return replace(
            self,
            query_length=self.query_length if self.query_length == other.query_length else None,
            key_length=self.key_length if self.key_length == other.key_length else None,
            host=replace(self.host, max_length=longest),
        )
