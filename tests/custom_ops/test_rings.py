"""What is particular to the ops over a ring of cached frames: streams, rows, sums bit by bit, states held in place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnx_ir
import pytest
from case import Array, Case, OpCases, error, tensors_of
from cases import TABLES
from cases.cached_attention import LONG
from cases.cached_attention import case as softmax
from cases.cached_block_linear_attention import IDENTITY
from cases.cached_block_linear_attention import case as linear
from one_node import (
    body_model,
    body_of,
    bound_native,
    in_onnxruntime,
    model,
    native,
    native_options,
    native_session,
    session,
)
from onnx import numpy_helper
from test_bodies import boolean_constants, shift_masks

from temport.exporter.graph.masks import computed_masks

SOFTMAX, LINEAR = TABLES["CachedAttention"], TABLES["CachedBlockLinearAttention"]
BOTH = pytest.mark.parametrize(
    ("table", "case"), [(SOFTMAX, softmax), (LINEAR, linear)], ids=["softmax", "linear"]
)
CACHES, SUMS = ("Keys", "Values"), ("Earlier", "Block", "Lost")


def draw_sequence(T: int, C: int, batch: int = 3) -> Array:
    qkv = np.random.default_rng(T).standard_normal((batch, T, 3 * C))
    qkv[..., : 2 * C] = np.abs(qkv[..., : 2 * C]) + 0.1
    return qkv


def stream(op: Any, qkv: Array, N: int, attributes: dict[str, Any], start: int = 0) -> Array:
    """Every frame through the definition: outputs `[batch, T, C]`."""
    batch, T, width = qkv.shape
    H, D = attributes["num_heads"], width // 3 // attributes["num_heads"]
    state = [np.zeros((batch, N, H * D)) for _ in CACHES]
    state += [np.zeros((batch, H, D, D + 1)) for _ in SUMS] if op is LINEAR.op else []
    outputs = []
    for t in range(T):
        y, *state = op.reference(
            [qkv[:, t : t + 1], *state, np.full((batch, 1), start + t, np.int64)], attributes
        )
        outputs.append(y)
    return np.concatenate(outputs, axis=1)


@pytest.mark.parametrize("N", [1, 2, 7])
def test_a_ring_is_a_window(N: int) -> None:
    """Over six rings and a part of one more."""
    qkv, whole = draw_sequence(6 * N + 2, 6), TABLES["OnlineSoftmaxAttention"].op.reference
    window = whole([qkv], {"num_heads": 2, "causal": True, "window": N})
    np.testing.assert_allclose(stream(SOFTMAX.op, qkv, N, {"num_heads": 2}), window, rtol=0, atol=1e-12)
    wider = whole([qkv], {"num_heads": 2, "causal": True, "window": N + 1})
    assert np.abs(window - wider).max() > 1e-3


@pytest.mark.parametrize("start", [0, 7 * LONG])
@pytest.mark.parametrize("N", [1, 2, 7])
@pytest.mark.parametrize("maps", [IDENTITY, ("elu1", "key_sum"), ("elu1", "none")], ids="-".join)
def test_a_ring_is_a_block(N: int, maps: tuple[str, str], start: int) -> None:
    """Over six blocks and a part of one more, also where a stream goes on after whole blocks without end."""
    attributes = {"num_heads": 2, "feature_map": maps[0], "normalizer": maps[1]}
    qkv = draw_sequence(6 * N + 2, 6)
    whole = TABLES["BlockLinearAttention"].op.reference([qkv], {**attributes, "block_size": N})
    streamed = stream(LINEAR.op, qkv, N, attributes, start)
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=1e-10 * np.abs(whole).max())
    shifted = stream(LINEAR.op, qkv, N, attributes, start + 1)
    assert N == 1 or np.abs(shifted - whole).max() > 1e-3


@pytest.mark.parametrize("feature_map", ["identity", "elu1"])
def test_a_stream_of_the_kernel_is_the_sequence(feature_map: str) -> None:
    """Frame by frame from zero, two and a half blocks and more: the rows of BlockLinearAttention over the sequence."""
    first, whole = (
        linear(17, 8, H=3, frames=(0, 0), maps=(feature_map, "key_sum")),
        TABLES["BlockLinearAttention"],
    )
    qkv = np.random.default_rng(1).standard_normal((2, 60, 72), dtype=np.float32)
    qkv = np.abs(qkv) if feature_map == "identity" else qkv
    sequence = Case({"Q": qkv}, {**first.attributes, "block_size": 17, "scale": float(np.float32(8**-0.5))})
    runner = native_session(LINEAR, first)
    state = {name: np.zeros_like(x) for name, x in first.inputs.items() if name != "QKV"}
    rows = []
    for t in range(60):
        y, *after = runner.run(None, {"QKV": qkv[:, t : t + 1], **state})
        rows.append(y)
        state = dict(zip((*CACHES, *SUMS), after, strict=True)) | {"Frames": state["Frames"] + 1}
    assert whole.excess({"Y": np.concatenate(rows, 1)}, sequence, "float32", whole.roundings)["Y"] <= 1


def test_what_rounding_took_is_kept() -> None:
    """A thousand tenths in one block: compensated, their sum errs by two roundings at most, added plainly by many."""
    of = linear(2, 1, H=1, frames=(0,), maps=IDENTITY)
    inputs = {name: np.zeros_like(x) for name, x in of.inputs.items()}
    inputs["QKV"][:] = 0.1
    runner = native_session(LINEAR, of)
    for _ in range(1000):
        inputs["Block"], inputs["Lost"] = runner.run(["NextBlock", "NextLost"], inputs)
    exact = 1000 * np.float64(np.float32(0.1)) * np.array([np.float64(np.float32(0.1)), 1.0])
    allowed = 2 * np.finfo(np.float32).eps
    np.testing.assert_allclose(inputs["Block"].ravel(), exact, rtol=allowed)
    plain = np.add.accumulate(np.full(1000, 0.1, np.float32))[-1]
    assert abs(plain - exact[1]) > 10 * allowed * exact[1]


@pytest.mark.parametrize(
    "of", [c for c in LINEAR.cases if c.attributes["feature_map"] == "identity"], ids=str
)
def test_sums_and_what_rounding_took_are_those_of_torch_bit_for_bit(of: Case) -> None:
    """One step shows a wrong compensation in its last bits only, and a stream not before many frames."""
    peer = LINEAR.of_torch(of, "float32")
    ours = {"kernel": native(LINEAR, of)}
    if of.forms:
        ours |= {
            "body": in_onnxruntime(body_model(LINEAR, of, "dense"), of),
            "torch": LINEAR.of_torch_op(of, "float32"),
        }
    for got in ours.values():
        for name in ("NextEarlier", "NextBlock", "NextLost"):
            np.testing.assert_array_equal(np.asarray(got[name]), peer[name].numpy())
    assert peer["NextLost"].any()


@BOTH
def test_only_the_row_of_the_frame_changes(table: OpCases, case: Any) -> None:
    of = case(5, 3, frames=(2, 13))
    for got in (table.of_torch_op(of, "float32"), native(table, of)):
        for cache in CACHES:
            changed = (np.asarray(got[f"Next{cache}"]) != of.inputs[cache]).any(-1)
            assert np.argwhere(changed).tolist() == [[0, 2], [1, 3]]


def test_a_frame_before_the_first_sees_nothing() -> None:
    of = softmax(5, 3, frames=(-1, -7, 0))
    for got in (SOFTMAX.truth(of), SOFTMAX.of_torch_op(of, "float32"), native(SOFTMAX, of)):
        assert not got["Y"][:2].any() and got["Y"][2].any()
        for b, slot in enumerate((4, 3, 0)):  # the floor modulus
            np.testing.assert_array_equal(got["NextKeys"][b, slot], of.inputs["QKV"][b, 0, 6:12])


@BOTH
def test_dtypes_that_do_not_fit(table: OpCases, case: Any) -> None:
    of = case(5, 3)
    tensors = tensors_of(of, "float32")
    for change, sentence in (
        ({"Frames": tensors["Frames"].int()}, "Frames has dtype torch.int32; it must be int64"),
        ({"Values": tensors["Values"].double()}, "QKV has dtype torch.float32 but Values has torch.float64"),
    ):
        with pytest.raises(ValueError, match=sentence):
            table.call(*(tensors | change).values(), **of.attributes)
    floating = replace(of, inputs={**of.inputs, "Frames": of.inputs["Frames"].astype(np.float32)})
    with pytest.raises(Exception, match=r"Type 'tensor\(float\)' of input parameter \(Frames\)"):
        native(table, floating)
    with pytest.raises(Exception, match="outputs NextKeys and NextValues must be given"):
        native(SOFTMAX, softmax(5, 3), outputs=["Y"])


@BOTH
@pytest.mark.parametrize("N", [1, 2, 60])
def test_which_rows_are_filled_is_a_table(table: OpCases, case: Any, N: int) -> None:
    """Re-derived here: row n allows what n frames fill. And no attention is masked by what a node computes."""
    of = case(N, 3)
    body = body_of(table, model(table, of), "dense")
    (filled,) = boolean_constants(body.function).values()
    np.testing.assert_array_equal(filled, np.arange(N) < np.arange(N + 1)[:, None])
    graph = onnx.inliner.inline_local_functions(body_model(table, of, "dense"))
    assert not computed_masks(onnx_ir.from_proto(graph))


@BOTH
@pytest.mark.parametrize("frames", [(2,), (LONG + 1,)])
def test_shifted_rows_are_seen(table: OpCases, case: Any, frames: tuple[int, ...]) -> None:
    """A table moved by one row gives another output where the ring is not full."""
    of = case(5, 3, frames=frames)
    proto = body_model(table, of, "dense")
    proto.functions[0].CopyFrom(shift_masks(body_of(table, model(table, of), "dense")))
    differs = error(in_onnxruntime(proto, of)["Y"], table.truth(of)["Y"]) > 1e-3
    assert differs == (table is LINEAR or frames[0] < 5)


@BOTH
def test_a_wrong_slot_is_seen(table: OpCases, case: Any) -> None:
    """The modulus one too large: the row that is written is one that no row is, or the one before."""
    of = case(5, 3, frames=(5, 11))
    proto = body_model(table, of, "dense")
    nodes = proto.functions[0].node
    (modulus,) = (node.input[1] for node in nodes if node.op_type == "Mod")
    (tensor,) = (node.attribute[0].t for node in nodes if modulus in node.output)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1))
    assert error(in_onnxruntime(proto, of)["NextKeys"], table.truth(of)["NextKeys"]) > 1e-3


@BOTH
@pytest.mark.parametrize("held", [False, True], ids=["copied", "in place"])
@pytest.mark.parametrize("poison", [np.nan, np.inf], ids=["nan", "inf"])
def test_empty_rows_leave_no_trace(table: OpCases, case: Any, poison: float, held: bool) -> None:
    """Rows that this stream, or block, has not filled may hold anything, and so may the row that is overwritten."""
    of = case(60, 33, H=3, frames=(0, 20, 58, -1) if table is SOFTMAX else (0, 60, 58, LONG))
    clean = native(table, of)["Y"]
    for name in CACHES:
        for b, frames in enumerate(of.inputs["Frames"].ravel().tolist()):
            of.inputs[name][b, max(0, frames) if table is SOFTMAX else frames % 60 :] = poison
    np.testing.assert_array_equal(bound_native(table, of, table.in_place if held else {})["Y"], clean)


@BOTH
@pytest.mark.parametrize(
    ("N", "D", "frames", "threads"),
    [
        (60, 33, (0,), 1),
        (60, 33, (59,), 1),
        (60, 33, (60, 3, 0, LONG, -7), 1),
        (300, 256, (299, 12, 1000, 5, 600), 2),  # enough work for two threads
    ],
)
def test_held_in_place_nothing_changes(
    table: OpCases, case: Any, N: int, D: int, frames: tuple[int, ...], threads: int
) -> None:
    """Bit for bit, one cache or both, also when the frame is repeated on the caches that it has written already."""
    of = case(N, D, H=3, frames=frames)
    copied = native(table, of)
    held = bound_native(table, of, table.in_place, threads)
    again = {**of.inputs, "Keys": held["NextKeys"], "Values": held["NextValues"]}
    others = [held, bound_native(table, replace(of, inputs=again), table.in_place, threads)]
    others += [bound_native(table, of, {name: place}) for name, place in table.in_place.items()]
    for other in others:
        for name, y in copied.items():
            np.testing.assert_array_equal(other[name], y)


OVERLAPS = [(t, c, a, b) for t, c in ((SOFTMAX, softmax), (LINEAR, linear)) for a in CACHES for b in CACHES]
OVERLAPS += [(LINEAR, linear, a, b) for a in SUMS for b in SUMS]
NAMED = [f"{t.op.name}-{a}-{b}" for t, _, a, b in OVERLAPS]


def in_one_memory(table: OpCases, of: Case, first: str, second: str, later: int) -> None:
    """A frame with tensor `second` (an output) `later` floats behind the beginning of `first` (either)."""
    runner = session(model(table, of), native_options())
    x = of.inputs[second.removeprefix("Next")]
    memory = np.zeros(x.size + later, np.float32)
    binding = runner.io_binding()
    for name, value in of.inputs.items():
        binding.bind_cpu_input(name, memory[: x.size].reshape(x.shape) if name == first else value)
    for name in table.outputs:
        binding.bind_output(name)
    for name, at in {first: 0, second: later}.items():
        if name in table.outputs:
            binding.bind_output(name, "cpu", 0, np.float32, x.shape, memory[at:].ctypes.data)
    runner.run_with_iobinding(binding)


@pytest.mark.parametrize("later", [0, 1])
@pytest.mark.parametrize(("table", "case", "after", "before"), OVERLAPS, ids=NAMED)
def test_a_state_over_what_is_still_read_is_refused(
    table: OpCases, case: Any, after: str, before: str, later: int
) -> None:
    of = case(5, 16, frames=(7, 2))
    if after in CACHES and after == before and later == 0:
        return in_one_memory(table, of, before, f"Next{after}", later)
    other = f" or where {after} lies" if after in CACHES else ""
    with pytest.raises(
        Exception, match=rf"Next{after} overlaps {before}; it must lie in other memory{other}\."
    ):
        in_one_memory(table, of, before, f"Next{after}", later)


APART = [(o, name) for o, name in zip(OVERLAPS, NAMED, strict=True) if o[2] != o[3]]


@pytest.mark.parametrize(
    ("table", "case", "one", "other"), [o for o, _ in APART], ids=[name for _, name in APART]
)
def test_two_states_in_one_memory_are_refused(table: OpCases, case: Any, one: str, other: str) -> None:
    with pytest.raises(Exception, match=r"Next\w+ overlaps Next\w+; it must lie in other memory"):
        in_one_memory(table, case(5, 16, frames=(7, 2)), f"Next{one}", f"Next{other}", 3)


@pytest.mark.parametrize(
    "change", [{"normalizer": "none"}, {"feature_map": "identity"}, {"Frames": 58}], ids=str
)
def test_another_meaning_is_seen(change: dict[str, Any]) -> None:
    """The suite itself: another map, no divisor, or a block that ends one frame early or late is none of this op."""
    of = linear(60, 16, frames=(59,))
    inputs = {**of.inputs, "Frames": np.array([[change.get("Frames", 59)]], np.int64)}
    attributes = of.attributes | {name: x for name, x in change.items() if name != "Frames"}
    got = {
        name: y for name, y in native(LINEAR, Case(inputs, attributes)).items() if name not in LINEAR.copies
    }
    assert max(LINEAR.excess(got, of, "float32", LINEAR.roundings).values()) > 100


@pytest.mark.parametrize("frames", [2, 4, 59])
def test_a_wrong_number_of_rows_is_seen(frames: int) -> None:
    """One row more or less, or all of them."""
    of = softmax(60, 16)
    changed = replace(of, inputs={**of.inputs, "Frames": np.array([[frames]], np.int64)})
    got = {"Y": native(SOFTMAX, changed)["Y"]}
    assert SOFTMAX.excess(got, of, "float32", SOFTMAX.roundings)["Y"] > 100


def test_a_body_has_as_many_results_as_the_op_outputs() -> None:
    from temport.custom_ops.body_graph import BodyGraph
    from temport.custom_ops.op import Host

    graph = BodyGraph(SOFTMAX.op.schema, Host(opset=18), ())
    with pytest.raises(ValueError, match="longer than"):
        graph.function(graph.inputs["Keys"], like=graph.inputs["QKV"])
