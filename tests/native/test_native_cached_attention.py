"""The native CachedAttention against the definition in float64: the ring, its filled rows, copied and held in place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from native_sessions import NODE, TORCH, Array, allowance, options, rounded
from one_step import IN_PLACE, model, run

OP, OUTPUTS = "CachedAttention", ("Y", "NextKeys", "NextValues")


@dataclass(frozen=True)
class Case:
    N: int
    D: int
    H: int = 2
    frames: tuple[int, ...] = (3,)
    scale: float | None = None
    magnitude: float = 1.0
    seed: int = 0

    @property
    def attributes(self) -> dict[str, Any]:
        return {"num_heads": self.H} | ({} if self.scale is None else {"scale": self.scale})

    def inputs(self) -> dict[str, Array]:
        rng = np.random.default_rng(self.seed)
        batch, C = len(self.frames), self.H * self.D
        qkv = rng.standard_normal((batch, 1, 3 * C), dtype=np.float32)
        qkv[..., :C] *= self.magnitude
        keys, values = rng.standard_normal((2, batch, self.N, C), dtype=np.float32)
        return {
            "QKV": qkv,
            "Keys": keys,
            "Values": values,
            "Frames": np.array(self.frames, np.int64)[:, None],
        }

    def filled(self, entry: int) -> int:
        """Rows that hold a frame of this batch entry once the newest is written."""
        return max(0, min(self.frames[entry] + 1, self.N))


def caches(case: Case, inputs: dict[str, Array]) -> tuple[Array, Array]:
    """Keys and values with the newest rows in place."""
    after = [inputs["Keys"].copy(), inputs["Values"].copy()]
    _, k, v = np.split(inputs["QKV"][:, 0], 3, axis=-1)
    for b, frames in enumerate(case.frames):
        after[0][b, frames % case.N], after[1][b, frames % case.N] = k[b], v[b]
    return after[0], after[1]


def definition(case: Case, inputs: dict[str, Array]) -> Array:
    """Y in float64."""
    keys, values = caches(case, inputs)
    C, scale = case.H * case.D, case.D**-0.5 if case.scale is None else case.scale
    y = np.zeros((len(case.frames), 1, C))
    for b in range(len(case.frames)):
        for part in (slice(h * case.D, (h + 1) * case.D) for h in range(case.H) if case.filled(b)):
            rows = slice(0, case.filled(b))
            scores = keys[b, rows, part].astype(np.float64) @ inputs["QKV"][b, 0, part] * scale
            weights = np.exp(scores - scores.max())
            y[b, 0, part] = weights / weights.sum() @ values[b, rows, part]
    return y


def sdpa(case: Case, inputs: dict[str, Array], dtype: str) -> torch.Tensor:
    """torch's own attention in `dtype`, batch entry by batch entry."""
    keys, values = caches(case, inputs)
    query, rows = inputs["QKV"][..., : case.H * case.D], []
    for b in range(len(case.frames)):
        q, k, v = (
            torch.from_numpy(x[b]).to(TORCH[dtype]).unflatten(-1, (case.H, -1)).transpose(0, 1)
            for x in (query, keys[:, : case.filled(b)], values[:, : case.filled(b)])
        )
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=case.scale)
        rows.append(y.transpose(0, 1).flatten(1) if case.filled(b) else torch.zeros(1, case.H * case.D))
    return torch.stack([row.to(TORCH[dtype]) for row in rows])


def check(case: Case, dtype: str, threads: int = 1) -> None:
    names, values = zip(*case.inputs().items(), strict=True)
    exact = rounded(values[:3], dtype)
    inputs = dict(zip(names, [*exact, values[3]], strict=True))
    got = run(OP, inputs, OUTPUTS, case.attributes, dtype, threads)
    for name, expected in zip(OUTPUTS[1:], caches(case, inputs), strict=True):
        np.testing.assert_array_equal(got[name], expected)
    truth = definition(case, inputs)
    assert got["Y"].shape == truth.shape
    assert np.abs(got["Y"] - truth).max() <= allowance(truth, sdpa(case, inputs, dtype), dtype)


FRAMES = [(0,), (10**12,), (0, 1, 7, 10**12, -1)]
CASES = [Case(N, D, frames=frames) for N in (1, 2, 60, 65) for D in (1, 16, 33, 64) for frames in FRAMES]
CASES += [Case(60, 32, H=8, frames=(n,)) for n in (58, 59, 60, 61, 119)]
CASES += [
    Case(
        300, 256, H=3, frames=(299, 12, 1000)
    ),  # rows of several key tiles, and more work than one thread is for
    Case(60, 64, H=4, frames=(70,), scale=-1.0),
    Case(60, 64, H=4, frames=(70,), scale=0.0),
    Case(65, 64, H=4, frames=(70,), magnitude=100.0),
    Case(60, 64, H=1, frames=(-61, -60, -(2**63), 2**63 - 1)),
]


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_native_matches_the_definition(case: Case, dtype: str) -> None:
    check(case, dtype)


def test_two_threads_say_the_same() -> None:
    check(Case(300, 256, H=3, frames=(299, 12, 1000, 5, 600)), "float32", threads=2)


def test_a_wrong_number_of_rows_is_seen() -> None:
    """The gate itself: a kernel that reads one row more or less, or all of them, would fail it."""
    case = Case(60, 16)
    inputs = case.inputs()
    truth = definition(case, inputs)
    for frames in (2, 4, 59):
        wrong = definition(replace(case, frames=(frames,)), inputs)
        assert np.abs(wrong - truth).max() > 100 * allowance(truth, sdpa(case, inputs, "float32"), "float32")


@pytest.mark.parametrize("in_place", [None, IN_PLACE], ids=["copied", "in place"])
@pytest.mark.parametrize("poison", [np.nan, np.inf], ids=["nan", "inf"])
def test_empty_rows_leave_no_trace(poison: float, in_place: dict[str, str] | None) -> None:
    """Rows that this stream has not filled may hold anything, and so may the row that is overwritten."""
    case = Case(60, 33, H=3, frames=(0, 20, 58, -1))
    inputs = case.inputs()
    clean = run(OP, inputs, OUTPUTS, case.attributes)["Y"]
    for name in ("Keys", "Values"):
        for b, frames in enumerate(case.frames):
            inputs[name][b, max(0, frames) :] = poison
    np.testing.assert_array_equal(run(OP, inputs, OUTPUTS, case.attributes, in_place=in_place)["Y"], clean)
    assert (clean[3] == 0).all()


@pytest.mark.parametrize("leading", [[2, 1], [2]], ids=str)
def test_shapes_are_inferred(leading: list[int]) -> None:
    case = Case(60, 16, frames=(1, 2))
    inputs = case.inputs()
    inputs["QKV"] = inputs["QKV"].reshape(*leading, -1)
    proto = model(OP, inputs, OUTPUTS, case.attributes)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options())
    assert [o.shape for o in session.get_outputs()] == [[*leading, 32], [2, 60, 32], [2, 60, 32]]


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("Keys", (2, 60), r"Keys has shape \[2, 60\]; it must be \[batch, N, C\] with N at least 1"),
        ("Keys", (2, 0, 32), r"Keys has shape \[2, 0, 32\]; it must be \[batch, N, C\] with N at least 1"),
        ("Keys", (2, 60, 33), "last axis of Keys is 33; it must be a positive multiple of num_heads = 2"),
        ("QKV", (2, 1, 95), r"QKV has shape \[2, 1, 95\]; it must be \[2, 1, 96\]"),
        ("QKV", (2, 95), r"QKV has shape \[2, 95\]; it must be \[2, 96\]"),
        ("QKV", (2, 2, 96), r"QKV has shape \[2, 2, 96\]; it must be \[2, 1, 96\]"),
        ("Values", (2, 61, 32), r"Values has shape \[2, 61, 32\]; it must be \[2, 60, 32\]"),
        ("Frames", (2,), r"Frames has shape \[2\]; it must be \[2, 1\]"),
    ],
)
def test_a_bad_shape_is_one_sentence(name: str, shape: tuple[int, ...], sentence: str) -> None:
    case = Case(60, 16, frames=(1, 2))
    inputs = case.inputs()
    inputs[name] = np.zeros(shape, inputs[name].dtype)
    with pytest.raises(Exception, match=sentence) as error:
        run(OP, inputs, OUTPUTS, case.attributes)
    assert NODE in str(error.value)


def test_other_wrong_nodes_are_refused() -> None:
    case = Case(60, 16, frames=(1, 2))
    inputs = case.inputs()
    floating = {**inputs, "Frames": inputs["Frames"].astype(np.float32)}
    with pytest.raises(Exception, match=r"Type 'tensor\(float\)' of input parameter \(Frames\)"):
        run(OP, floating, OUTPUTS, case.attributes)
    with pytest.raises(
        Exception, match="attribute num_heads is missing; it must be an integer of at least 1"
    ):
        run(OP, inputs, OUTPUTS, {})
    proto = model(OP, inputs, OUTPUTS[:1], case.attributes)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options())
    with pytest.raises(Exception, match="outputs NextKeys and NextValues must be given"):
        session.run(None, inputs)
