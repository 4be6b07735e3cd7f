"""Where the states of the cached ops may lie, and that there may be none: a batch without streams."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import test_native_cached_attention as softmax
import test_native_cached_block_linear as linear
from native_sessions import options
from one_step import model, run

CACHES, SUMS = ("Keys", "Values"), ("Earlier", "Block", "Lost")
OVERLAPS = [(op, after, before) for op in (softmax, linear) for after in CACHES for before in CACHES]
OVERLAPS += [(linear, after, before) for after in SUMS for before in SUMS]


def in_one_memory(op: ModuleType, first: str, second: str, later: int) -> None:
    """A frame with tensor `second` (an output) `later` floats behind the beginning of `first` (either)."""
    case = op.Case(5, 16, frames=(7, 2))
    inputs = case.inputs()
    session = onnxruntime.InferenceSession(
        model(op.OP, inputs, op.OUTPUTS, case.attributes).SerializeToString(), options()
    )
    x = inputs[second.removeprefix("Next")]
    memory = np.zeros(x.size + later, np.float32)
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_cpu_input(name, memory[: x.size].reshape(x.shape) if name == first else value)
    for name in op.OUTPUTS:
        binding.bind_output(name)
    for name, at in {first: 0, second: later}.items():
        if name in op.OUTPUTS:
            binding.bind_output(name, "cpu", 0, np.float32, x.shape, memory[at:].ctypes.data)
    session.run_with_iobinding(binding)


@pytest.mark.parametrize("later", [0, 1])
@pytest.mark.parametrize(("op", "after", "before"), OVERLAPS)
def test_a_state_over_what_is_still_read_is_refused(
    op: ModuleType, after: str, before: str, later: int
) -> None:
    if after in CACHES and after == before and later == 0:
        return in_one_memory(op, before, f"Next{after}", later)
    other = f" or where {after} lies" if after in CACHES else ""
    sentence = f"Next{after} overlaps {before}; it must lie in other memory{other}"
    with pytest.raises(Exception, match=rf"{sentence}\."):
        in_one_memory(op, before, f"Next{after}", later)


@pytest.mark.parametrize(("op", "one", "other"), [o for o in OVERLAPS if o[1] != o[2]])
def test_two_states_in_one_memory_are_refused(op: ModuleType, one: str, other: str) -> None:
    with pytest.raises(Exception, match=r"Next\w+ overlaps Next\w+; it must lie in other memory"):
        in_one_memory(op, f"Next{one}", f"Next{other}", 3)


@pytest.mark.parametrize("op", [softmax, linear])
def test_a_batch_may_be_empty(op: ModuleType) -> None:
    case = op.Case(5, 3, frames=())
    inputs = case.inputs()
    after = run(op.OP, inputs, op.OUTPUTS, case.attributes)
    assert after.pop("Y").shape == (0, 1, 6)
    assert all(x.shape == inputs[name.removeprefix("Next")].shape for name, x in after.items())
