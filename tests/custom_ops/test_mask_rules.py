"""The mask predicate against a loop over positions, and everything derived from it against the predicate."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from temport.custom_ops.mask import BlockRule, MaskRule

LENGTHS = st.integers(1, 24)
RULES = st.builds(
    MaskRule, st.booleans(), st.sampled_from([0, 1, 2, 5, 30]), st.sampled_from([None, -7, -1, 0, 3, 40])
)


def visible(rule: MaskRule, t: int, j: int, T: int, S: int) -> bool:
    """The definition in words: position i = t + offset; i - W < j <= i for a window, j <= i for causal."""
    i = t + (S - T if rule.query_offset is None else rule.query_offset)
    if rule.window:
        return i - rule.window < j <= i
    return j <= i or not rule.causal


@given(RULES, LENGTHS, LENGTHS)
def test_table_is_the_definition(rule, T, S):
    table = rule.array(T, S)
    assert table.shape == (T, S) and table.dtype == np.bool_
    assert table.tolist() == [[visible(rule, t, j, T, S) for j in range(S)] for t in range(T)]


@given(RULES, LENGTHS, LENGTHS)
def test_empty_rows(rule, T, S):
    assert rule.has_empty_rows(T, S) == (not rule.array(T, S).any(axis=1).all())


@given(RULES, LENGTHS, LENGTHS, st.data())
def test_key_range_is_the_hull_and_admits_all_is_all(rule, T, S, data):
    t_lo = data.draw(st.integers(0, T - 1))
    t_hi = data.draw(st.integers(t_lo + 1, T))
    table = rule.array(T, S)[t_lo:t_hi]
    lo, hi = rule.key_range(t_lo, t_hi, T, S)
    assert 0 <= lo <= hi <= S
    assert not table[:, :lo].any() and not table[:, hi:].any()
    seen = np.flatnonzero(table.any(axis=0))
    if len(seen):
        assert (lo, hi) == (seen[0], seen[-1] + 1)
    if lo < hi:
        k_lo = data.draw(st.integers(lo, hi - 1))
        k_hi = data.draw(st.integers(k_lo + 1, hi))
        assert rule.admits_all(t_lo, t_hi, k_lo, k_hi, T, S) == table[:, k_lo:k_hi].all()


@given(st.integers(1, 9), LENGTHS)
def test_block_rules(block, T):
    own, earlier = BlockRule(block, False).array(T, T), BlockRule(block, True).array(T, T)
    assert own.tolist() == [[j <= t and j // block == t // block for j in range(T)] for t in range(T)]
    assert earlier.tolist() == [[j // block < t // block for j in range(T)] for t in range(T)]
    assert np.array_equal(own | earlier, MaskRule(causal=True).array(T, T))


def test_window_counts_the_query_itself():
    assert MaskRule(window=3).array(6, 6).sum(axis=1).tolist() == [1, 2, 3, 3, 3, 3]


def test_last_query_is_the_newest_key_by_default():
    assert MaskRule(causal=True).array(2, 5).tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("T,S", [(1, 1), (5, 9), (700, 700)], ids=lambda n: str(n))
def test_picture_covers_the_allowed_area(T, S):
    rule = MaskRule(window=4)
    drawing = ElementTree.fromstring(rule.svg(T, S))
    unit = 240 / max(T, S)
    bars = drawing.findall(".//{*}g/{*}rect")
    area = sum(float(bar.get("width")) * float(bar.get("height")) for bar in bars) / unit**2
    assert area == pytest.approx(rule.array(T, S).sum(), rel=0.05)
    assert len(bars) <= 240


def test_negative_window_is_one_sentence():
    with pytest.raises(ValueError, match=r"^MaskRule: window is -1; it must be 0 .*\.$"):
        MaskRule(window=-1)
