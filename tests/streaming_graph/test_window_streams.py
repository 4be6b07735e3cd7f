"""Models that read exactly their last frames and mask nothing: a stream is the module on the last N, from 0 on."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from rich.console import Console
from streaming_graph.step_of import integers, weight
from torch import Tensor, nn

import temport
from temport.exporter.bundle.directory import open_bundle
from temport.exporter.declare.call import own
from temport.exporter.declare.declaration import AFTER, BEFORE, Axis
from temport.exporter.declare.modules import declare_factory
from temport.exporter.errors import UserError
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.recheck import run_parity_of_bundle
from temport.exporter.request import ExportRequest, declared
from temport.exporter.streaming import window_step
from temport.exporter.streaming.sequences import of_sequences, window_stream
from temport.exporter.streaming.step_graph import StepGraph

WINDOW, FRAMES = 5, 13


class Encoder(nn.Module):
    """Attention of all frames to all, learned positions, an embedding with a bias in front."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4))
        self.place = nn.Parameter(torch.randn(WINDOW, 4))
        self.attend, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.embed(frames) + self.place
        return self.head((x + self.attend(x, x, x, need_weights=False)[0])[:, -1])


class Flat(nn.Module):
    """All frames as one vector, with a static input; two outputs, one of every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.goal = nn.Linear(3, 4), nn.Linear(2, 4)
        self.both = nn.LSTM(4, 3, batch_first=True, bidirectional=True)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(WINDOW * 4, 6), nn.Tanh())

    def forward(self, frames: Tensor, goal: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.embed(frames)) + self.goal(goal)[:, None]
        return {"action": self.head(x), "every": self.both(x)[0]}


class Pictures(nn.Module):
    """Small pictures and tokens, batch and frames on one axis; a centred convolution along time over both."""

    def __init__(self) -> None:
        super().__init__()
        self.see, self.read = nn.Conv2d(1, 2, 3, stride=2), nn.Embedding(7, 4)
        self.dense, self.mix = nn.Linear(8, 4), nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, pictures: Tensor, tokens: Tensor) -> Tensor:
        seen = torch.relu(self.see(pictures.flatten(0, 1)[:, None])).flatten(1)
        x = self.dense(seen).unflatten(0, (pictures.shape[0], WINDOW)) + self.read(tokens)
        return self.mix(x.transpose(1, 2)).amax(2)


class Rows(nn.Module):
    """Batch and frames on one axis, apart again just before what mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.mix = nn.Linear(3, 4), nn.LSTM(4, 2, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        rows = torch.tanh(self.dense(frames.flatten(0, 1)))
        return self.mix(rows.unflatten(0, (frames.shape[0], WINDOW)))[0]


MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], tuple[str, ...]]] = {
    "encoder": (Encoder, ("frames=batch,seq,3",), ("embed.2",)),
    "flat": (Flat, ("frames=batch,seq,3", "goal=batch,2"), ("Relu",)),
    "rows": (Rows, ("frames=batch,seq,3",), ("",)),
    "pictures": (Pictures, ("pictures=batch,seq,5,5", "tokens:int64[0:7]=batch,seq"), ("Add",)),
}
"""What is to be kept of each stands behind it."""
ORDERED = [pytest.param(name, marks=pytest.mark.thorough) if name == "flat" else name for name in MODULES]


@cache
def made(name: str) -> tuple[nn.Module, tuple[str, ...], StepGraph]:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return MODULES[name][0]()

    declaration, module = declare_factory(
        build, "m.py:make", MODULES[name][1], batch="1:2:4", seq=str(WINDOW)
    )
    step = window_stream(module, declaration, WINDOW)
    return own(module).double().eval(), tuple(s.name for s in declaration.inputs), step


def worst(name: str) -> float:
    """How far a stream is from the module on the last frames, of its largest value; zeros stand before the first."""
    module, names, step = made(name)
    rng, batch = np.random.default_rng(0), 2
    given = {
        "frames": rng.standard_normal((batch, FRAMES, 3)),
        "goal": rng.standard_normal((batch, 2)),
        "pictures": rng.standard_normal((batch, FRAMES, 5, 5)),
        "tokens": rng.integers(0, 7, (batch, FRAMES)),
    }
    graph, off, scale = Float64Graph(ir.to_proto(step.model)), 0.0, 0.0
    state = {s.name: np.zeros(s.at(batch=batch), s.dtype) for s in step.states}
    for t in range(FRAMES):
        frame = {n: given[n] if n == "goal" else given[n][:, t : t + 1] for n in names}
        now = graph.run({**frame, **state})
        state = {n: now[AFTER + n.removeprefix(BEFORE)] for n in state}
        with torch.no_grad():
            windows = [torch.from_numpy(given[n] if n == "goal" else last(given[n], t)) for n in names]
            outputs = module(*windows)
        right = outputs if isinstance(outputs, dict) else {"output": outputs}
        for key, value in right.items():
            off = max(off, float(np.abs(now[key] - value.numpy()).max()))
            scale = max(scale, float(value.abs().max()))
    return off / scale


def last(frames: np.ndarray, t: int) -> np.ndarray:
    seen = frames[:, max(0, t + 1 - WINDOW) : t + 1]
    zeros = np.zeros((len(frames), WINDOW - seen.shape[1], *frames.shape[2:]), frames.dtype)
    return np.concatenate([zeros, seen], 1)


@pytest.mark.parametrize("name", ORDERED)
def test_a_stream_is_the_module_on_its_last_frames(name: str) -> None:
    assert worst(name) < 1e-6  # what a frame of zeros gives is computed in float32


@pytest.mark.parametrize("name", ORDERED)
def test_what_is_frame_wise_is_kept_and_nothing_else(name: str) -> None:
    _, _, step = made(name)
    (sentence,) = step.told
    kept, _, again = sentence.partition(", and computes ")
    assert kept.count(f"{WINDOW - 1} frames of") == len(MODULES[name][2]) == len(step.states) - 1
    assert all(layer in kept for layer in MODULES[name][2]) and f"anew over {WINDOW} frames" in again
    assert step.warm_up == WINDOW - 1


def test_frames_that_are_missing_are_zeros_and_not_rings_of_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a layer with a bias the two differ, and the comparison says so."""
    monkeypatch.setattr(window_step._Window, "_of_zeros", lambda self, value, place: None)
    made.cache_clear()
    assert worst("encoder") > 1e-3
    made.cache_clear()


def written(folder: Path) -> Path:
    """A file whose axis of frames is the number 5."""
    text = """<ir_version: 9, opset_import: ["" : 18]> f (float[2, 5, 4] x) => (float[2, 4] y) {
        a = MatMul (x, w) m = ReduceMean <keepdims = 1> (a, axis) d = Sub (a, m) s = Softmax <axis = 1> (d)
        p = Mul (s, d) y = ReduceSum <keepdims = 0> (p, axis)}"""
    model = onnx.parser.parse_model(text)
    weights = {"w": weight(4, 4), "axis": integers(1)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in weights.items())
    onnx.save(model, folder / "window.onnx")
    return folder / "window.onnx"


def test_a_file_of_one_length(tmp_path: Path) -> None:
    request = ExportRequest(onnx=written(tmp_path), shapes=("x=2,seq,4",), window=WINDOW, streaming=True)
    declaration, _ = declared(request)
    assert [s.at() for s in declaration.inputs] == [(2, 1, 4), (2, WINDOW - 1, 4)]
    told = declaration.sequences
    assert told is not None and (told.window, told.warm_up) == (WINDOW, WINDOW - 1)
    assert of_sequences(declaration).axes["seq"] == Axis("seq", WINDOW, WINDOW, WINDOW)


def test_a_bundle_of_a_window(tmp_path: Path) -> None:
    """Through the gate, once more from its source, and in Python."""
    source = written(tmp_path)
    exported = temport.export(
        onnx=source,
        shapes=("x=2,seq,4",),
        window=WINDOW,
        streaming=True,
        runtimes=("onnxruntime_cpu",),
        out=tmp_path / "bundle",
    )
    assert exported.passed, exported.report.reasons
    entry = open_bundle(exported.path).manifest["stream"]
    assert entry == {"reset": "zeros", "static": [], "delay": 0, "warm_up": WINDOW - 1, "window": WINDOW}
    row, flops = exported.report.stream, exported.report.flops["exported"]
    assert row is not None and flops is not None and row.window == WINDOW * sum(flops.values())
    assert run_parity_of_bundle(
        exported.path, ("onnxruntime_cpu",), source=str(source), console=Console(quiet=True)
    )
    frames = np.random.default_rng(1).standard_normal((2, 9, 4), np.float32)
    stream = temport.load(exported.path).stream()
    whole = ReferenceEvaluator(str(source))
    for t in range(9):
        (right,) = whole.run(None, {"x": last(frames, t)})
        np.testing.assert_allclose(stream(frames[:, t]), right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"window": 1}, "--window 1 is not a number of frames of --streaming, 2 or more"),
        ({"window": 5, "streaming": False}, "--window 5 is not a number of frames of --streaming"),
        ({"window": 5, "seq": "6"}, "--window 5 and --seq 6 say two lengths"),
        ({"window": 5, "delay": 1}, "waits for no frame"),
        ({"window": 7}, "axis 1 of x is seq; it is 5 in"),
        ({"window": 5, "shapes": ()}, "--seq names no axis of the file"),
        ({}, "ReduceMean m takes all frames, later ones too; .*but --window N computes anew over the last N"),
    ],
)
def test_what_no_window_can_be(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    asked = {
        "streaming": True,
        "shapes": ("x=2,seq,4",),
        "seq": None if "window" in changes else "5",
    } | changes
    with pytest.raises(UserError, match=said):
        declared(ExportRequest(onnx=written(tmp_path), **asked))


def test_a_module_of_one_length_is_told_of_windows() -> None:
    asked = ExportRequest(
        module=f"{__file__}:Encoder", shapes=("frames=batch,seq,3",), streaming=True, seq=str(WINDOW)
    )
    with pytest.raises(
        UserError, match=r"freezes axis seq of frames to 5, and a stream has fewer.* or give --window 5"
    ):
        declared(asked)
