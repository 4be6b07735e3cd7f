"""The ways to run one model that `temport bench model` compares.

Each is prepared once per number of threads and is then a call without arguments: inputs are in place, in the
runtime's own kind of array; its output comes back as numpy.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from temport.custom_ops.library import library_path
from temport.exporter.bench.contest import Call
from temport.exporter.bench.model_plain import plain
from temport.exporter.bench.openvino_peer import openvino_call
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.quiet import quiet
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.aot_inductor import INDUCTOR, compile_package
from temport.exporter.runtimes.bound import onnxruntime_call
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.native_kernels import bodies_run, custom_nodes
from temport.exporter.runtimes.subject import Subject
from temport.exporter.trace.torch_translations import translations_read_once

OURS = ("temport, native kernels", "temport, function bodies")


@dataclass
class Workload:
    """One model at one batch and length, with what its contenders share.

    bundled  our exported file
    folder   scratch for the files that peers make
    """

    declaration: Declaration
    module: nn.Module
    inputs: Arrays
    bundled: Path
    folder: Path
    cache: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """`make()`, or what it gave before: compiled models serve every number of threads."""
        if name not in self.cache:
            self.cache[name] = make()
        return self.cache[name]

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(array) for array in self.inputs.values())

    @property
    def plain(self) -> nn.Module:
        longest = max(axis.max for name, axis in self.declaration.axes.items() if name != "batch")
        made: nn.Module = self.once("plain", lambda: plain(self.module, longest))
        return made

    @property
    def plain_file(self) -> Path:
        """The plain model through `torch.onnx.export` with its defaults."""
        path = self.folder / "plain.onnx"

        def export() -> Path:
            names = list(self.inputs)
            with quiet(), translations_read_once():
                torch.onnx.export(self.plain, self.tensors, path, input_names=names, verbose=False)
            return path

        made: Path = self.once("plain_file", export)
        return made


def native(work: Workload, threads: int) -> Call:
    """UserError where an op of the file has no kernel: its name in the table would not be true."""
    library = library_path()
    if library is not None and (bodies := bodies_run(custom_nodes(work.bundled), library)):
        raise UserError(f"{library} has not all the kernels of this model: {bodies}")
    return _onnxruntime("onnxruntime_native", work, work.bundled, threads)


def bodies(work: Workload, threads: int) -> Call:
    return _onnxruntime("onnxruntime_cpu", work, work.bundled, threads)


def eager(work: Workload, threads: int) -> Call:
    return _torch(work.plain, work)


def inductor(work: Workload, threads: int) -> Call:
    """`torch.compile` with constant folding of the weights (freezing)."""

    def compile_() -> Callable[..., torch.Tensor]:
        torch._dynamo.reset()
        compiled: Callable[..., torch.Tensor] = torch.compile(work.plain, dynamic=False)
        with torch._inductor.config.patch(INDUCTOR), torch.no_grad(), quiet():
            compiled(*work.tensors)
        return compiled

    return _torch(work.once("inductor", compile_), work)


def aot_inductor(work: Workload, threads: int) -> Call:
    """A package that `aoti_compile_and_package` makes ahead of time."""

    def compile_() -> Any:
        with torch.no_grad(), quiet():
            program = torch.export.export(work.plain, work.tensors)
            package = compile_package(program, work.folder / "plain.pt2")
            return torch._inductor.aoti_load_package(str(package))

    return _torch(work.once("aot_inductor", compile_), work)


def onnxruntime_plain(work: Workload, threads: int) -> Call:
    return _onnxruntime("onnxruntime_cpu", work, work.plain_file, threads)


def openvino_plain(work: Workload, threads: int) -> Call:
    return openvino_call(work.plain_file, work.inputs, threads)


CONTENDERS: dict[str, Callable[[Workload, int], Call]] = {
    OURS[0]: native,
    OURS[1]: bodies,
    "torch eager": eager,
    "torch.compile": inductor,
    "AOTInductor": aot_inductor,
    "ONNX Runtime": onnxruntime_plain,
    "OpenVINO": openvino_plain,
}
"""Name in the table -> how it is prepared for a number of threads. Ours come first."""
COMPILED = frozenset({"torch.compile", "AOTInductor"})
"""These take about half a minute per shape to prepare."""


def absent(name: str) -> str | None:
    """Why a contender cannot run on this machine, or None."""
    runtimes: dict[Any, str] = {native: "onnxruntime_native", openvino_plain: "openvino"}
    runtime = runtimes.get(CONTENDERS[name])
    if runtime is not None:
        return runtime_named(runtime).unavailable()
    if name in COMPILED and not shutil.which("g++"):
        return "it compiles with g++, which is not installed"
    return None


def _torch(model: Callable[..., torch.Tensor], work: Workload) -> Call:
    tensors = work.tensors

    def call() -> npt.NDArray[Any]:
        with torch.no_grad():
            return model(*tensors).numpy()

    return call


def _onnxruntime(name: str, work: Workload, path: Path, threads: int) -> Call:
    session: Any = runtime_named(name).open(Subject(work.declaration, path), threads)
    return onnxruntime_call(session.session, work.inputs)


def make_inputs(declaration: Declaration) -> Arrays:
    """Standard normal inputs; of a key mask about nine tenths are True and the first key always."""
    random = np.random.default_rng(declaration.seed)
    arrays: Arrays = {}
    for spec in declaration.inputs:
        if spec.dtype == "bool":
            mask = random.random(spec.at()) < 0.9
            mask[..., 0] = True
            arrays[spec.name] = mask
        else:
            arrays[spec.name] = random.standard_normal(spec.at()).astype(spec.dtype)
    return arrays
