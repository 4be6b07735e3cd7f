"""What a model file says of itself is written into it; `metadata` reads it, and needs no graph for that."""

from __future__ import annotations

import json

import onnx_ir as ir

from temport.exporter.bundle.metadata import PREFIX, signature
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.in_place import in_place_states


def write_metadata(model: ir.Model, declaration: Declaration, weights: str, version: str) -> None:
    """Write the model's own description into `metadata_props`."""
    model.producer_name, model.producer_version = "temport", version
    model.doc_string = None
    model.metadata_props.clear()
    given = signature(declaration, in_place_states(model, declaration))
    entries = {
        "architecture": declaration.arch,
        "options": json.dumps(declaration.options, sort_keys=True),
        "signature": json.dumps(given, sort_keys=True),
        "window": str(declaration.window),
        "semantics": str(declaration.semantics),
        "weights": weights,
        "version": version,
    }
    if declaration.streaming:
        entries["horizon"] = str(declaration.horizon)
    model.metadata_props.update({PREFIX + key: value for key, value in entries.items()})
