"""A step model that is run frame by frame and not copied: frames go in, states stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from temport.custom_ops.library import library_path
from temport.engine import Engine
from temport.exporter.bench.stream_models import FRAMES, StreamModel
from temport.exporter.build import build, save
from temport.exporter.compilers.targets import REPORT_FILE, enter
from temport.exporter.declare.call import own
from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.modules import declare_factory
from temport.exporter.native.engine import NativeOptions, build_native
from temport.exporter.parity.stream import initial_state
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.bound import TYPES, held_in_place
from temport.exporter.runtimes.native_kernels import all_native
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.declare import declare_stream

Array = npt.NDArray[Any]
Push = Callable[[Array], Array]
"""One frame `[batch, 1, features]` -> its output `[batch, ...]`, an array that the next frame may overwrite."""


@dataclass(frozen=True)
class Exported:
    """A step model in a folder, with its native engine; `module` is the user's, in float32."""

    declaration: Declaration
    folder: Path
    module: nn.Module

    @property
    def file(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def state_bytes(self) -> int:
        batch = self.declaration.inputs[0].at()[0]
        return sum(array.nbytes for array in initial_state(self.declaration, batch).values())


def exported(model: StreamModel, folder: Path, features: int, width: int, batch: int = 1) -> Exported:
    """Exported as `temport export --streaming --target native` does."""
    folder.mkdir(parents=True)

    def make() -> nn.Module:
        return model.build(features, width)

    shapes = (f"{FRAMES}=batch,seq,{features}",)
    declaration, called = declare_factory(make, f"bench:{model.name}", shapes, batch=str(batch))
    step = declare_stream(declaration, called)
    save(build(called, step), folder / "model.onnx", external_data=False)
    report = build_native(folder, "bench", step, NativeOptions())
    enter(folder / REPORT_FILE, report.to_json())
    return Exported(step, folder, own(called).float().eval())


def in_engine(step: Exported) -> tuple[Push, int]:
    """The native engine, and the bytes of its state."""
    engine = Engine.beside(step.folder)
    frame = np.zeros(step.declaration.inputs[0].at(), np.float32)
    call = engine.instance().bound({step.declaration.inputs[0].name: frame})
    (name,) = engine.outputs

    def push(new: Array) -> Array:
        frame[...] = new
        return call()[name]

    return push, int(engine._table.state_bytes)


def in_onnxruntime(step: Exported, native: bool = True) -> tuple[Push, int]:
    """ONNX Runtime on one thread; `native` takes our kernels."""
    runtime = runtime_named("onnxruntime_native" if native else "onnxruntime_cpu")
    opened: Any = runtime.open(Subject(step.declaration, step.file), 1)
    session = opened.session
    in_place = held_in_place(session) if native and all_native(step.file, library_path()) else {}
    return _alternating(session, step.declaration, in_place), step.state_bytes


def _alternating(session: Any, declaration: Declaration, in_place: Mapping[str, str]) -> Push:
    """Two bindings: what one writes the other reads. States of `in_place` (output -> input) are the same in both."""
    frame, after = np.zeros(declaration.inputs[0].at(), np.float32), dict(declaration.states)
    batch = frame.shape[0]
    first, second = (initial_state(declaration, batch) for _ in range(2))
    for output, name in in_place.items():
        assert after[name] == output
        second[name] = first[name]
    results = {
        o.name: np.empty(o.shape, TYPES[o.type])
        for o in session.get_outputs()
        if o.name not in after.values()
    }
    bindings = []
    for read, written in ((first, second), (second, first)):
        binding = session.io_binding()
        for name, array in {declaration.inputs[0].name: frame, **read}.items():
            binding.bind_cpu_input(name, array)
        writes = {after[name]: array for name, array in written.items()}
        for output in session.get_outputs():
            array = {**results, **writes}[output.name]
            binding.bind_output(output.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        bindings.append(binding)
    (result,) = results.values()
    turn = 0

    def push(new: Array) -> Array:
        nonlocal turn
        frame[...] = new
        session.run_with_iobinding(bindings[turn])
        turn = 1 - turn
        return result

    push.__dict__["kept"] = first, second, results  # bound where they lie
    return push


def exact(module: nn.Module, frames: Array) -> Array:
    """The module in float64: its output at every frame of `[batch, frames, features]`."""
    double = module.double()
    with torch.no_grad():
        found: Array = double(torch.from_numpy(frames).double()).numpy()
    module.float()
    return found
