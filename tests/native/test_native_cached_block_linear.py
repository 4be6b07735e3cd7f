"""The native CachedBlockLinearAttention against its definition: in float64, and its sums in float32 bit by bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from native_sessions import NODE, TORCH, Array, allowance, options, rounded
from one_step import IN_PLACE, model, run

from temport.custom_ops.block_linear_attention import block_linear_attention as torch_op
from temport.custom_ops.table import OPS

OP = "CachedBlockLinearAttention"
SUMS = ("Earlier", "Block", "Lost")
OUTPUTS = ("Y", "NextKeys", "NextValues", *(f"Next{name}" for name in SUMS))


@dataclass(frozen=True)
class Case:
    N: int
    D: int
    H: int = 2
    frames: tuple[int, ...] = (3,)
    feature_map: str = "elu1"
    normalizer: str = "key_sum"
    seed: int = 0

    @property
    def attributes(self) -> dict[str, Any]:
        return {
            "num_heads": self.H,
            "feature_map": self.feature_map,
            "normalizer": self.normalizer,
            "eps": 1e-8,
        }

    def inputs(self) -> dict[str, Array]:
        """Sums as large as those of some frames; with the identity as phi all features are positive."""
        rng = np.random.default_rng(self.seed)
        batch, C = len(self.frames), self.H * self.D
        qkv = rng.standard_normal((batch, 1, 3 * C), dtype=np.float32)
        if self.feature_map == "identity":
            qkv[..., : 2 * C] = np.abs(qkv[..., : 2 * C]) + np.float32(0.1)
        keys, values = rng.standard_normal((2, batch, self.N, C), dtype=np.float32)
        earlier, block, lost = rng.standard_normal((3, batch, self.H, self.D, self.D + 1), dtype=np.float32)
        earlier[..., -1], block[..., -1] = 40 + earlier[..., -1], 9 + block[..., -1]
        return {
            "QKV": qkv,
            "Keys": keys,
            "Values": values,
            "Earlier": 5 * earlier,
            "Block": 3 * block,
            "Lost": np.float32(1e-7) * lost,
            "Frames": np.array(self.frames, np.int64)[:, None],
        }


def definition(case: Case, inputs: dict[str, Array], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The outputs, every operation in `dtype`."""
    given = {name: torch.from_numpy(x).to(dtype) for name, x in inputs.items() if name != "Frames"}
    slots = [frames % case.N for frames in case.frames]
    q, k, v = given["QKV"].chunk(3, dim=-1)
    after = {"NextKeys": given["Keys"].clone(), "NextValues": given["Values"].clone()}
    inside = torch.empty_like(q)
    for b, slot in enumerate(slots):
        after["NextKeys"][b, slot], after["NextValues"][b, slot] = k[b, 0], v[b, 0]
        query, keys, values = (
            x.unflatten(-1, (case.H, case.D)).transpose(0, 1)
            for x in (q[b], after["NextKeys"][b, : slot + 1], after["NextValues"][b, : slot + 1])
        )
        y = torch.nn.functional.scaled_dot_product_attention(query, keys, values)
        inside[b] = y.transpose(0, 1).flatten(1)

    def feature(x: torch.Tensor) -> torch.Tensor:
        return x if case.feature_map == "identity" else torch.relu(x) + x.clamp(max=0).exp()

    q, k, v = (x.unflatten(-1, (case.H, case.D)).transpose(1, 2) for x in (q, k, v))
    weighted = feature(q) @ given["Earlier"]
    before = weighted[..., :-1]
    if case.normalizer == "key_sum":
        before = before / (weighted[..., -1:] + 1e-8)
    added = feature(k).mT * torch.nn.functional.pad(v, (0, 1), value=1.0) - given["Lost"]
    grown = given["Block"] + added
    ends = torch.tensor([slot == case.N - 1 for slot in slots])[:, None, None, None]
    complete = torch.where(ends, grown, 0.0)
    earlier = given["Earlier"] + complete
    return {
        "Y": inside + before.transpose(1, 2).flatten(2),
        **after,
        "NextEarlier": earlier,
        "NextBlock": grown - complete,
        "NextLost": ((grown - given["Block"]) - added) + ((earlier - given["Earlier"]) - complete),
    }


def check(case: Case, dtype: str, threads: int = 1) -> None:
    given = case.inputs()
    exact = rounded(list(given.values())[:-1], dtype)
    inputs = dict(zip(given, [*exact, given["Frames"]], strict=True))
    got = run(OP, inputs, OUTPUTS, case.attributes, dtype, threads)
    truth = definition(case, inputs, torch.float64)
    peer = definition(case, inputs, TORCH[dtype])
    for name in ("NextKeys", "NextValues"):
        np.testing.assert_array_equal(got[name], truth[name].float().numpy())
    for name in ("Y", "NextEarlier", "NextBlock"):
        expected = truth[name].numpy()
        assert got[name].shape == expected.shape
        assert np.abs(got[name] - expected).max() <= allowance(expected, peer[name], dtype), name
    if dtype == "float32" and case.feature_map == "identity":
        for name in OUTPUTS[3:]:
            np.testing.assert_array_equal(got[name], peer[name].numpy(), name)


FRAMES = [(0,), (10**12,), (0, 1, 64, 10**12, -1)]
CASES = [Case(N, D, frames=frames) for N in (1, 2, 60, 65) for D in (1, 16, 33, 64) for frames in FRAMES]
CASES += [Case(60, 32, H=8, frames=(n,), feature_map="identity") for n in (0, 58, 59, 60, 119)]
CASES += [
    Case(60, D, frames=(59, 130), feature_map="identity", normalizer="none")
    for D in (1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 63, 65, 256)
]
CASES += [Case(300, 256, H=3, frames=(299, 12, 1000))]


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_native_matches_the_definition(case: Case, dtype: str) -> None:
    check(case, dtype)


def test_two_threads_say_the_same() -> None:
    check(Case(300, 256, H=3, frames=(299, 12, 1000, 5, 600), feature_map="identity"), "float32", threads=2)


@pytest.mark.parametrize("feature_map", ["identity", "elu1"])
def test_a_stream_is_the_sequence(feature_map: str) -> None:
    """Frame by frame from zero, two and a half blocks and more: the rows of BlockLinearAttention over the sequence."""
    case = Case(17, 8, H=3, frames=(0, 0), feature_map=feature_map)
    first = case.inputs()
    proto = model(OP, first, OUTPUTS, case.attributes)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options())
    rng = np.random.default_rng(1)
    qkv = rng.standard_normal((2, 60, 72), dtype=np.float32)
    if feature_map == "identity":
        qkv = np.abs(qkv)
    attributes = {**case.attributes, "block_size": 17}
    truth = OPS["BlockLinearAttention"].reference([qkv], attributes)
    assert isinstance(truth, np.ndarray)
    state = {name: np.zeros_like(x) for name, x in first.items() if name != "QKV"}
    rows = []
    for t in range(60):
        y, *after = session.run(None, {"QKV": qkv[:, t : t + 1], **state})
        rows.append(y)
        state = dict(zip(("Keys", "Values", *SUMS), after, strict=True)) | {"Frames": state["Frames"] + 1}
    whole = torch_op(torch.from_numpy(qkv), **attributes)
    assert np.abs(np.concatenate(rows, 1) - truth).max() <= allowance(truth, whole, "float32")


def test_what_rounding_took_is_kept() -> None:
    """A thousand tenths in one block: compensated, their sum errs by two roundings at most, added plainly by many."""
    block = lost = np.zeros((1, 1, 1, 2), np.float32)
    tenth = np.full((1, 1, 3), 0.1, np.float32)
    case = Case(2, 1, H=1, feature_map="identity")
    cache = np.zeros((1, case.N, 1), np.float32)
    inputs = {"QKV": tenth, "Keys": cache, "Values": cache, "Earlier": block, "Block": block, "Lost": lost}
    inputs["Frames"] = np.zeros((1, 1), np.int64)
    proto = model(OP, inputs, OUTPUTS, case.attributes)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options())
    for _ in range(1000):
        block, lost = session.run(["NextBlock", "NextLost"], {**inputs, "Block": block, "Lost": lost})
    exact = 1000 * np.float64(np.float32(0.1)) * np.array([np.float64(np.float32(0.1)), 1.0])
    allowed = 2 * np.finfo(np.float32).eps
    np.testing.assert_allclose(block.ravel(), exact, rtol=allowed)
    plain = np.add.accumulate(np.full(1000, 0.1, np.float32))[-1]
    assert abs(plain - exact[1]) > 10 * allowed * exact[1]


@pytest.mark.parametrize(
    "change", [{"normalizer": "none"}, {"feature_map": "identity"}, {"frames": (58,)}], ids=str
)
def test_another_meaning_is_seen(change: dict[str, Any]) -> None:
    """The gate itself: another map, no divisor, or a block that ends one frame early or late would fail it."""
    case = Case(60, 16, frames=(59,))
    inputs = case.inputs()
    truth, wrong = (definition(c, inputs, torch.float64) for c in (case, replace(case, **change)))
    peer = definition(case, inputs, torch.float32)
    assert any(
        np.abs((wrong[n] - truth[n]).numpy()).max() > 100 * allowance(truth[n].numpy(), peer[n], "float32")
        for n in ("Y", "NextEarlier", "NextBlock")
    )


@pytest.mark.parametrize("poison", [np.nan, np.inf], ids=["nan", "inf"])
def test_rows_of_the_block_before_leave_no_trace(poison: float) -> None:
    case = Case(60, 33, H=3, frames=(0, 60, 58, 10**12))
    inputs = case.inputs()
    clean = run(OP, inputs, OUTPUTS, case.attributes)["Y"]
    for name in ("Keys", "Values"):
        for b, frames in enumerate(case.frames):
            inputs[name][b, frames % case.N :] = poison
    for in_place in (None, IN_PLACE):
        y = run(OP, inputs, OUTPUTS, case.attributes, in_place=in_place)["Y"]
        np.testing.assert_array_equal(y, clean)


@pytest.mark.parametrize("leading", [[2, 1], [2]], ids=str)
def test_shapes_are_inferred(leading: list[int]) -> None:
    case = Case(60, 16, frames=(1, 2))
    inputs = case.inputs()
    inputs["QKV"] = inputs["QKV"].reshape(*leading, -1)
    proto = model(OP, inputs, OUTPUTS, case.attributes)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options())
    expected = [[*leading, 32]] + 2 * [[2, 60, 32]] + 3 * [[2, 2, 16, 17]]
    assert [o.shape for o in session.get_outputs()] == expected


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("QKV", (2, 1, 95), r"QKV has shape \[2, 1, 95\]; it must be \[2, 1, 96\]"),
        ("Frames", (1, 1), r"Frames has shape \[1, 1\]; it must be \[2, 1\]"),
        ("Earlier", (2, 2, 16, 16), r"Earlier has shape \[2, 2, 16, 16\]; it must be \[2, 2, 16, 17\]"),
        ("Block", (2, 2, 17, 16), r"Block has shape \[2, 2, 17, 16\]; it must be \[2, 2, 16, 17\]"),
        ("Lost", (1, 2, 16, 17), r"Lost has shape \[1, 2, 16, 17\]; it must be \[2, 2, 16, 17\]"),
    ],
)
def test_a_bad_shape_is_one_sentence(name: str, shape: tuple[int, ...], sentence: str) -> None:
    case = Case(60, 16, frames=(1, 2))
    inputs = case.inputs()
    inputs[name] = np.zeros(shape, inputs[name].dtype)
    with pytest.raises(Exception, match=sentence) as error:
        run(OP, inputs, OUTPUTS, case.attributes)
    assert NODE in str(error.value)


def test_a_wrong_map_is_refused() -> None:
    case = Case(60, 16, frames=(1, 2))
    with pytest.raises(Exception, match="attribute feature_map is 'relu'; it must be identity or elu1"):
        run(OP, case.inputs(), OUTPUTS, {**case.attributes, "feature_map": "relu"})
