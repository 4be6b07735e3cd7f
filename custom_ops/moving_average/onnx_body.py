"""MovingAverage as two depthwise `Conv`.

They have two axes, one of size 1, since runtimes are slow at depthwise convolutions over one.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import helper

from temport.custom_ops import node as read
from temport.custom_ops.moving_average.schema import SCHEMA
from temport.custom_ops.op import Body, Host
from temport.custom_ops.plain_body import plain_body


def specialise(node: ir.Node, host: Host) -> tuple[int, int, int]:
    """channels, taps and the opset: a Conv has its sizes as attributes of its own."""
    attributes = read.attributes(node, SCHEMA)
    return attributes["channels"], attributes["taps"], host.opset


def body(at: tuple[int, int, int]) -> Body:
    """ValueError for no channels or no taps."""
    channels, taps, opset = at
    if channels < 1 or taps < 1:
        raise ValueError(f"MovingAverage: there is no body for {channels} channels and {taps} taps.")

    def convolution(x: str, weight: str, y: str, apart: int) -> onnx.NodeProto:
        pads = [0, apart * (taps - 1), 0, 0]  # before the first frame
        return helper.make_node("Conv", [x, weight], [y], group=channels, dilations=[1, apart], pads=pads)

    nodes = [
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Unsqueeze", ["X", "one"], ["frames"]),
        helper.make_node("Transpose", ["frames"], ["by_channel"], perm=[0, 3, 1, 2]),
        convolution("by_channel", "Near", "recent", 1),
        convolution("recent", "Far", "average", taps),
        helper.make_node("Transpose", ["average"], ["by_frame"], perm=[0, 2, 3, 1]),
        helper.make_node("Squeeze", ["by_frame", "one"], ["Y"]),
    ]
    return plain_body(SCHEMA, opset, nodes)
