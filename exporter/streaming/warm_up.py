"""How long a stream remembers: the frames after which it does not matter where it began."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from temport.custom_ops.domain import DOMAIN
from temport.exporter.declare.declaration import FRAMES
from temport.exporter.streaming.step import State

NEVER = None
"""What carries a number through all frames, as a sum or a recurrence does, remembers the first for ever."""
RING_OP, RING_COUNTER = "CachedAttention", 3
"""Which rows of its rings are filled, their states say already."""


def warm_up(nodes: Iterable[ir.Node], states: Sequence[State], outputs: Iterable[ir.Value]) -> int | None:
    """The least number n of frames such that frame t of every output depends on the frames t-n to t alone.

    From frame n on a stream that began late gives what one that never stopped gives. `NEVER` where there is no such
    number: the counter of frames settles a comparison with a constant, and the last row of a table, and nothing else.
    """
    kept = {state.before: state for state in states}
    counter = next((state.before for state in states if state.name == FRAMES), None)
    behind: dict[ir.Value, int] = {} if counter is None else {counter: 0}
    """Values that are the counter less a number."""
    found: dict[ir.Value, int | None] = {}

    def of(value: ir.Value | None) -> int | None:
        if value is None:
            return 0
        state = kept.get(value)
        if value in behind:
            return NEVER
        if state is None:
            return found.get(value, 0)
        of_rows = NEVER if state.of is None else of(state.of)
        return NEVER if of_rows is NEVER else state.frames + of_rows

    for node in nodes:
        first, *_ = [*node.inputs, None]
        if node.op_type == "Sub" and first in behind and first is not None:
            behind[node.outputs[0]] = behind[first] + int(_numbers(node.inputs[1])[0])
            continue
        if (
            node.op_type == "Max"
            and first in behind
            and first is not None
            and _numbers(node.inputs[1]) == [0]
        ):
            behind[node.outputs[0]] = behind[first]  # so it is from where it settles anything on
            continue
        if node.op_type in ("Less", "Min") and first in behind and first is not None:
            found[node.outputs[0]] = behind[first] + max(_numbers(node.inputs[1]))
            continue
        own = node.domain == DOMAIN and node.op_type == RING_OP
        given = [of(v) for i, v in enumerate(node.inputs) if not (own and i == RING_COUNTER)]
        longest = NEVER if NEVER in given else max((n for n in given if n is not None), default=0)
        found |= dict.fromkeys(node.outputs, longest)
    ends = [of(value) for value in outputs]
    return NEVER if NEVER in ends else max((n for n in ends if n is not None), default=0)


def _numbers(value: ir.Value | None) -> list[int]:
    assert value is not None and value.const_value is not None
    return [int(n) for n in value.const_value.numpy().reshape(-1)]
