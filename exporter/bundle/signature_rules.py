"""What the schema cannot say of a signature, and of a stream: how its parts hang together.

The same rules stand in deploy/cpp/src/manifest.cpp and deploy/js/lib/signature.mjs, and one table of bad manifests
holds all three to them.
"""

from __future__ import annotations

import math
from typing import Any

from temport.exporter.declare.declaration import BEFORE, FRAMES
from temport.exporter.declare.sizes import size

COUNTER = BEFORE + FRAMES
"""The state that says how many frames a stream has had: int64 `[batch, 1]`."""

MOST_ELEMENTS = 1 << 40


def check_signature(signature: dict[str, Any]) -> None:
    """ValueError, in a few words, for a signature that has the schema's form and makes no sense."""
    inputs, outputs = signature["inputs"], signature["outputs"]
    names: set[str] = set()
    axes: dict[str, dict[str, Any]] = {}
    for spec in (*inputs, *outputs):
        if spec["name"] in names:
            raise ValueError(f"its signature names {spec['name']} twice")
        names.add(spec["name"])
        for axis in _named(spec):
            if not axis["min"] <= axis["opt"] <= axis["max"]:
                raise ValueError(f"its signature gives {spec['name']} an axis that is not min <= opt <= max")
            if axes.setdefault(axis["name"], axis) != axis:
                raise ValueError(f"its signature gives the axis {axis['name']} two different ranges")
        if (
            math.prod(axis["max"] if isinstance(axis, dict) else axis for axis in spec["shape"])
            > MOST_ELEMENTS
        ):
            raise ValueError(f"its signature makes {spec['name']} larger than any memory")
    sizes = {axis["name"]: axis["opt"] for spec in inputs for axis in _named(spec)}
    for spec in outputs:
        for axis in _named(spec):
            if _size(axis["name"], sizes) != axis["opt"]:
                raise ValueError(
                    f"its signature has the output axis {axis['name']}, which is no expression of input axes with the "
                    f"size {axis['opt']}"
                )
    if "states" in signature:
        _check_states(signature["states"], inputs, outputs)


def check_stream(entry: dict[str, Any], signature: dict[str, Any]) -> None:
    """ValueError, in a few words, where the manifest's `stream` does not fit its signature."""
    if "states" not in signature:
        raise ValueError("its stream is that of a model without states")
    carried = {state["input"] for state in signature["states"]}
    frames = {spec["name"] for spec in signature["inputs"]} - carried
    for name in entry["static"]:
        if name not in frames:
            raise ValueError(f"its stream has the static input {name}, which is no input beside the states")
        frames.remove(name)
    if not frames:
        raise ValueError("its stream has no input that is a frame")
    if entry.get("frames") and not any(
        (spec["name"], spec["dtype"], spec["shape"][1:]) == (COUNTER, "int64", [1])
        for spec in signature["inputs"]
        if spec["name"] in carried
    ):
        raise ValueError(f"its stream ends, and it has no state {COUNTER} that counts to there")


def _check_states(
    states: list[dict[str, Any]], inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> None:
    before, after = ({spec["name"]: spec for spec in side} for side in (inputs, outputs))
    seen: set[str] = set()
    for state in states:
        old, new = before.get(state["input"]), after.get(state["output"])
        if old is None or new is None:
            raise ValueError("its signature has a state that is not an input and an output")
        if {old["name"], new["name"]} & seen:
            raise ValueError(f"its signature carries {old['name']} or {new['name']} twice")
        seen |= {old["name"], new["name"]}
        if old["dtype"] != new["dtype"] or old["shape"] != new["shape"] or not old["shape"]:
            raise ValueError(f"its signature gives {old['name']} and {new['name']} different types or shapes")
    if len(states) in (len(inputs), len(outputs)):
        raise ValueError("its signature has states and no frame or no output beside them")
    first = before[states[0]["input"]]["shape"][0]
    if isinstance(first, dict) and first["min"] < 1:
        raise ValueError("its signature has states of no stream")
    for spec in (*inputs, *outputs):
        if not spec["shape"] or spec["shape"][0] != first:
            raise ValueError(f"its signature gives {spec['name']} another first axis than its states have")


def _size(expression: str, sizes: dict[str, int]) -> int | None:
    try:
        return size(expression, sizes)
    except (ValueError, LookupError, ArithmeticError, RecursionError):
        return None


def _named(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [axis for axis in spec["shape"] if isinstance(axis, dict)]
