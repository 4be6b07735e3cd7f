"""Comparison as pure functions: measures against exact sums, verdicts at the edge of the bound."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from temport.exporter.parity.compare import CEILING, EPS, bound, judge, max_abs, rejudge, worst
from temport.exporter.parity.result import FAIL, ILL, PASS, Bound, OutputRow

SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=7)
VALUES = st.floats(-1e6, 1e6, allow_nan=False, width=64).map(lambda v: v if abs(v) > 1e-6 else 0.0)
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(
        arrays.arrays(np.float64, shape, elements=VALUES), arrays.arrays(np.float64, shape, elements=VALUES)
    )
)
LIMIT = Bound(1.0, 1e-7, 1e-6, 1.0, judgeable=True)


@given(PAIRS)
def test_measures_equal_exact_sums(pair):
    actual, oracle = pair
    row = judge(actual, oracle, LIMIT, "float32")
    errors = [abs(a - o) for a, o in zip(actual.ravel().tolist(), oracle.ravel().tolist(), strict=True)]
    energy = math.fsum(o * o for o in oracle.ravel().tolist())
    assert row.max_abs == max(errors)
    if energy > 0:
        expected = math.sqrt(math.fsum(e * e for e in errors) / energy)
        assert row.rms_ratio == pytest.approx(expected, rel=1e-12)
    own = math.fsum(a * a for a in actual.ravel().tolist())
    if energy > 0 and own > 0:
        dot = math.fsum(a * o for a, o in zip(actual.ravel().tolist(), oracle.ravel().tolist(), strict=True))
        assert row.cosine == pytest.approx(dot / math.sqrt(own * energy), abs=1e-12)


@given(PAIRS, st.integers(-20, 20))
def test_relative_measures_ignore_a_common_power_of_two(pair, exponent):
    actual, oracle = pair
    before = judge(actual, oracle, LIMIT, "float32")
    after = judge(actual * 2.0**exponent, oracle * 2.0**exponent, LIMIT, "float32")
    assert (before.max_rel, before.rms_ratio) == (after.max_rel, after.rms_ratio)


@given(PAIRS)
def test_verdict_is_the_sign_of_error_minus_bound(pair):
    actual, oracle = pair
    error = max_abs(actual, oracle)
    assume(error > 0)
    at = Bound(1.0, 0.0, error, 1.0, judgeable=True)
    below = Bound(1.0, 0.0, float(np.nextafter(error, 0)), 1.0, judgeable=True)
    assert judge(actual, oracle, at, "float32").verdict == PASS
    assert judge(actual, oracle, below, "float32").verdict == FAIL


@given(arrays.arrays(np.float64, SHAPES, elements=VALUES), st.data())
def test_one_nonfinite_value_fails_whatever_the_bound(oracle, data):
    actual = oracle.copy()
    place = data.draw(st.integers(0, oracle.size - 1))
    actual.flat[place] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    overflow = Bound(1.0, None, None, None, judgeable=False)
    for limit in (LIMIT, overflow, Bound(1.0, 0.1, None, None, judgeable=False)):
        row = judge(actual, oracle, limit, "float32")
        assert (row.verdict, row.max_abs) == (FAIL, None)
    assert judge(actual, oracle, LIMIT, "float16").verdict == FAIL
    for whatever in (actual, oracle):  # torch overflows in the half type: then nobody is judged
        row = judge(whatever, oracle, overflow, "float16")
        assert (row.verdict, row.reason) == (ILL, "the source itself gives NaN or infinity in float16")


@given(arrays.arrays(np.float64, SHAPES, elements=VALUES))
def test_oracle_agrees_with_itself(oracle):
    row = judge(oracle.copy(), oracle, Bound(1.0, 0.0, 0.0, 0.0, judgeable=True), "float32")
    assert (row.verdict, row.max_abs, row.max_rel, row.rms_ratio) == (PASS, 0.0, 0.0, 0.0)
    assert row.cosine == pytest.approx(1.0)
    assert set(row.quantiles) == {0.0}


@settings(max_examples=50)
@given(st.sampled_from(sorted(EPS)), st.floats(1e-3, 1e3), st.floats(0, 1, exclude_max=True))
def test_bound_is_the_formula_below_the_ceiling(precision, scale, share):
    torch_error = share * CEILING[precision] * scale
    limit = bound(np.array([0.0, -scale]), torch_error, 1.0, precision)
    assert limit.judgeable
    assert limit.allowed == 2 * torch_error + 16 * EPS[precision] * scale


def test_bound_above_the_ceiling_judges_nothing():
    limit = bound(np.ones(3), 1.01e-3, 5.0, "float32")
    assert (limit.judgeable, limit.allowed, limit.torch_error) == (False, None, 1.01e-3)
    assert judge(np.zeros(3), np.ones(3), limit, "float32").verdict == ILL


@pytest.mark.parametrize("torch_error", [np.inf, np.nan])
def test_torch_that_leaves_the_finite_numbers_judges_nothing(torch_error):
    limit = bound(np.ones(3), torch_error, 5.0, "float32")
    assert (limit.judgeable, limit.torch_error) == (False, None)


@pytest.mark.parametrize(("value", "word"), [(np.inf, "infinity"), (np.nan, "NaN")])
def test_oracle_that_is_not_finite_says_so(value, word):
    oracle = np.array([1.0, value])
    limit = bound(oracle, 0.0, 1.0, "float32")
    assert not limit.judgeable
    row = judge(np.ones(2), oracle, limit, "float32")
    assert (row.verdict, row.reason) == (ILL, f"the source itself gives {word} here")


def test_zero_output_needs_zero_error():
    limit = bound(np.zeros(4), 0.0, 0.0, "float32")
    assert judge(np.zeros(4), np.zeros(4), limit, "float32").verdict == PASS
    row = judge(np.full(4, 1e-30), np.zeros(4), limit, "float32")
    assert (row.verdict, row.max_rel, row.rms_ratio, row.cosine) == (FAIL, None, None, None)


def test_shapes_must_agree():
    row = judge(np.zeros((2, 3)), np.zeros((3, 2)), LIMIT, "float32")
    assert (row.verdict, row.reason) == (FAIL, "shape [2, 3] where [3, 2] is right")


def test_rejudging_believes_no_pass_and_every_failure():
    assert rejudge(OutputRow(PASS, "", max_abs=1e-3), LIMIT, "float32").verdict == FAIL
    assert rejudge(OutputRow(PASS, ""), LIMIT, "float32").verdict == FAIL
    assert rejudge(OutputRow(FAIL, "NaN"), LIMIT, "float32").verdict == FAIL
    assert rejudge(OutputRow(ILL, "", max_abs=1e-7), LIMIT, "float32").verdict == PASS


def test_rejudging_by_the_root_mean_square():
    limit = replace(LIMIT, allowed_rms_ratio=1e-8)
    row = OutputRow(PASS, "", max_abs=1e-7, rms_ratio=2e-8)
    judged = rejudge(row, limit, "float32")
    assert (judged.verdict, judged.share) == (FAIL, 2.0)
    assert judged.reason == "rms ratio 2e-08 is above 1e-08"
    assert rejudge(replace(row, rms_ratio=5e-9), limit, "float32").share == 0.5


def test_rejudging_keeps_to_what_nobody_can_judge():
    overflow = Bound(1.0, None, None, None, judgeable=False)
    assert rejudge(OutputRow(FAIL, "NaN"), overflow, "float16").verdict == ILL
    assert rejudge(OutputRow(FAIL, "NaN"), overflow, "float32").verdict == FAIL


def test_worst_verdict():
    assert worst([PASS, ILL, FAIL]) == FAIL
    assert worst([PASS, ILL]) == ILL
    assert worst([PASS]) == PASS
