"""The native OnlineSoftmaxAttention against the float64 reference, over shapes, dtypes and attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_sessions import TORCH, allowance, rounded, run

from temport.custom_ops.mask import MaskRule
from temport.custom_ops.table import OPS

OP = "OnlineSoftmaxAttention"


@dataclass(frozen=True)
class Case:
    T: int
    S: int
    B: int = 1
    H: int = 2
    group: int = 1
    D: int = 16
    Dv: int = 16
    causal: bool = False
    window: int = 0
    query_offset: int = -1
    packed: bool = False
    key_mask: bool = False
    magnitude: float = 1.0
    scale: float | None = None
    seed: int = 0

    def __str__(self) -> str:
        return f"B{self.B}-T{self.T}-S{self.S}-H{self.H}x{self.group}-D{self.D}-Dv{self.Dv}-W{self.window}"

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "num_heads": self.H * self.group,
            "kv_num_heads": self.H,
            "causal": int(self.causal),
            "window": self.window,
            "query_offset": self.query_offset,
            "scale": float(np.float32(self.D**-0.5 if self.scale is None else self.scale)),
        }

    def inputs(self) -> list[np.ndarray | None]:
        rng = np.random.default_rng(self.seed)

        def draw(rows: int, width: int) -> np.ndarray:
            return rng.standard_normal((self.B, rows, width), dtype=np.float32)

        mask = rng.random((self.B, self.T if self.packed else self.S)) < 0.7 if self.key_mask else None
        heads = self.H * self.group
        if self.packed:
            return [self.magnitude * draw(self.T, (heads + 2 * self.H) * self.D), None, None, mask]
        q, k = draw(self.T, heads * self.D), draw(self.S, self.H * self.D)
        return [self.magnitude * q, k, draw(self.S, self.H * self.Dv), mask]


def sdpa(case: Case, inputs: list[np.ndarray | None], dtype: str) -> torch.Tensor:
    """torch's own attention in `dtype`, empty rows set to 0."""
    q, k, v, key_mask = inputs
    heads = case.H * case.group
    if k is None or v is None:
        q, k, v = np.split(q, [heads * case.D, (heads + case.H) * case.D], axis=2)

    def by_head(x: np.ndarray, n: int) -> torch.Tensor:
        split = (
            torch.from_numpy(np.ascontiguousarray(x)).to(TORCH[dtype]).unflatten(2, (n, -1)).transpose(1, 2)
        )
        return split.repeat_interleave(heads // n, 1)

    offset = None if case.query_offset == -1 else case.query_offset
    allowed = torch.from_numpy(
        MaskRule(case.causal, case.window, offset).array(q.shape[1], k.shape[1]).copy()
    )
    allowed = allowed.expand(case.B, 1, *allowed.shape)
    if key_mask is not None:
        allowed = allowed & torch.from_numpy(key_mask)[:, None, None, :]
    y = torch.nn.functional.scaled_dot_product_attention(
        by_head(q, heads), by_head(k, case.H), by_head(v, case.H), allowed, scale=case.attributes["scale"]
    )
    y = torch.where(allowed.any(-1, keepdim=True), y, 0)
    return y.transpose(1, 2).flatten(2)


def check(case: Case, dtype: str, threads: int = 1) -> None:
    inputs = rounded(case.inputs(), dtype)
    truth = OPS[OP].reference(inputs, case.attributes)
    output = run(OP, inputs, case.attributes, dtype, threads)
    assert output.shape == truth.shape
    error = np.abs(output - truth).max(initial=0)
    assert error <= allowance(truth, sdpa(case, inputs, dtype), dtype)


CASES = [
    Case(T=1, S=1),
    Case(T=1, S=1, D=1, Dv=1),
    Case(T=60, S=60, H=4, D=64, Dv=64, causal=True, window=60, packed=True),
    Case(T=397, S=397, H=2, D=64, Dv=64, causal=True, window=60, packed=True),
    Case(T=520, S=520, H=1, D=32, Dv=32, causal=True, packed=True),
    Case(T=300, S=300, D=16, window=1, causal=True),
    Case(T=30, S=30, window=1000, causal=True),
    Case(T=1, S=600, D=33, Dv=65, causal=True),
    Case(T=50, S=20, causal=True),
    Case(T=20, S=50, causal=True, query_offset=0),
    Case(T=40, S=30, window=4, query_offset=60),
    Case(T=300, S=700, B=2, D=8, Dv=70, group=3, key_mask=True),
    Case(T=154, S=382, D=28, Dv=7, window=255),  # a key tile ends inside a window, off a vector
    Case(T=64, S=64, magnitude=100.0, causal=True),
    Case(T=64, S=64, scale=-1.0),
    Case(T=64, S=64, scale=0.0, causal=True),
]


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_native_matches_reference(case: Case, dtype: str) -> None:
    check(case, dtype)


@settings(max_examples=120, deadline=None)
@given(
    case=st.builds(
        Case,
        T=st.integers(1, 260),
        S=st.integers(1, 600),
        B=st.integers(1, 3),
        H=st.integers(1, 3),
        group=st.integers(1, 3),
        D=st.integers(1, 40),
        Dv=st.integers(1, 40),
        causal=st.booleans(),
        window=st.sampled_from([0, 0, 1, 2, 7, 60, 255, 300]),
        query_offset=st.sampled_from([-1, -1, 0, 3, 100]),
        packed=st.booleans(),
        key_mask=st.booleans(),
        magnitude=st.sampled_from([0.1, 1.0, 30.0]),
        seed=st.integers(0, 99),
    ),
    dtype=st.sampled_from(list(TORCH)),
    threads=st.integers(1, 2),
)
def test_native_matches_reference_anywhere(case: Case, dtype: str, threads: int) -> None:
    check(case, dtype, threads)


def test_a_window_that_is_off_by_one_is_seen() -> None:
    """The gate itself: a kernel with W + 1 keys would fail it."""
    case = Case(T=100, S=100, causal=True, window=8)
    inputs = case.inputs()
    truth = OPS[OP].reference(inputs, case.attributes)
    output = run(OP, inputs, replace(case, window=9).attributes)
    assert np.abs(output - truth).max() > 100 * allowance(truth, sdpa(case, inputs, "float32"), "float32")


@pytest.mark.parametrize("poison", [np.nan, np.inf], ids=["nan", "inf"])
def test_excluded_keys_leave_no_trace(poison: float) -> None:
    """Future keys, keys before the window and masked keys may hold anything."""
    case = Case(T=90, S=90, causal=True, window=20, key_mask=True)
    q, k, v, mask = case.inputs()
    mask[:, 60:] = False
    clean = run(OP, [q, k, v, mask], case.attributes)
    k[:, 60:], v[:, 60:] = poison, poison
    v[:, 0] = poison  # only rows 0..19 may see it
    dirty = run(OP, [q, k, v, mask], case.attributes)
    seen = np.zeros(90, dtype=bool)
    seen[:20] = mask[0, 0]
    np.testing.assert_allclose(dirty[:, ~seen], clean[:, ~seen], rtol=0, atol=1e-6)
    assert not np.isfinite(dirty[:, seen]).any()


def test_rows_without_keys_are_zero() -> None:
    case = Case(T=12, S=5, causal=True)  # rows 0..6 stand before the first key
    output = run(OP, case.inputs(), case.attributes)
    assert (output[:, :7] == 0).all()
    assert (output[:, 7:] != 0).all()


@pytest.mark.parametrize(("T", "S", "B"), [(7, 0, 1), (0, 7, 1), (3, 4, 0)], ids=["S0", "T0", "B0"])
def test_empty_axes(T: int, S: int, B: int) -> None:
    """No keys: zeros. No queries or no batch: an empty output, also with two threads."""
    case = Case(T=T, S=S, B=B, causal=True)
    output = run(OP, case.inputs(), case.attributes, threads=2)
    assert output.shape == (B, T, 32)
    assert (output == 0).all()
