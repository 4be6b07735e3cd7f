"""What the cached ops share: frames as they are given, and where their states may lie."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import onnxruntime
import pytest
import test_native_cached_attention as softmax
import test_native_cached_block_linear as linear
from native_sessions import options
from one_step import IN_PLACE, model, run

both = pytest.mark.parametrize("op", [softmax, linear])
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


@both
def test_a_batch_may_be_empty(op: ModuleType) -> None:
    case = op.Case(5, 3, frames=())
    inputs = case.inputs()
    after = run(op.OP, inputs, op.OUTPUTS, case.attributes)
    assert after.pop("Y").shape == (0, 1, 6)
    assert all(x.shape == inputs[name.removeprefix("Next")].shape for name, x in after.items())


@both
def test_a_frame_may_be_a_row(op: ModuleType) -> None:
    """`[batch, 3*C]` is the same as `[batch, 1, 3*C]`."""
    case = op.Case(60, 33, H=3, frames=(0, 20, 58, -1, 10**12))
    inputs = case.inputs()
    whole = run(op.OP, inputs, op.OUTPUTS, case.attributes)
    rows = run(op.OP, {**inputs, "QKV": inputs["QKV"][:, 0]}, op.OUTPUTS, case.attributes)
    np.testing.assert_array_equal(rows.pop("Y"), whole.pop("Y")[:, 0])
    for name, expected in whole.items():
        np.testing.assert_array_equal(rows[name], expected)


@both
@pytest.mark.parametrize(
    ("N", "D", "frames", "threads"),
    [
        (60, 33, (0,), 1),
        (60, 33, (59,), 1),
        (60, 33, (60, 3, 0, 10**12, -7), 1),
        (300, 256, (299, 12, 1000, 5, 600), 2),  # enough work for two threads
    ],
)
def test_held_in_place_nothing_changes(
    op: ModuleType, N: int, D: int, frames: tuple[int, ...], threads: int
) -> None:
    """Bit for bit, also when the same frame is repeated on the caches that it has written already."""
    case = op.Case(N, D, H=3, frames=frames)
    inputs = case.inputs()
    copied = run(op.OP, inputs, op.OUTPUTS, case.attributes)
    held = run(op.OP, inputs, op.OUTPUTS, case.attributes, threads=threads, in_place=IN_PLACE)
    again = {**inputs, "Keys": held["NextKeys"], "Values": held["NextValues"]}
    repeated = run(op.OP, again, op.OUTPUTS, case.attributes, threads=threads, in_place=IN_PLACE)
    for name in op.OUTPUTS:
        np.testing.assert_array_equal(held[name], copied[name])
        np.testing.assert_array_equal(repeated[name], copied[name])


@both
@pytest.mark.parametrize("cache", CACHES)
def test_only_one_cache_may_be_held_in_place(op: ModuleType, cache: str) -> None:
    case = op.Case(5, 16, frames=(7, 2))
    inputs = case.inputs()
    copied = run(op.OP, inputs, op.OUTPUTS, case.attributes)
    held = run(op.OP, inputs, op.OUTPUTS, case.attributes, in_place={f"Next{cache}": cache})
    for name in op.OUTPUTS:
        np.testing.assert_array_equal(held[name], copied[name])


@both
def test_a_missing_input_is_named(op: ModuleType) -> None:
    case = op.Case(5, 3)
    inputs = case.inputs()
    without_frames = {name: x for name, x in inputs.items() if name != "Frames"}
    with pytest.raises(Exception, match=r"Frames is missing; it must be given with shape \[1, 1\]"):
        run(op.OP, without_frames, op.OUTPUTS, case.attributes)
    with pytest.raises(Exception, match=r"Keys is missing; it must be given with shape \[batch, N, C\]"):
        run(op.OP, {"QKV": inputs["QKV"]}, op.OUTPUTS, case.attributes)
