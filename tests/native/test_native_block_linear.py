"""The native BlockLinearAttention against the float64 reference, over shapes, dtypes and attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_sessions import TORCH, allowance, rounded, run

from temport.custom_ops.block_linear_attention import block_linear_attention
from temport.custom_ops.table import OPS

OP = "BlockLinearAttention"


@dataclass(frozen=True)
class Case:
    """`identity` with `key_sum` draws positive queries and keys: elsewhere its denominator may pass through 0."""

    T: int
    block: int
    B: int = 1
    H: int = 2
    D: int = 16
    Dv: int = 16
    feature_map: str = "elu1"
    normalizer: str = "key_sum"
    packed: bool = False
    seed: int = 0

    def __str__(self) -> str:
        return (
            f"B{self.B}-T{self.T}-block{self.block}-H{self.H}-D{self.D}-{self.feature_map}-{self.normalizer}"
        )

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "num_heads": self.H,
            "block_size": self.block,
            "scale": float(np.float32(self.D**-0.5)),
            "feature_map": self.feature_map,
            "normalizer": self.normalizer,
            "eps": float(np.float32(1e-8)),
        }

    def inputs(self) -> list[np.ndarray | None]:
        rng = np.random.default_rng(self.seed)
        Dv = self.D if self.packed else self.Dv
        q, k = (rng.standard_normal((self.B, self.T, self.H * self.D), dtype=np.float32) for _ in range(2))
        v = rng.standard_normal((self.B, self.T, self.H * Dv), dtype=np.float32)
        if (self.feature_map, self.normalizer) == ("identity", "key_sum"):
            q, k = np.abs(q) + 0.1, np.abs(k) + 0.1
        return [np.concatenate((q, k, v), axis=2), None, None] if self.packed else [q, k, v]


def check(case: Case, dtype: str, threads: int) -> None:
    inputs = rounded(case.inputs(), dtype)
    truth = OPS[OP].reference(inputs, case.attributes)
    output = run(OP, inputs, case.attributes, dtype, threads)
    tensors = [None if x is None else torch.from_numpy(x).to(TORCH[dtype]) for x in inputs]
    ours = block_linear_attention(*tensors, **case.attributes)
    assert output.shape == truth.shape
    assert np.abs(output - truth).max(initial=0) <= allowance(truth, ours, dtype)


CASES = [
    Case(T=1, block=1),
    Case(T=64, block=64),
    Case(T=200, block=64, H=4, D=64, packed=True),
    Case(T=65, block=64, feature_map="identity"),
    Case(T=130, block=1, D=5, Dv=9),
    Case(T=500, block=150, D=8, Dv=33),
    Case(T=700, block=300, B=2, D=8, Dv=8, normalizer="none"),
    Case(T=30, block=500),
]


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_native_matches_reference(case: Case, dtype: str) -> None:
    check(case, dtype, threads=2)


@settings(max_examples=80, deadline=None)
@given(
    case=st.builds(
        Case,
        T=st.integers(1, 300),
        block=st.integers(1, 320),
        B=st.integers(1, 2),
        H=st.integers(1, 3),
        D=st.integers(1, 40),
        Dv=st.integers(1, 40),
        feature_map=st.sampled_from(["identity", "elu1"]),
        normalizer=st.sampled_from(["key_sum", "none"]),
        packed=st.booleans(),
        seed=st.integers(0, 99),
    ),
    dtype=st.sampled_from(list(TORCH)),
    threads=st.integers(1, 2),
)
def test_native_matches_reference_anywhere(case: Case, dtype: str, threads: int) -> None:
    check(case, dtype, threads)


def test_threads_do_not_change_a_bit() -> None:
    """Sums over blocks are added in one order, whoever computes them."""
    case = Case(T=900, block=32, H=1, D=24, Dv=24)
    one = run(OP, case.inputs(), case.attributes, threads=1)
    for _ in range(5):
        np.testing.assert_array_equal(run(OP, case.inputs(), case.attributes, threads=2), one)


def test_a_wrong_block_size_is_seen() -> None:
    case = Case(T=200, block=64)
    inputs = case.inputs()
    truth = OPS[OP].reference(inputs, case.attributes)
    output = run(OP, inputs, {**case.attributes, "block_size": 65})
    tensors = [torch.from_numpy(x) for x in inputs if x is not None]
    limit = allowance(truth, block_linear_attention(*tensors, **case.attributes), "float32")
    assert np.abs(output - truth).max() > 100 * limit


@pytest.mark.parametrize(("T", "B"), [(0, 1), (3, 0)], ids=["T0", "B0"])
def test_empty_axes(T: int, B: int) -> None:
    case = Case(T=T, block=2, B=B)
    assert run(OP, case.inputs(), case.attributes, threads=2).shape == (B, T, 32)
