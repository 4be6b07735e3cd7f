"""What a stream keeps does not drift: after thousands of frames as exact as after one window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from temport.custom_ops.cached_block_linear_attention import cached_block_linear_attention
from temport.custom_ops.table import OPS
from temport.exporter.build import save
from temport.exporter.parity.compare import FLOOR_ULPS
from temport.exporter.parity.stream import Streamed
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.oracle import WholeStream
from tests.numerics.one_node import EPS, Array, Node
from tests.small_models import SMALL
from tests.traces import build

OP = "CachedBlockLinearAttention"
STATE = ("Keys", "Values", "Earlier", "Block", "Lost")
ATTRIBUTES = {"num_heads": 1, "feature_map": "elu1", "normalizer": "key_sum", "eps": 1e-8}
FRAMES, ROWS, DIM = 3000, 2, 2
LONG, SETTLED = 20_000, 150
Step = Callable[[Mapping[str, Array]], list[Array]]


def start() -> dict[str, Array]:
    sums, ring = np.zeros((1, 1, DIM, DIM + 1), np.float32), np.zeros((1, ROWS, DIM), np.float32)
    return {"QKV": np.zeros((1, 1, 3 * DIM), np.float32), "Keys": ring, "Values": ring, "Earlier": sums,
            "Block": sums, "Lost": sums, "Frames": np.zeros((1, 1), np.int64)}  # fmt: skip


def natively(dtype: str) -> Step:
    session = Node(OP, start(), ATTRIBUTES).session(dtype)
    return lambda inputs: session.run(None, dict(inputs))


def in_torch(dtype: str) -> Step:
    def step(inputs: Mapping[str, Array]) -> list[Array]:
        kind = getattr(torch, dtype)
        tensors = [torch.from_numpy(x) for x in inputs.values()]
        given = [x.to(kind) if x.is_floating_point() else x for x in tensors]
        return [y.float().numpy() for y in cached_block_linear_attention(*given, **ATTRIBUTES)]

    return step


def by_definition(dtype: str) -> Step:
    kind = {"float32": np.float32, "float16": np.float16}[dtype]

    def step(inputs: Mapping[str, Array]) -> list[Array]:
        given = [x if x.dtype == np.int64 else x.astype(kind) for x in inputs.values()]
        return [y.astype(kind).astype(np.float32) for y in OPS[OP].reference(given, ATTRIBUTES)]

    return step


@pytest.mark.parametrize(
    ("made", "moves", "dtype"),
    [
        *((made, False, "float32") for made in (natively, in_torch, by_definition)),
        *((made, False, "float16") for made in (natively, by_definition)),
        *((natively, True, dtype) for dtype in ("float32", "float16")),
        pytest.param(in_torch, False, "float16", marks=pytest.mark.thorough),
        *(
            pytest.param(made, True, dtype, marks=pytest.mark.thorough)
            for made in (in_torch, by_definition)
            for dtype in ("float32", "float16")
        ),
    ],
)
def test_sums_do_not_drift(made: Callable[[str], Step], moves: bool, dtype: str) -> None:
    """Added plainly, at rest, they are dozens of roundings off."""
    step, random = made(dtype), np.random.default_rng(0)
    inputs, exact = start(), np.zeros((DIM, DIM + 1))
    plain = exact.astype(np.float32)
    newest = random.standard_normal((1, 1, 3 * DIM)).astype(np.float16).astype(np.float32)
    for t in range(FRAMES):
        if moves:
            newest = random.standard_normal((1, 1, 3 * DIM)).astype(np.float16).astype(np.float32)
        inputs |= {"QKV": newest, "Frames": np.full((1, 1), t, np.int64)}
        _, *after = step(inputs)
        inputs |= dict(zip(STATE, after, strict=True))
        k, v = newest.astype(np.float64).ravel()[DIM:].reshape(2, DIM)
        added = np.outer(np.where(k > 0, k + 1, np.exp(np.minimum(k, 0))), [*v, 1.0])
        exact, plain = exact + added, plain + added.astype(np.float32)
    allowed = 2 * EPS[dtype] * np.abs(exact).max()
    assert np.abs(inputs["Earlier"][0, 0] - exact).max() <= allowed
    if dtype == "float32" and not moves:
        assert np.abs(plain - exact).max() > 20 * allowed


@pytest.mark.parametrize(
    "name", [pytest.param("hybrid", marks=pytest.mark.thorough), "mega-softmax", "lightning-elu1"]
)
def test_a_stream_of_20000_frames_is_as_exact_as_a_window(name: str, tmp_path: Path) -> None:
    """Two streams at once, one of a sensor at rest and one of noise, in the native kernels.

    What an LSTM and a moving average keep of a frame is gone after some hundred, so float64 needs the last ones only;
    the sums of block-linear attention need all.
    """
    declaration, module = SMALL[name].declare_stream(batch="2", seq="9")
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    frames = np.random.default_rng(0).standard_normal((2, LONG, 6)).astype(np.float32)
    frames[0] = frames[0, :1]
    with Streamed(runtime_named("onnxruntime_native")).open(
        Subject(declaration, tmp_path / "model.onnx")
    ) as session:
        outputs = session.run({"frame": frames})["output"][:, -SETTLED:]
    needed = frames if name.startswith("lightning") else frames[:, -4 * SETTLED :]
    model = WholeStream(module, declaration).double()
    with torch.no_grad():
        exact = model(torch.from_numpy(needed).double())[0].numpy()[:, -SETTLED:]
    assert np.abs(outputs - exact).max() <= FLOOR_ULPS * EPS["float32"] * np.abs(exact).max()
