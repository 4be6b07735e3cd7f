"""Which layer of the user's module a node was traced from: a name such as `layers.0.attention`."""

from __future__ import annotations

import ast

import onnx_ir as ir

_KEY = "temport.layer"
_SCOPES = "pkg.torch.onnx.name_scopes"


def layer_of(node: ir.Node) -> str:
    """The name of the layer; empty where nothing says it: of what a pass made, or of the module itself."""
    if _KEY in node.metadata_props:
        return node.metadata_props[_KEY]
    try:
        *scopes, _ = ast.literal_eval(node.metadata_props.get(_SCOPES, "['']"))
    except (ValueError, SyntaxError):  # anybody's file
        return ""
    return str(scopes[-1]) if scopes else ""


def keep_layer(node: ir.Node, layer: str) -> None:
    if layer:
        node.metadata_props[_KEY] = layer
