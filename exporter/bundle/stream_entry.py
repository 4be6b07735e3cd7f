"""What the manifest says of a stream: how it begins, what it takes, how late it is."""

from __future__ import annotations

from typing import Any

from temport.exporter.declare.declaration import Declaration

ZEROS = "zeros"
"""How a stream starts anew: every state is zeros."""


def stream_entry(declaration: Declaration) -> dict[str, Any] | None:
    """The key `stream` of the manifest; None of a model that takes whole sequences.

    reset    what every state is before the first frame
    static   inputs that are no frames: they may change, and act from that frame on
    delay    frames by which an output comes later than its frame
    rate     frames per second, where it was said
    warm_up  frames after which it does not matter where the stream began, null where it always does; of streams that
             were made of a graph
    window   frames that every output is computed of, those before the first being zeros, where it is not all so far
    frames   of a whole stream, where it ends: a reader refuses the frame that comes after them
    """
    if not declaration.streaming:
        return None
    told = declaration.sequences
    static = [] if told is None else [s.name for s in told.inputs if "seq" not in {a.name for a in s.axes()}]
    entry: dict[str, Any] = {"reset": ZEROS, "static": static, "delay": 0 if told is None else told.delay}
    if declaration.rate:
        entry["rate"] = declaration.rate
    if told is not None:
        entry["warm_up"] = told.warm_up
        if told.window:
            entry["window"] = told.window
        if told.frames:
            entry["frames"] = told.frames
    return entry
