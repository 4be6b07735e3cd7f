"""One frame of a stream against the run over a whole window, and against reading the weights once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from temport.custom_ops.library import library_path
from temport.exporter.bench.contest import largest_difference
from temport.exporter.bench.machine import read_bandwidth
from temport.exporter.bench.model_contenders import make_inputs
from temport.exporter.bench.model_profile import profile
from temport.exporter.bench.timing import Timing, interleaved
from temport.exporter.build import build, save
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.parity.stream import initial_state
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.bound import held_in_place, onnxruntime_call
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.native_kernels import all_native
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.declare import declare_stream
from temport.exporter.streaming.oracle import WholeStream

Array = npt.NDArray[Any]
WINDOW = 60
WARM_FRAMES = 2 * WINDOW + 7
"""Frames before the one that is timed: caches are full, and a block of 64 is in its middle."""
TOLERANCE = 1e-3
"""Of outputs of order 1, against the model in float64 on all frames."""


@dataclass(frozen=True)
class StreamResult:
    """Seconds of one step of a warm stream at batch 1, and of the pruned run over the last `WINDOW` frames.

    weight_bytes     constants that every step reads in whole
    read_bandwidth   bytes per second at which so many bytes are read here, measured in the same run
    profile          microseconds by operator of the step (profiling adds to each node)
    """

    arch: str
    settings: tuple[str, ...]
    threads: int
    step: Timing
    window: Timing
    weight_bytes: int
    read_bandwidth: float
    profile: dict[str, float]

    @property
    def floor(self) -> float:
        """Seconds in which the weights are read once: at batch 1 a step has nothing to use them twice for."""
        return self.weight_bytes / self.read_bandwidth


class StreamCase:
    """The step model and the window model of one architecture, exported once; UserError where it does not stream."""

    def __init__(self, arch: str, settings: Sequence[str], folder: Path) -> None:
        self.arch, self.settings = arch, tuple(settings)
        declaration, module, _ = declare(arch, settings, seq=str(WINDOW))
        self.window, self.window_inputs = declaration, make_inputs(declaration)
        self.module, self.step = module, declare_stream(declaration, module)
        self.window_path, self.step_path = folder / "window.onnx", folder / "step.onnx"
        save(build(module, self.window), self.window_path, external_data=False)
        save(build(module, self.step), self.step_path, external_data=False)
        self.weight_bytes = weight_bytes(onnx.load(self.step_path))

    def measure(self, threads: int, seconds: float) -> StreamResult:
        """UserError where the step does not compute the right numbers."""
        session = _session(self.step, self.step_path, threads)
        names = [output.name for output in self.step.outputs]
        feed, frames = warm(self.step, lambda feed: dict(zip(names, session.run(names, feed), strict=True)))
        truth = last_frame(self.module, self.step, frames)
        # as the C++ library runs it: the same frame again overwrites the row that it wrote before
        native = all_native(self.step_path, library_path())
        step = onnxruntime_call(session, feed, held_in_place(session) if native else None)
        error = largest_difference(step(), truth)
        if not error <= TOLERANCE:
            raise UserError(f"the step model of {self.arch} is off by {error:.2g}; its time means nothing")
        window = onnxruntime_call(_session(self.window, self.window_path, threads), self.window_inputs)
        timings = interleaved({"step": step, "window": window}, seconds=seconds)
        return StreamResult(
            self.arch,
            self.settings,
            threads,
            timings["step"],
            timings["window"],
            self.weight_bytes,
            read_bandwidth(self.weight_bytes, threads),
            profile(self.step_path, feed, threads),
        )


def warm(declaration: Declaration, run: Callable[[Arrays], Arrays]) -> tuple[Arrays, Array]:
    """A frame with the state after `WARM_FRAMES` others, and all of these frames, `[1, frames, features]`."""
    frame, random = declaration.inputs[0], np.random.default_rng(declaration.seed)
    state, given = initial_state(declaration, 1), list[Array]()
    for _ in range(WARM_FRAMES + 1):
        given.append(random.standard_normal(frame.at()).astype(frame.dtype))
        feed = {frame.name: given[-1], **state}
        results = run(feed)
        state = {before: results[after] for before, after in declaration.states}
    return feed, np.concatenate(given, axis=1)


def last_frame(module: nn.Module, declaration: Declaration, frames: Array) -> Array:
    """What the model gives in float64 at the last of these frames, `[1, ...]`."""
    whole = WholeStream(module, declaration).double()
    with torch.no_grad():
        found: Array = whole(torch.from_numpy(frames).double())[0][:, -1].numpy()
    return found


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all constants but those of which only rows are gathered."""
    used = {name for node in model.graph.node if node.op_type != "Gather" for name in node.input}
    return sum(
        math.prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
        if tensor.name in used
    )


def _session(declaration: Declaration, path: Path, threads: int) -> Any:
    runtime = runtime_named("onnxruntime_native" if library_path() else "onnxruntime_cpu")
    opened: Any = runtime.open(Subject(declaration, path), threads)
    return opened.session
