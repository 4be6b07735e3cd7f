"""Every module of the list as a step graph: the causal one gives what torch gives, the other is refused by its layer.

In float64 on both sides, so that what is wrong shows in the first digits.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
import torch

from temport.exporter.declare.call import own
from temport.exporter.declare.declaration import AFTER, Axis, Declaration
from temport.exporter.declare.modules import declare_factory
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.streaming.limited import limited
from temport.exporter.streaming.refusal import NotCausal
from temport.exporter.streaming.sequences import sequence_graph
from temport.exporter.streaming.walk import StepGraph, step_graph
from tests.small_models import thorough_but
from tests.streaming_graph.causal_modules import CASES

BATCH, FRAMES, HORIZON = 2, 14, 64
CLOSE = 1e-5
"""Of the largest value: decays are read from tables in float32, all else agrees far better."""
NOT_YET = {
    "largest of pairs": "pairs of frames have no cache",
}
"""Causal modules that are refused, with what is missing."""
ALIKE = (
    "attention by hand",
    "attention with a bias by place, in a window",
    "attention to wide values",
    "encoder",
    "encoder behind a learned token",
    "encoder layers",
    "conv over tokens",
    "last of the tokens",
    "tokens in turn, by strides",
    "tokens in turn, kinds in front",
    "tokens in turn, put in their places",
    "tokens that see their frame",
    "tokens with slopes",
)
"""Modules whose rules others of the list go through too."""
FIRST = ("lstm", "dilated convs with residuals", "sdpa", "multi-head attention", "decay matrix", "weighed pooling",
         "running mean", "learned positions", "normaliser and scaling", "two heads")  # fmt: skip
"""Of the modules that are not causal, one of each kind; all others in the tier `thorough`."""
COMPOSED = ("lstm over gru", "encoder", "conv, then lstm", "lstm, then attention", "decay matrices",
            "convs, attention, gru and mean")  # fmt: skip
"""Causal modules of parts that stream in others here; in the tier `thorough`."""
ORDERED = [n if n in FIRST else pytest.param(n, marks=pytest.mark.thorough) for n in CASES]


@cache
def traced(name: str, causal: bool) -> tuple[Declaration, torch.nn.Module, ir.Model]:
    """The module in float64, and its graph."""
    case = CASES[name]

    def build() -> torch.nn.Module:
        torch.manual_seed(0)
        return case.build(causal)

    declaration, module = declare_factory(build, "m.py:make", case.shapes, batch=str(BATCH), seq="1:9:64")
    model = sequence_graph(module, declaration)
    return declaration, own(module).double().eval(), model


def made(name: str, causal: bool, delay: int = 0) -> tuple[Declaration, torch.nn.Module, StepGraph]:
    declaration, module, model = traced(name, causal)
    return declaration, module, step_graph(model, declaration, HORIZON, delay)


def worst(name: str, causal: bool, delay: int = 0) -> float:
    """How far the stream is from the module, of the module's largest value; the module on every prefix where it gives
    the last frame alone."""
    declaration, module, step = made(name, causal, delay)
    graph, last = Float64Graph(ir.to_proto(step.model)), CASES[name].last
    rng = np.random.default_rng(0)
    timed = {
        s.name for s in declaration.inputs if any(isinstance(a, Axis) and a.name == "seq" for a in s.shape)
    }
    given = {s.name: rng.standard_normal(s.at(batch=BATCH, seq=FRAMES)) for s in declaration.inputs}
    state = {s.name: np.zeros(s.at(batch=BATCH), s.dtype) for s in step.states}
    states = list(state)

    def truth(frames: int) -> list[np.ndarray]:
        parts = (torch.from_numpy(x[:, :frames] if n in timed else x) for n, x in given.items())
        with torch.no_grad():
            found = module(*parts)
        return [y.numpy() for y in (found.values() if isinstance(found, dict) else [found])]

    whole, off, scale = truth(FRAMES), 0.0, 0.0
    for t in range(FRAMES):
        frame = {n: x[:, t : t + 1] if n in timed else x for n, x in given.items()}
        now = graph.run({**frame, **state})
        state = {n: now[AFTER + n.removeprefix("state.")] for n in states}
        if t < delay:
            continue
        expected = truth(t + 1) if last else [y[:, t - delay] for y in whole]
        for spec, right in zip(declaration.outputs, expected, strict=True):
            off = max(off, float(np.abs(now[spec.name] - right).max()))
            scale = max(scale, float(np.abs(right).max()))
    return off / scale


@pytest.mark.parametrize(
    "name", thorough_but((n for n in CASES if n not in NOT_YET), CASES.keys() - {*COMPOSED, *ALIKE})
)
def test_a_causal_module_streams(name: str) -> None:
    assert worst(name, causal=True) < CLOSE


@pytest.mark.parametrize(
    "name",
    [
        "attention with slopes",
        "encoder behind a prompt",
        pytest.param("attention to frames that are not marked", marks=pytest.mark.thorough),
        pytest.param("tokens with slopes", marks=pytest.mark.thorough),
    ],
)
def test_behind_its_horizon_a_stream_is_the_graph_with_that_window(name: str) -> None:
    """Of attention in standard operators, whose graph is limited by what its scores are."""
    horizon = 5
    declaration, _, whole = traced(name, causal=True)
    step = step_graph(whole, declaration, horizon)
    one = Float64Graph(ir.to_proto(step.model))
    frames = np.random.default_rng(0).standard_normal((BATCH, FRAMES, 3))
    state = {s.name: np.zeros(s.at(batch=BATCH), s.dtype) for s in step.states}
    rows = []
    for t in range(FRAMES):
        now = one.run({"frames": frames[:, t : t + 1], **state})
        state = {n: now[AFTER + n.removeprefix("state.")] for n in state}
        rows.append(now["output"])
    found = np.stack(rows, 1)
    (free,) = Float64Graph(ir.to_proto(whole)).run({"frames": frames}).values()
    (right,) = (
        Float64Graph(ir.to_proto(limited(whole.clone(), horizon, declaration)))
        .run({"frames": frames})
        .values()
    )
    np.testing.assert_allclose(found, right, atol=1e-6)
    np.testing.assert_allclose(found[:, :horizon], free[:, :horizon], atol=1e-6)
    assert np.abs(found - free)[:, horizon:].max() > 1e-3


@pytest.mark.parametrize("name", NOT_YET)
def test_what_is_missing_is_still_missing(name: str) -> None:
    with pytest.raises(NotCausal):
        made(name, causal=True)


@pytest.mark.parametrize("name", ORDERED)
def test_what_is_not_causal_is_refused_by_its_layer(name: str) -> None:
    case = CASES[name]
    with pytest.raises(NotCausal) as refused:
        made(name, causal=False)
    sentence = str(refused.value)
    assert f"layer {case.breaks} (" in sentence and "\n" not in sentence
    assert refused.value.delay == case.delay, sentence


@pytest.mark.parametrize("name", [n if n in FIRST else pytest.param(n, marks=pytest.mark.thorough)
                                  for n, case in CASES.items() if case.delay])  # fmt: skip
def test_a_delay_makes_it_causal(name: str) -> None:
    assert worst(name, causal=False, delay=CASES[name].delay or 0) < CLOSE
