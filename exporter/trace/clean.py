"""Remove what the tracer leaves behind: doc strings, stack traces with paths, unused opsets.

After this two exports of one declaration are byte-identical wherever they are made. Of what the tracer says of a node
the name of its layer stays.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.graph.layers import keep_layer, layer_of


def clean(model: ir.Model) -> None:
    """Clean `model` in place."""
    layers = {node: layer_of(node) for node in model.graph.all_nodes()}
    for step in (
        common.ClearMetadataAndDocStringPass(),
        common.RemoveUnusedOpsetsPass(),
        common.TopologicalSortPass(),
    ):
        step(model)
    for node in model.graph.all_nodes():
        keep_layer(node, layers.get(node, ""))
