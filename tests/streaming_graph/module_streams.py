"""Torch modules as step graphs in float64, beside what torch gives for the frames so far."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from temport.exporter.declare.call import own
from temport.exporter.declare.declaration import AFTER, BEFORE, Declaration
from temport.exporter.declare.modules import declare_factory
from temport.exporter.parity.graph_oracle import Float64Graph
from temport.exporter.streaming.sequences import sequence_graph
from temport.exporter.streaming.step_graph import StepGraph

BATCH, FRAMES = 2, 13


def traced(build: Callable[[], nn.Module]) -> tuple[Declaration, nn.Module, ir.Model]:
    def seeded() -> nn.Module:
        torch.manual_seed(0)
        return build()

    declaration, module = declare_factory(
        seeded, "m.py:make", ("frames=batch,seq,3",), batch=str(BATCH), seq="1:9:32"
    )
    model = sequence_graph(module, declaration)
    return declaration, own(module).double().eval(), model


def ran(step: StepGraph, frames: np.ndarray) -> np.ndarray:
    """The first output at every frame, second axis."""
    graph, rows = Float64Graph(ir.to_proto(step.model)), []
    state = {s.name: np.zeros(s.at(batch=BATCH), s.dtype) for s in step.states}
    for t in range(frames.shape[1]):
        now = graph.run({"frames": frames[:, t : t + 1], **state})
        state = {n: now[AFTER + n.removeprefix(BEFORE)] for n in state}
        rows.append(now["output"])
    return np.stack(rows, 1)


def drawn() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((BATCH, FRAMES, 3))


def given(module: nn.Module, frames: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = module(torch.from_numpy(frames)).numpy()
    return found
