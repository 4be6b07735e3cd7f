"""One frame of a stream against the run over a whole window, and against reading the weights once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from temport.custom_ops.library import library_path
from temport.exporter.bench.contest import largest_difference
from temport.exporter.bench.machine import read_bandwidth
from temport.exporter.bench.model_contenders import make_inputs
from temport.exporter.bench.model_profile import profile
from temport.exporter.bench.timing import Timing, interleaved
from temport.exporter.build import build, save
from temport.exporter.declare.architectures import declare
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.streams import declare_stream, step_model
from temport.exporter.errors import UserError
from temport.exporter.parity.stream import initial_state
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.bound import held_in_place, onnxruntime_call
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.native_kernels import all_native
from temport.exporter.runtimes.subject import Subject

WINDOW = 60
WARM_FRAMES = 2 * WINDOW + 7
"""Frames before the one that is timed: caches are full, and a block of 64 is in its middle."""
TOLERANCE = 1e-3
"""Of outputs of order 1, against the same step in float64."""


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


def refusal(arch: str, settings: Sequence[str]) -> str | None:
    """Why an architecture does not run frame by frame, or None. UserError for unknown options."""
    declaration, module, _ = declare(arch, settings, seq=str(WINDOW))
    try:
        declare_stream(declaration, module)
    except UserError as error:
        return str(error)
    return None


class StreamCase:
    """The step model and the window model of one architecture, exported once."""

    def __init__(self, arch: str, settings: Sequence[str], folder: Path) -> None:
        self.arch, self.settings = arch, tuple(settings)
        declaration, module, _ = declare(arch, settings, seq=str(WINDOW))
        self.window, self.window_inputs = declaration, make_inputs(declaration)
        self.step = declare_stream(declaration, module)
        self.model = step_model(module, self.step).double()
        self.window_path, self.step_path = folder / "window.onnx", folder / "step.onnx"
        save(build(module, self.window), self.window_path, external_data=False)
        save(build(module, self.step), self.step_path, external_data=False)
        self.weight_bytes = weight_bytes(onnx.load(self.step_path))

    def measure(self, threads: int, seconds: float) -> StreamResult:
        """UserError where the step does not compute the right numbers."""
        session = _session(self.step, self.step_path, threads)
        feed = self._warm(session)
        truth = self._truth(feed)
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

    def _warm(self, session: Any) -> Arrays:
        """A frame with the state after `WARM_FRAMES` others."""
        frame, names = self.step.inputs[0], [output.name for output in self.step.outputs]
        random = np.random.default_rng(self.step.seed)
        state = initial_state(self.step, 1)
        for _ in range(WARM_FRAMES + 1):
            feed = {frame.name: random.standard_normal(frame.at()).astype(frame.dtype), **state}
            results = dict(zip(names, session.run(names, feed), strict=True))
            state = {before: results[after] for before, after in self.step.states}
        return feed

    def _truth(self, feed: Arrays) -> np.ndarray:
        tensors = (torch.from_numpy(array) for array in feed.values())
        with torch.no_grad():
            output, *_ = self.model(*(t.double() if t.is_floating_point() else t for t in tensors))
        truth: np.ndarray = output.numpy()
        return truth


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
