"""What cannot run frame by frame is said in one sentence, by the layer of the user's module."""

from __future__ import annotations

import onnx_ir as ir

from temport.exporter.errors import UserError
from temport.exporter.graph.layers import layer_of

_WRAPPED = "model"
"""The name of the user's module inside what is traced."""


WINDOW = ", but --window N computes anew over the last N frames what cannot be kept"


class NotCausal(UserError):
    """A node needs what a stream does not have.

    needs  the rest of a sentence that begins with the layer: `needs later frames`
    delay  the frames that the outputs would have to wait for to make it causal; None: no number of frames does
    """

    def __init__(self, node: ir.Node, needs: str, delay: int | None = None) -> None:
        way = (
            f"no delay makes it causal{WINDOW}"
            if delay is None
            else f"a delay of {delay} frame{'s' * (delay != 1)} would make it causal"
        )
        super().__init__(f"the model cannot run frame by frame: {described(node)} {needs}; {way}")
        self.node, self.needs, self.delay = node, needs, delay


def layer_name(node: ir.Node) -> str:
    """As the user's module calls it: `encoder.conv`; empty where the node is of the module itself, or of no layer."""
    first, *rest = layer_of(node).split(".")
    return ".".join(rest if first == _WRAPPED else [first, *rest])


def described(node: ir.Node) -> str:
    layer = layer_name(node)
    return (
        f"layer {layer} ({node.op_type})" if layer else f"{node.op_type} {node.name or node.outputs[0].name}"
    )
