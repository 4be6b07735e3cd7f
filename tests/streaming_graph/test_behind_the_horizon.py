"""What a stream is behind its horizon: the graph, precise where float32 shows in it, and held against the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from temport.exporter.compress.activations import calibrated, with_rounded_inputs
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.modules import declare_factory
from temport.exporter.errors import UserError
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.parity.cases import Case
from temport.exporter.parity.oracle import find_truths
from temport.exporter.parity.steps import decided_otherwise, rounds
from temport.exporter.parity.trial import Trial
from temport.exporter.runtimes.torch_eager import FLOAT64, Source, TorchSession
from temport.exporter.streaming import behind
from temport.exporter.streaming.agreement import agree, apart
from temport.exporter.streaming.declare import declare_stream
from temport.exporter.streaming.oracle import WholeStream

HORIZON, FRAMES, WIDTH = 8, 27, 32


class Attending(nn.Module):
    """Causal attention over all frames before, or over `window` of them; `kind` is the type that the code names."""

    def __init__(self, window: int = 0, kind: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.window, self.kind = window, kind
        self.queries, self.keys = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.speeds = nn.Parameter(torch.linspace(3, 6, WIDTH))

    def attended(self, x: Tensor) -> Tensor:
        q, k = self.queries(x), self.keys(x)
        if not self.window:
            return functional.scaled_dot_product_attention(q, k, x, is_causal=True)
        age = torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])
        return functional.scaled_dot_product_attention(q, k, x, (age >= 0) & (age < self.window))

    def forward(self, frames: Tensor) -> Tensor:
        return self.attended(frames)


class WithPlaces(Attending):
    """A number of its code and one of a parameter, times positions in a type that it names."""

    def forward(self, frames: Tensor) -> Tensor:
        places = torch.arange(frames.shape[1], dtype=self.kind)
        turned = torch.sin(places[:, None] * torch.exp(self.speeds).to(self.kind))
        return self.attended(frames + turned) + torch.tanh(torch.sin(places * 171.3))[:, None]


class WithHalves(Attending):
    def forward(self, frames: Tensor) -> Tensor:
        return self.attended(frames).half().to(self.kind) * 2


@cache
def stream_of(build: Callable[[], nn.Module]) -> tuple[Declaration, nn.Module]:
    def seeded() -> nn.Module:
        torch.manual_seed(0)
        return build()

    declaration, module = declare_factory(
        seeded, "m.py:make", (f"frames=batch,seq,{WIDTH}",), batch="1", seq=str(HORIZON)
    )
    return declare_stream(declaration, module), module


def case(scale: float = 1.0) -> Case:
    frames = np.random.default_rng(0).standard_normal((1, FRAMES, WIDTH)) * scale
    return Case("noise", "normal", {"frames": frames.astype(np.float32)})


def source(stream: tuple[Declaration, nn.Module], precision: str = "float32") -> Any:
    declaration, module = stream
    return Trial.of(replace(declaration, precision=precision), Path(), module).source


@pytest.mark.parametrize("build", [WithPlaces, WithHalves])
def test_a_stream_is_the_module_with_a_window(build: type[Attending]) -> None:
    """Also of one whose graph of float32 holds rounded numbers, of which positions make much; and rounding to a half
    type stays what it is.
    """
    session = FLOAT64.open(source(stream_of(build)))
    found = session.run(case().inputs)["output"]
    torch.manual_seed(0)
    window = build(HORIZON, torch.float64).double()
    with torch.no_grad():
        expected = window(torch.from_numpy(case().inputs["frames"]).double()).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 if build is WithHalves else 1e-7)
    assert isinstance(session.module, WholeStream) and session.module.behind is not None
    assert (session.module.behind.exact.graph is None) == (build is WithHalves)


def shifted(graph: ir.Model) -> None:
    """Attention one frame short of what it saw in front of the horizon."""
    for node in graph.graph:
        if "window" in node.attributes:
            node.attributes["window"] = ir.AttrInt64("window", HORIZON - 1)


def another_weight(graph: ir.Model) -> None:
    weights = [v for v in graph.graph.initializers.values() if v.shape is not None and len(v.shape) == 2]
    value = weights[0].const_value
    assert value is not None
    weights[0].const_value = ir.tensor(value.numpy() * np.float32(1.0001))


@pytest.mark.parametrize(
    ("build", "spoil", "precision"),
    [
        (Attending, shifted, "float16"),
        (Attending, another_weight, "float32"),
        (WithPlaces, shifted, "float32"),
        pytest.param(WithPlaces, another_weight, "float16", marks=pytest.mark.thorough),
    ],
)
def test_a_graph_that_differs_is_refused(
    build: type[Attending],
    spoil: Callable[[ir.Model], None],
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever of the two graphs is taken, and in the types that are checked by their float64 source."""
    limited = behind.limited

    def spoilt(*given: Any) -> ir.Model:
        graph = limited(*given)
        spoil(graph)
        return graph

    monkeypatch.setattr(behind, "limited", spoilt)
    with pytest.raises(
        UserError, match=r"the graph that was traced differs from the model by .* in output output"
    ):
        find_truths(source(stream_of(build), precision), [case()])


class Weakly(Attending):
    """Its mask adds a finite number to the scores of later frames."""

    def forward(self, frames: Tensor) -> Tensor:
        later = torch.ones(frames.shape[1], frames.shape[1]).triu(1)
        scores = self.queries(frames) @ self.keys(frames).transpose(1, 2) + later * -1e9
        return scores.softmax(-1) @ frames


def test_a_mask_that_hides_too_little_is_told() -> None:
    said = r"compares each frame with each other, as its mask adds -1e\+09, .*; fill in -torch\.inf; no delay"
    with pytest.raises(UserError, match=said):
        stream_of(Weakly)


def test_what_float64_decides_is_no_difference_and_what_is_not_finite_is() -> None:
    own = torch.tensor([1.0, torch.nan, -torch.inf, 3.0], dtype=torch.float64)
    assert apart(own, own.nan_to_num(nan=0.0)) == apart(own, own.abs()) == torch.inf
    assert agree(own, own + 2e-6, 1e-6) and not agree(own, own + 4e-6, 1e-6)
    assert not agree(torch.tensor([7, 8]), torch.tensor([7, 9]), 1e-6)
    assert not agree(torch.tensor([True]), torch.tensor([False]), 1e-6)
    signs = torch.tensor([1.0, -1.0])
    assert not agree(signs, -signs, 1e-6, [signs]) and agree(signs, -signs, 1e-6, [-signs])


def test_a_tie_in_one_entry_excuses_no_other() -> None:
    """Nor does one that is never seen to fall to the other side, where there are few."""
    own = torch.linspace(1, 2, 64, dtype=torch.float64)
    tie, wrong, missed = own.clone(), own.clone(), own.clone()
    tie[0], wrong[:2], missed[:20] = -1, -1, -1
    assert agree(own, tie, 1e-6, [tie]) and not agree(own, wrong, 1e-6, [tie])
    assert agree(own, missed, 1e-6, [torch.cat((-own[:19], own[19:]))])


def test_rounded_weights_are_not_held_against_the_graph() -> None:
    """It holds numbers that were computed of the weights, rounded where the model rounds the weights themselves."""
    subject = source(stream_of(WithPlaces), "float16")
    rounded = Source("float64", rounded="float16").open(subject).run(case().inputs)["output"]
    told = FLOAT64.open(subject).run(case().inputs)["output"]
    assert 1e-4 < np.abs(rounded - told).max() < 2


class Dense(Attending):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(WIDTH, 2)

    def forward(self, frames: Tensor) -> Tensor:
        return self.out(self.attended(frames))


def test_rounded_inputs_lean_behind_the_horizon_too() -> None:
    """And a source that is asked what float32 might decide is not held against the graph, which decides on its own."""
    declaration, module = stream_of(Dense)
    scales = {"queries": 0.25, "out": 0.0625}
    rounding = with_rounded_inputs(module, scales, "int8")
    subject = source((replace(declaration, weights_dtype="int8", input_scales=scales), rounding))
    # each as far from one integer as from the next
    halves = np.round(case().inputs["frames"] * 4) / 4 + 0.125
    session = FLOAT64.open(subject)
    told = session.run({"frames": halves})["output"]
    assert isinstance(session, TorchSession)
    with decided_otherwise(session.module, 0):
        leant = session.run({"frames": halves})["output"]
    moved = np.abs(leant - told).max(axis=(0, 2))
    assert moved[:HORIZON].max() > 1e-4 and moved[HORIZON:].max() > 1e-4
    np.testing.assert_array_equal(session.run({"frames": halves})["output"], told)


def test_a_stream_of_a_file_that_rounds_is_known() -> None:
    text = """<ir_version: 9, opset_import: ["" : 18]> f (float[batch, seq, 4] x) => (float[batch, seq, 4] y) {
        s = Constant <value_float = 0.5> () i = QuantizeLinear (x, s, z) y = DequantizeLinear (i, s, z)}"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((), np.int8), "z"))
    declaration, _ = stream_of(Attending)
    assert rounds(WholeStream(OnnxModule(model), replace(declaration, horizon=0)))
    model.graph.node[1].op_type = "Identity"
    assert not rounds(WholeStream(OnnxModule(model), replace(declaration, horizon=0)))


def test_a_recording_is_calibrated_on_as_a_whole() -> None:
    """A stream that keeps a horizon of frames takes what comes after them too."""
    frames = case().inputs["frames"].copy()
    frames[:, HORIZON:] *= 10
    recorded = Case("recording", "own", {"frames": frames})
    first = Case("first", "own", {"frames": frames[:, :HORIZON]})
    subject = source(stream_of(Dense))
    whole, part = (
        calibrated(subject, [given], ["queries"], "int8")["queries"] for given in (recorded, first)
    )
    assert whole > 5 * part
