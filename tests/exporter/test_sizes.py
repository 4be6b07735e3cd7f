"""Expressions of axes: one spelling, the value that Python gives, and bounds that hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temport.exporter.declare.sizes import names, normal, reach, size

LEAVES = st.sampled_from(["seq", "past", "batch"]) | st.integers(0, 70).map(str)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, st.sampled_from(["//", "%"]), st.integers(1, 9)).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        st.tuples(st.sampled_from(["max", "min"]), inner, inner).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
        inner.map(lambda x: f"-{x}"),
    ),
    max_leaves=6,
)
SIZES = st.fixed_dictionaries(
    {"seq": st.integers(1, 99), "past": st.integers(0, 9), "batch": st.integers(1, 5)}
)


@given(EXPRESSIONS, SIZES)
def test_the_value_is_python_s_and_lies_in_reach(text: str, sizes: dict[str, int]) -> None:
    truth = eval(text, {"max": max, "min": min}, dict(sizes))
    told = normal(text)
    assert size(text, sizes) == size(told, sizes) == truth
    assert normal(told) == told and names(told) <= sizes.keys()
    low, high = reach(told, {"seq": (1, 99), "past": (0, 9), "batch": (1, 5)})
    assert low <= truth <= high


@pytest.mark.parametrize(
    ("torch_s", "ours"),
    [
        ("((seq - 1)//4)", "(seq - 1) // 4"),
        ("((seq + (PythonMod(-seq, 4)))//4)", "(-seq % 4 + seq) // 4"),
        ("Max(1, seq)", "max(1, seq)"),
        ("60*batch", "60 * batch"),
        ("FloorDiv(seq + 1, 2)", "(seq + 1) // 2"),
    ],
)
def test_torch_s_spellings_become_ours(torch_s: str, ours: str) -> None:
    assert normal(torch_s) == ours


@pytest.mark.parametrize(
    "text", ["", "seq /2", "f(seq)", "seq ** 2", "__import__('os')", "seq.x", "[1]", "1.5", "max(1)"]
)
def test_nothing_else_is_an_expression(text: str) -> None:
    with pytest.raises(ValueError, match="no expression of axes"):
        normal(text)
