"""Layers whose weights are integers with scales, of any sizes, against the same layers with the numbers in float32."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import pytest
from case import Case
from cases import TABLES
from hypothesis import given, settings
from hypothesis import strategies as st
from one_node import native_options, run_session, session
from test_stored_weights import BLOCK, OPS, alone, graph

Array = npt.NDArray[Any]


@st.composite
def layers(draw: st.DrawFn) -> tuple[str, str, Case, Case]:
    """An op, a type, and a layer of any sizes with integers in blocks of any size, or with one scale per output, and
    scales of any magnitude; then the same layer with the numbers in float32.
    """
    op, kind = draw(st.sampled_from(OPS)), draw(st.sampled_from(["int4", "int4", "int8"]))
    block, blocks = draw(st.sampled_from([8, 16, 24, 32, 1, 3, 12, 40])), draw(st.integers(1, 5))
    rng, rows = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from([1, 2, 7, 100]))
    size, per_output = draw(st.integers(1, 150)), kind == "int8" or draw(st.integers(0, 3)) == 0
    low, high, stored_as = (-8, 8, ml_dtypes.int4) if kind == "int4" else (-128, 128, np.int8)
    given: dict[str, Array] = {}
    plain: dict[str, Array] = {}

    def weight(name: str, shape: tuple[int, ...], axis: int, block: int) -> None:
        parts = [n // block if i == axis else n for i, n in enumerate(shape)]
        values = rng.integers(low, high, shape)
        scale = (rng.random(parts) * 10.0 ** rng.integers(-20, 0, parts)).astype(np.float32)
        if (
            kind == "int8"
        ):  # 16 significant bits: the numbers are what they mean, and not rounded before they are multiplied
            scale = (scale.view(np.uint32) & 0xFFFFFF00).view(np.float32)
        given[name], given[f"{name}_scale"] = values.astype(stored_as), scale
        plain[name] = values.astype(np.float32) * np.repeat(scale, block, axis)

    inputs = block * blocks
    if op == "FusedDense":
        groups = draw(st.sampled_from([1, 1, 3]))
        weight(
            "W",
            (inputs, size) if groups == 1 else (groups, inputs, size),
            -2 % (2 + (groups > 1)),
            inputs if per_output else block,
        )
        biases = rng.standard_normal(groups * size) * (rows > 1)  # of one row the product is rounded alone
        plain |= {"X": rng.standard_normal((rows, groups * inputs)), "B": biases}
        attributes: dict[str, Any] = {"activation": "none", "groups": groups}
    else:
        gates, hidden = {"FusedLSTM": 4, "FusedGRU": 3}[op], block * draw(st.integers(1, 4))
        weight("W", (1, gates * hidden, inputs), 2, inputs if per_output else block)
        weight("R", (1, gates * hidden, hidden), 2, hidden if per_output else block)
        plain["X"] = rng.standard_normal((3, rows, inputs))
        attributes = {"hidden_size": hidden}
    plain = {name: x.astype(np.float32) for name, x in plain.items()}
    if draw(st.integers(0, 3)) == 0:
        x = plain["X"].reshape(-1)
        x[rng.integers(0, x.size, 2)] = rng.choice(
            [np.nan, np.inf, -np.inf, 1e-40, 3e38 if kind == "int4" else 1e28], 2
        )
    order = TABLES[op].inputs
    return (
        op,
        kind,
        Case({n: (plain | given)[n] for n in order if n in plain or n in given}, attributes),
        Case({n: plain[n] for n in order if n in plain}, attributes),
    )


def in_digits(given: dict[str, Array], groups: int) -> Array:
    """One row times int8 as custom_ops/native/digits.h has it: whole numbers of 31 bits, and sums rounded once."""
    x = given["X"].reshape(groups, 1, -1)
    largest = np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(2.0**-96))
    unit = np.ldexp(1.0, np.frexp(largest)[1] - 30)
    sums = np.trunc(x.astype(np.float64) / unit) @ given["W"].reshape(groups, x.shape[-1], -1).astype(
        np.float64
    )
    scaled = (sums.astype(np.float32) * unit).astype(np.float32)  # a power of two: nothing is rounded
    scale = given["W_scale"].reshape(groups, 1, -1)
    return (scaled * scale).reshape(1, -1)


Run = Callable[[onnx.ModelProto, Case], dict[str, Array]]


def here(proto: onnx.ModelProto, case: Case) -> dict[str, Array]:
    return run_session(session(proto, native_options()), case)


def try_integers(examples: int, runs: Sequence[Run] = (here,)) -> None:
    """Up to rounding; those of int4 to the last bit where several rows share them, one row by its exact sums."""

    @settings(max_examples=examples, deadline=None)
    @given(layers())
    def check(drawn: tuple[str, str, Case, Case]) -> None:
        op, kind, case, numbers = drawn
        table = TABLES[op]
        x = case.inputs["X"]
        finite, alone_in_batch = bool(np.isfinite(x).all()), x.shape[-2] == 1
        for run in runs:
            got, plain = (run(graph(table, c), alone(c)) for c in (case, numbers))
            for name, y in got.items():
                if kind == "int4" and not alone_in_batch:
                    np.testing.assert_array_equal(y, plain[name])
                elif not finite:
                    np.testing.assert_array_equal(np.isfinite(y), np.isfinite(plain[name]))
            if finite and alone_in_batch and op == "FusedDense" and kind == "int8":
                np.testing.assert_array_equal(got["Y"], in_digits(case.inputs, case.attributes["groups"]))
            if finite and np.abs(case.inputs["X"]).max() < 1e20:
                excess = table.excess(got, numbers, "float32", 2 * table.roundings)
                assert all(times <= 1 for times in excess.values()), excess

    check()


def test_integers_are_the_numbers_that_they_mean() -> None:
    try_integers(30)


def test_a_session_holds_four_bits_as_four_bits() -> None:
    """So many numbers that float32 would take 64 MiB for them; the session's own copy is there too."""
    sizes, rng = (4096, 4096), np.random.default_rng(0)
    weight = rng.integers(-8, 8, sizes, np.int8).astype(ml_dtypes.int4)
    scale = np.full((sizes[0] // BLOCK, sizes[1]), 0.1, np.float32)
    given = {"X": np.zeros((1, sizes[0]), np.float32), "W": weight, "B": np.zeros(sizes[1], np.float32)}
    proto = graph(TABLES["FusedDense"], Case(given | {"W_scale": scale}, {}))
    before = held_now()
    opened = session(proto, native_options())
    assert held_now() - before < 48 * 2**20
    assert opened.run(None, {"X": given["X"]})[0].shape == (1, sizes[1])


def held_now() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("size", [1e-30, 1e27])
@pytest.mark.parametrize("rows", [1, 9])
def test_sums_of_int8_are_right_from_next_to_nothing_to_their_end(size: float, rows: int) -> None:
    """Beyond it, 2^104, they are infinite, and no other number."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((rows, 70)) * size).astype(np.float32), rng.integers(-127, 128, (70, 40))
    scale = np.full(40, 1e-3 if size > 1 else 1e3, np.float32)
    case = Case({"X": x, "W": w.astype(np.int8), "B": np.zeros(40, np.float32), "W_scale": scale}, {})
    opened = session(graph(TABLES["FusedDense"], case), native_options())
    truth = x.astype(np.float64) @ w * scale.astype(np.float64)
    np.testing.assert_allclose(opened.run(None, {"X": x})[0], truth, rtol=0, atol=1e-6 * np.abs(truth).max())
    far = np.zeros_like(x)
    far[:, 0] = 1e33
    assert np.isinf(opened.run(None, {"X": far})[0][:, w[0] != 0]).all()
