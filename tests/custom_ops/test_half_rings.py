"""CachedAttention whose rings are float16 beside a model in float32: rounding alone tells it from float32 rings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import onnx
import pytest
from case import Array, Case, tensors_of
from cases import TABLES
from cases.cached_attention import attended, case, frames_of, written
from hypothesis import given, settings
from hypothesis import strategies as st
from one_node import (
    RUNTIMES,
    body_model,
    bound_native,
    in_onnxruntime,
    model,
    native,
    native_options,
    session,
)

from tests.instruction_sets import HERE, Forced

TABLE = TABLES["CachedAttention"]
CACHES = ("Keys", "Values")
Run = Callable[[bytes, Mapping[str, Array]], dict[str, Array]]


def halved(of: Case) -> Case:
    return replace(of, inputs={n: x.astype(np.float16) if n in CACHES else x for n, x in of.inputs.items()})


def as_floats(of: Case) -> Case:
    """The same numbers for rings of float32: what they hold, and the newest key and value rounded beforehand."""
    inputs = {n: x.astype(np.float32) if n in CACHES else x.copy() for n, x in of.inputs.items()}
    width = inputs["Keys"].shape[2]
    with np.errstate(over="ignore"):
        newest = inputs["QKV"][..., width:].astype(np.float16)
    inputs["QKV"][..., width:] = newest.astype(np.float32)
    return replace(of, inputs=inputs)


def here(proto: bytes, feeds: Mapping[str, Array], threads: int = 1) -> dict[str, Array]:
    opened = session(onnx.ModelProto.FromString(proto), native_options(threads))
    return dict(zip(TABLE.outputs, opened.run(None, dict(feeds)), strict=True))


def check(of: Case, run: Run) -> None:
    """Bit for bit what float32 rings of the same numbers give; and the rings hold what numpy rounds to."""
    got, plain = (run(model(TABLE, c).SerializeToString(), c.inputs) for c in (of, as_floats(of)))
    np.testing.assert_array_equal(got["Y"], plain["Y"])
    for name in ("NextKeys", "NextValues"):
        assert got[name].dtype == np.float16
        np.testing.assert_array_equal(got[name], plain[name].astype(np.float16))


ANYWHERE = st.integers(1, 70).flatmap(
    lambda N: st.builds(
        case, st.just(N), st.integers(1, 40), st.integers(1, 3), frames_of(N), row=st.booleans()
    )
)
NAMED = [case(65, 64, frames=(64, 3, 200)), case(60, 33, H=3, frames=(0, 59, -1), row=True), case(1, 3)]


@settings(max_examples=25, deadline=None)
@given(ANYWHERE.map(halved))
def test_a_ring_of_halves_is_one_of_floats_that_are_halves(of: Case) -> None:
    check(of, here)


@pytest.mark.parametrize("isa", HERE)
def test_every_instruction_set_rounds_alike(isa: str) -> None:
    with Forced(isa) as process:
        for of in map(halved, NAMED):
            check(of, process.run)


@pytest.mark.parametrize("of", list(map(halved, NAMED)), ids=str)
def test_definition_kernel_and_bodies_agree(of: Case) -> None:
    """The definition with torch's own rounding, each form of body in each runtime with the definition."""
    truth = TABLE.truth(of)
    tensors = tensors_of(as_floats(of), "float64")
    N, frames = tensors["Keys"].shape[1], of.inputs["Frames"].ravel().tolist()
    q, keys, values = written(tensors, [n % N for n in frames])
    for b, n in enumerate(frames):
        filled = max(0, min(n + 1, N))
        y = attended(
            q[b], keys[b, :filled], values[b, :filled], of.attributes["num_heads"], of.attributes["scale"]
        )
        np.testing.assert_allclose(truth["Y"].reshape(len(frames), -1)[b], y, rtol=0, atol=1e-12)
    found = {"kernel": native(TABLE, of)}
    for form, opset in (("dense", 18), ("attention", 23)):
        proto = body_model(TABLE, of, form, opset=opset)
        found |= {f"{form} in {name}": run(proto, of) for name, run in RUNTIMES.items()}
    # which has halves in float32: the reason why it is not run there
    loose = [found.pop(who)["Y"] for who in list(found) if who.endswith("openvino")]
    assert of.inputs["Keys"].size < 100 or all(np.abs(y - truth["Y"]).max() > 1e-5 for y in loose)
    for who, got in found.items():
        np.testing.assert_allclose(got["Y"], truth["Y"], rtol=0, atol=2e-6, err_msg=who)
        for name in ("NextKeys", "NextValues"):
            np.testing.assert_array_equal(got[name], truth[name], err_msg=who)


def test_to_the_nearest_and_beyond_the_largest() -> None:
    """Halves of two neighbours go to the even one, subnormals too; from 65520 on a number is infinite."""
    edges = [
        65504,
        65519.99,
        65520,
        1e38,
        1 + 2**-11,
        1 + 3 * 2**-11,
        2**-14 * (1 - 2**-11),
        2**-25,
        3 * 2**-25,
    ]
    row = np.array([*edges, *(-np.array(edges))], np.float32)
    of = halved(case(2, len(row), H=1, frames=(0,)))
    of.inputs["QKV"][..., -len(row) :] = row
    with np.errstate(over="ignore"):
        right = row.astype(np.float16)
    assert np.isinf(right).sum() == 4
    for got in (
        TABLE.truth(of),
        native(TABLE, of),
        in_onnxruntime(body_model(TABLE, of, "dense"), of),
    ):
        np.testing.assert_array_equal(got["NextValues"][0, 0], right)


def test_what_is_not_rounded_is_seen() -> None:
    """The same frame over float32 rings, and over halves that were cut off."""
    of = halved(case(60, 64, H=8, frames=(59,)))
    truth = TABLE.truth(of)["Y"]
    plain = replace(of, inputs={n: x.astype(np.float32) if n in CACHES else x for n, x in of.inputs.items()})
    cut = as_floats(of)
    newest = of.inputs["QKV"][..., 512:].view(np.int32) & ~np.int32(0x1FFF)
    cut.inputs["QKV"][..., 512:] = newest.view(np.float32)
    for wrong in (plain, cut):
        assert np.abs(native(TABLE, wrong)["Y"] - truth).max() > 1e-5


def test_rings_held_in_place_and_copied_are_one() -> None:
    of = halved(case(300, 64, H=3, frames=(299, 12, 1000)))
    copied, held = bound_native(TABLE, of, {}, threads=2), bound_native(TABLE, of, TABLE.in_place, threads=2)
    for name, y in copied.items():
        np.testing.assert_array_equal(held[name], y)
