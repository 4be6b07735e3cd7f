"""What time is to a value of a graph of sequences, and what stands for the value in the graph of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True)
class Late:
    """Why a value comes late: a node that needs frames after the one that it gives."""

    node: ir.Node
    needs: str


@dataclass(frozen=True)
class Fixed:
    """It has no time: a weight, a static input, and what is made of such. It stands for itself."""


@dataclass(frozen=True)
class OfSizes:
    """It depends on the sizes of the inputs alone: lengths, positions, tables by position.

    Nothing stands for it; who needs it asks `positions` or `shapes` for what it means in one frame.
    """


@dataclass(frozen=True)
class Timed:
    """It has an axis of frames. In the step graph, at frame t, that axis has size 1 and holds entry `t - delay`.

    Several entries may come with each frame, as tokens of three kinds in turn: then the axis has their number there,
    and what is said of an entry here is meant of all of a frame.

    Before entry 0 comes, what is held means nothing: a state that must not see it is kept as it is (`states.carry`).
    A negative delay says that entries 0 to -delay-1 are zeros in front of the frames: frame t is entry `t - delay`.

    axis    in the sequence graph and in the step graph
    merged  the axis holds the frames of all batch entries; in the step graph the batch is left of it
    rows    entries of each frame, side by side in their order
    lead    what stands for those entries where they are no zeros: a row for each, or one where all are alike
    newest  every entry depends on the last frame, or on all of them, so only the last entry means anything
    late    the node that makes it later than the frames that come
    """

    axis: int
    delay: int = 0
    merged: bool = False
    newest: bool = False
    late: Late | None = None
    lead: ir.Value | None = None
    rows: int = 1


@dataclass(frozen=True)
class Last:
    """It is of the last frame, and of those before it: what the model gives for the frames so far.

    begins  how many frames come before there is one
    kept    it is of the first frames alone, so it stays as it is
    late    the node that makes it of all frames, so that what it joins cannot be given frame by frame
    """

    begins: int = 0
    kept: bool = False
    late: Late | None = None


@dataclass(frozen=True)
class Pairs:
    """It has an axis of frames that look and one of those that they see. In the step graph the first has size 1 and
    holds entry `t - delay`, the second the last `kept` entries before it and its own, oldest first.

    axis, keys  the frames that look, and those that are seen
    masked      what stands for entries that have not come is 0, so that a sum over `keys` is one over frames
    late        the node that makes it later than the frames that come
    """

    axis: int
    keys: int
    kept: int
    delay: int = 0
    masked: bool = False
    late: Late | None = None


Status = Fixed | OfSizes | Timed | Last | Pairs
