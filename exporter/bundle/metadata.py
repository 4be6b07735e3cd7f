"""What the model file says of itself: enough for a runtime to use it without any other file."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import onnx

from temport.exporter.bundle import strict_json
from temport.exporter.declare.declaration import Declaration

PREFIX = "temport."


def signature(declaration: Declaration, in_place: Collection[str] = ()) -> dict[str, Any]:
    """Inputs and outputs as JSON: name, dtype, shape (an integer, or name/min/opt/max of a dynamic axis).

    A step model also names its `states`: which output is which input of the next frame, and, `in_place`, where
    native kernels may have one buffer for both.
    """
    data = declaration.to_json()

    def plain(spec: dict[str, Any]) -> dict[str, Any]:
        shape = [
            axis["opt"] if isinstance(axis, dict) and axis["min"] == axis["max"] else axis
            for axis in spec["shape"]
        ]
        return {**spec, "shape": shape}

    sides: dict[str, Any] = {side: [plain(spec) for spec in data[side]] for side in ("inputs", "outputs")}
    if declaration.streaming:
        sides["states"] = [
            {"input": before, "output": after} | ({"in_place": True} if before in in_place else {})
            for before, after in declaration.states
        ]
    return sides


def recorded_signature(model: onnx.ModelProto) -> Any:
    """The signature that `write_metadata` wrote into the model, or None; ValueError where it is no JSON."""
    recorded = {p.key: p.value for p in model.metadata_props}
    text = recorded.get(PREFIX + "signature")
    return None if text is None else strict_json.parse(text.encode())
