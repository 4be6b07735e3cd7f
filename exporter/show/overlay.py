"""The model once more with what is known of its nodes written on them, for viewers such as Netron."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from temport.exporter.bundle.directory import Bundle
from temport.exporter.errors import UserError
from temport.exporter.show.nodes import Node

PREFIX = "temport."
FIELDS = ("flops", "weights", "moved", "microseconds", "error", "allowed")


def overlay(bundle: Bundle, nodes: Sequence[Node]) -> onnx.ModelProto:
    """A copy whose nodes carry the numbers in `metadata_props`, such as `temport.flops`, and in words in `doc_string`.

    It computes the same, but it is a picture: the bundle's own model is the one to run.
    """
    model = onnx.load(bundle.model_path)
    for proto, node in zip(model.graph.node, nodes, strict=True):
        for name in FIELDS:
            value = getattr(node, name)
            if value is not None:
                text = f"{value:.6g}" if isinstance(value, float) else str(value)
                proto.metadata_props.add(key=PREFIX + name, value=text)
        proto.doc_string = "; ".join(part for part in (proto.doc_string, in_words(node)) if part)
    return model


def write_overlay(bundle: Bundle, nodes: Sequence[Node], path: Path) -> None:
    """UserError where that would be inside the bundle."""
    check_outside(bundle, path)
    onnx.save(overlay(bundle, nodes), path)


def check_outside(bundle: Bundle, path: Path) -> None:
    inside = bundle.path.resolve()
    if inside == path.resolve() or inside in path.resolve().parents:
        raise UserError(f"{path} is inside the bundle, which stays as it is; choose another --out")


def in_words(node: Node) -> str:
    """As `shape 60 x 256; 8.8 MFLOP; ...`."""
    parts = [
        node.shape and f"shape {node.shape}",
        node.flops and f"{node.flops / 1e6:.4g} MFLOP",
        node.weights and f"{node.weights} bytes of weights",
        node.moved and f"{node.moved} bytes read and written",
        node.microseconds is not None and f"{node.microseconds:.3g} us",
        node.share is not None
        and f"error {node.error:.3g}, {100 * node.share:.0f} % of what rounding explains",
    ]
    return "; ".join(str(part) for part in parts if part)
