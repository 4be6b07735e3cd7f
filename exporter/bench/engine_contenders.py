"""The ways to run one model that `temport bench engine` compares. Each is prepared once and is then a call without
arguments; its output comes back as numpy.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn

from temport.custom_ops.library import library_path
from temport.engine import Engine
from temport.exporter.bench.contest import Call, largest_difference
from temport.exporter.bench.in_c import OnnxRuntime, engine_in_c, repeating
from temport.exporter.bench.model_contenders import absent as absent_peer
from temport.exporter.bench.model_stream import TOLERANCE
from temport.exporter.bench.openvino_peer import openvino_call
from temport.exporter.declare.declaration import Declaration
from temport.exporter.quiet import quiet
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.bound import states_in_place
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.native_kernels import all_native
from temport.exporter.runtimes.prepare import inline

OURS = "temport, native engine"
BASE = "ONNX Runtime, our kernels"


@dataclass(frozen=True)
class Subjected:
    """One exported model, warm: a window, or one frame with the state after many.

    bundle  folder with model.onnx and engine/
    feed    the model's inputs, states among them
    module  in torch, float32; of a window the same, called with the feed's tensors in their order
    truth   the first output in float64
    """

    declaration: Declaration
    bundle: Path
    feed: Arrays
    module: nn.Module
    truth: npt.NDArray[Any]

    @property
    def file(self) -> Path:
        return self.bundle / "model.onnx"

    def copied(self) -> Arrays:
        """Inputs of a contender's own: native kernels write in some of them."""
        return {name: array.copy() for name, array in self.feed.items()}

    @property
    def standard(self) -> onnx.ModelProto:
        """The model in operators of ONNX alone."""
        return inline(onnx.load(self.file))


def engine(subject: Subjected) -> Call:
    loaded = Engine.beside(subject.bundle)
    instance = loaded.instance()
    if loaded.states:
        instance.load(subject.feed, {axis.name.decode(): axis.max for axis in loaded.axes})
    return engine_in_c(instance, {name: subject.feed[name] for name in loaded.inputs})


def kernels(subject: Subjected) -> Call:
    return _onnxruntime(subject, library_path())


def bodies(subject: Subjected) -> Call:
    return _onnxruntime(subject, None)


def _onnxruntime(subject: Subjected, ops: Path | None) -> Call:
    """On one thread; native kernels write states where they read them."""
    model = onnx.load(subject.file)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    in_place = states_in_place(metadata) if all_native(subject.file, ops) else {}
    return OnnxRuntime(subject.file, ops).bound(subject.copied(), model, in_place)


def openvino(subject: Subjected) -> Call:
    return openvino_call(subject.standard.SerializeToString(), subject.copied(), 1)


def eager(subject: Subjected) -> Call:
    return _torch(subject.module, subject)


def aot_inductor(subject: Subjected) -> Call:
    tensors = tuple(torch.from_numpy(array) for array in subject.copied().values())
    with torch._inductor.config.patch({"freezing": True}), torch.no_grad(), quiet():
        program = torch.export.export(subject.module, tensors)
        path = str(subject.bundle.parent / f"{subject.bundle.name}.pt2")
        package = torch._inductor.aoti_compile_and_package(program, package_path=path)
        return _torch(torch._inductor.aoti_load_package(package), subject)


def emx(subject: Subjected) -> Call:
    """The C of emx-onnx-cgen, compiled as fast as the compiler can without changing what it computes."""
    folder = subject.bundle.parent
    onnx.save(subject.standard, folder / "standard.onnx")
    options = ["--large-temp-threshold", "0", "--large-weight-threshold", "0", "--model-name", "peer"]
    command = [sys.executable, "-m", "emx_onnx_cgen", "compile", *options, "standard.onnx", "peer.c"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    count = len(subject.feed) + len(subject.declaration.outputs)
    given = ", ".join(f"(void*)p[{i}]" for i in range(count))
    with (folder / "peer.c").open("a") as code:
        code.write(f"\nvoid peer_runs(long n, void** p) {{ for (long i = 0; i < n; ++i) peer({given}); }}\n")
    build = [
        "cc",
        "-O3",
        "-march=native",
        "-shared",
        "-fPIC",
        "peer.c",
        "-lm",
        "-o",
        f"{subject.bundle.name}-peer.so",
    ]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    loop = ctypes.CDLL(str(folder / f"{subject.bundle.name}-peer.so")).peer_runs
    specs = subject.declaration.outputs
    kept = [*subject.copied().values(), *(np.zeros(spec.at(), spec.dtype) for spec in specs)]
    pointers = (ctypes.c_void_p * len(kept))(*(array.ctypes.data for array in kept))
    call = repeating(lambda n: loop(ctypes.c_long(n), pointers), kept[len(subject.feed)], kept)
    _tried_apart(call, subject.truth)
    return call


CONTENDERS: dict[str, Callable[[Subjected], Call]] = {
    OURS: engine,
    BASE: kernels,
    "ONNX Runtime, bodies": bodies,
    "OpenVINO": openvino,
    "torch eager": eager,
    "AOTInductor": aot_inductor,
    "emx-onnx-cgen": emx,
}


TORCH = ("torch eager", "AOTInductor")


def absent(name: str) -> str | None:
    """Why a contender cannot run on this machine, or None."""
    if name == "emx-onnx-cgen" and importlib.util.find_spec("emx_onnx_cgen") is None:
        return "the package emx-onnx-cgen is not installed"
    if name == BASE:
        return runtime_named("onnxruntime_native").unavailable()
    return absent_peer(name) if name in ("OpenVINO", "AOTInductor") else None


def _tried_apart(call: Call, truth: npt.NDArray[Any]) -> None:
    """RuntimeError where foreign code crashes or is wrong: in a child, as a crash would end this process."""
    child = os.fork()
    if child == 0:
        wrong = largest_difference(call().reshape(truth.shape), truth)
        os._exit(0 if wrong <= TOLERANCE else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise RuntimeError("it computes something else" if code > 0 else f"its code ends by signal {-code}")


def _torch(model: Callable[..., Any], subject: Subjected) -> Call:
    tensors = tuple(torch.from_numpy(array) for array in subject.copied().values())

    def call() -> npt.NDArray[Any]:
        with torch.inference_mode():
            found = model(*tensors)
            made: npt.NDArray[Any] = (found[0] if isinstance(found, tuple | list) else found).numpy()
            return made

    return call
