"""FusedDense with X_scale: X rounded to int8 before it is multiplied, as QuantizeLinear and DequantizeLinear say it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from case import Case
from cases import TABLES
from hypothesis import given, settings
from hypothesis import strategies as st
from one_node import NODE, body_of, native_options, run_session, session
from test_stored_weights import HOWS, alone, as_the_file_says, cases, graph, stored

from tests.instruction_sets import HERE, Forced

Array = npt.NDArray[Any]
TABLE = TABLES["FusedDense"]
ULP = 2.0**-24


def rounded_case(how: str = "int8", scale: float = 0.02) -> tuple[Case, Case]:
    """A node whose X is rounded, and the same with the numbers that its weight means."""
    _, case, numbers = cases("FusedDense", how)
    x_scale = {"X_scale": np.float32(scale).reshape(())}
    return tuple(  # type: ignore[return-value]
        Case(
            {n: (c.inputs | x_scale)[n] for n in TABLE.inputs if n in c.inputs or n in x_scale}, c.attributes
        )
        for c in (case, numbers)
    )


def run_native(case: Case) -> Array:
    return run_session(session(graph(TABLE, case), native_options()), alone(case))["Y"]


def question(case: Case) -> tuple[bytes, Mapping[str, Array]]:
    """The same, for a process to run."""
    return graph(TABLE, case).SerializeToString(), alone(case).inputs


def rounded(x: Array, scale: Array) -> Array:
    """The integers that float32 gives, whose division is rounded once wherever it is done."""
    return np.asarray(np.clip(np.rint(x / scale), -128, 127))


@pytest.mark.parametrize("how", HOWS)
def test_the_kernel_and_the_body_are_the_definition(how: str) -> None:
    case, numbers = rounded_case(how)
    quotient = case.inputs["X"].astype(np.float64) / float(case.inputs["X_scale"])
    assert np.abs(quotient - np.rint(quotient)).max() < 0.5 - 1e-5  # nothing here is next to a border
    proto = graph(TABLE, case)
    with_body = onnx.ModelProto()
    with_body.CopyFrom(proto)
    with_body.functions.append(body_of(TABLE, proto).function)
    plain = rounded(case.inputs["X"], case.inputs["X_scale"]) * case.inputs["X_scale"]
    same = Case(
        {n: plain.astype(np.float32) if n == "X" else x for n, x in numbers.inputs.items() if n != "X_scale"},
        case.attributes,
    )
    for got in (run_native(case), run_session(session(with_body, as_the_file_says()), alone(case))["Y"]):
        excess = TABLE.excess({"Y": got}, same, "float32", 2 * TABLE.roundings)
        assert all(times <= 1 for times in excess.values()), excess


@st.composite
def layers(draw: st.DrawFn) -> Case:
    """Any sizes, scales that clip and that do not, numbers of any size beside each other, and some on a border."""
    rows, inputs, outputs = draw(st.integers(1, 40)), draw(st.integers(0, 400)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = np.float32(10.0 ** draw(st.integers(-6, 6)) * (1 + rng.random()))
    x = rng.standard_normal((rows, inputs)) * draw(st.sampled_from([1.0, 60.0, 300.0]))
    x[rng.random(x.shape) < 0.1] *= 1e-6
    borders = rng.random(x.shape) < 0.1
    x[borders] = np.rint(x[borders]) + 0.5
    weight = rng.integers(-127, 128, (inputs, outputs)).astype(np.int8)
    return Case(
        {
            "X": (x * scale).astype(np.float32),
            "W": weight,
            "B": rng.standard_normal(outputs).astype(np.float32) * scale,
            "W_scale": (rng.random(outputs) + 0.1).astype(np.float32),
            "X_scale": scale.reshape(()),
        },
        {},
    )


@given(layers())
@settings(max_examples=60, deadline=None)
def test_sums_are_exact_and_rounded_a_few_times(case: Case) -> None:
    """Element by element: two scales become one, a sum of integers a float, and the bias is added."""
    x, w, b, of_w, of_x = (case.inputs[n] for n in ("X", "W", "B", "W_scale", "X_scale"))
    integers = rounded(x, of_x)
    product = integers @ w.astype(np.float64) * (of_w.astype(np.float64) * float(of_x))
    got = run_native(case)
    assert (np.abs(got - (product + b)) <= 3 * ULP * (np.abs(product) + np.abs(product + b))).all()
    exact = x.astype(np.float64) / float(
        of_x
    )  # of which float32 rounds to the other side of a border only next to it
    away = np.abs(np.abs(exact - np.floor(exact)) - 0.5) > ULP * np.abs(exact)
    assert np.array_equal(np.clip(np.rint(exact), -128, 127)[away], integers[away])


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("rows", [1, 7])
def test_nan_stays_in_its_row_and_infinity_is_the_last_integer(how: str, rows: int) -> None:
    case, _ = rounded_case(how)
    cut = {n: x[:rows] if n in "XMR" else x for n, x in case.inputs.items()}
    plain = run_native(Case(cut, case.attributes))
    x = cut["X"].copy()
    x[0, 3], x[-1, -1] = np.inf, -np.inf
    spoilt = Case(cut | {"X": x}, case.attributes)
    truth = TABLE.truth(spoilt)["Y"]
    assert np.isfinite(truth).all()
    np.testing.assert_allclose(run_native(spoilt), truth, rtol=1e-4, atol=1e-4)
    x[0, 5] = np.nan
    got = run_native(Case(cut | {"X": x}, case.attributes))
    assert np.isnan(got[0]).all() and np.isnan(TABLE.truth(spoilt)["Y"][0]).all()
    np.testing.assert_array_equal(got[1:-1], plain[1:-1])
    assert np.isfinite(got[1:]).all()


@pytest.mark.parametrize(("of_x", "of_w"), [(1e-30, 1e-12), (1e-12, 1e-30), (1e20, 1e-35), (3e-20, 1e-19)])
def test_scales_whose_product_no_float_holds(of_x: float, of_w: float) -> None:
    """Or of which a float holds few digits."""
    rng = np.random.default_rng(0)
    w, scale = rng.integers(-127, 128, (512, 20)).astype(np.int8), np.float32(of_x).reshape(())
    x = (np.rint(rng.uniform(-128, 127, (5, 512))) * of_x).astype(np.float32)
    given = {"X": x, "W": w, "B": np.zeros(20, np.float32), "W_scale": np.full(20, of_w, np.float32)}
    truth = rounded(x, scale) @ w.astype(np.float64) * of_w * of_x
    got = run_native(Case(given | {"X_scale": scale}, {}))
    np.testing.assert_allclose(got, truth, rtol=0, atol=1e-6 * np.abs(truth).max() + 2.0**-148)


def test_no_product_of_large_scales_makes_nan_of_nothing() -> None:
    given = {"X": np.zeros((3, 64), np.float32), "W": np.ones((64, 5), np.int8), "B": np.ones(5, np.float32)}
    scales = {"W_scale": np.full(5, 1e10, np.float32), "X_scale": np.float32(1e30).reshape(())}
    assert (run_native(Case(given | scales, {})) == 1).all()


def digests(run: Callable[[Case], Array] = run_native) -> list[str]:
    """Of what layers give whose weights are stored in every way, rounded and not, in windows and rows."""
    found = []
    for how in HOWS:
        for scale in (None, 0.013):
            case, _ = rounded_case(how, scale or 1.0)
            kept = {n: x for n, x in case.inputs.items() if scale or n != "X_scale"}
            if scale:
                kept["X"] = kept["X"].copy()
                kept["X"][2, 3] = np.nan
            for rows in (slice(None), slice(1)):
                cut = {n: x[rows] if n in "XMR" else x for n, x in kept.items()}
                y = run(Case(cut, {"activation": "none"}))
                found.append(hashlib.sha256(y.tobytes()).hexdigest()[:12])
    return found


def test_every_instruction_set_gives_the_same_bits() -> None:
    """Those that fuse all, and where integers are multiplied those that do not, but for what is done with the sums."""
    own = digests()
    for isa in HERE:
        if isa == "sse42":  # which rounds a product before it adds
            continue
        with Forced(isa) as process:
            assert digests(lambda case, run=process.run: run(*question(case))["Y"]) == own, isa
    assert len(set(own)) == len(own)  # so a change of the scale, or of the rows, is seen


def test_another_scale_is_seen() -> None:
    case, _ = rounded_case()
    off, _ = rounded_case(scale=0.0201)
    assert np.abs(run_native(case) - run_native(off)).max() > 1e-4


def test_a_weight_that_is_no_bytes_is_multiplied_as_floats() -> None:
    """And so is one that has more inputs than sums of 32 bits hold."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 65_540)).astype(np.float32)
    w, of_w, numbers = stored((65_540, 2), 1, "int8")
    assert of_w is not None
    scale = np.float32(0.03).reshape(())
    case = Case({"X": x, "W": w, "B": np.zeros(2, np.float32), "W_scale": of_w, "X_scale": scale}, {})
    truth = rounded(x, scale) * float(scale) @ numbers.astype(np.float64)
    np.testing.assert_allclose(run_native(case), truth, rtol=1e-4, atol=1e-4 * np.abs(truth).max())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda i: i.update(X_scale=np.float32(0).reshape(())),
            "X_scale is 0.0+; it must be a number above 0",
        ),
        (lambda i: i.update(X_scale=np.float32(-1).reshape(())), "it must be a number above 0"),
        (lambda i: i.update(X_scale=np.float32(np.nan).reshape(())), "it must be a number above 0"),
        (lambda i: i.update(X_scale=np.float32(np.inf).reshape(())), "it must be a number above 0"),
        (lambda i: i.update(X_scale=np.ones(64, np.float32)), r"X_scale has shape \[64\]; it must be \[\]"),
    ],
)
def test_a_scale_that_is_none_is_refused(change: Callable[[dict[str, Array]], None], told: str) -> None:
    case, _ = rounded_case()
    inputs = dict(case.inputs)
    change(inputs)
    with pytest.raises(Exception, match=told) as refused:
        session(graph(TABLE, Case(inputs, case.attributes)), native_options())
    assert NODE in str(refused.value)
    with pytest.raises(ValueError, match="X_scale must be one number above 0"):
        TABLE.op.reference(list(inputs.values()), case.attributes)
