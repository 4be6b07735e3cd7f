"""The ways to run a model with weights in fewer bits that `temport bench weights` compares."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temport.custom_ops.library import library_path
from temport.engine import Engine
from temport.exporter.bench.contest import Call
from temport.exporter.bench.in_c import engine_in_c
from temport.exporter.bench.openvino_peer import openvino_call
from temport.exporter.compilers.targets import REPORT_FILE, enter
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph.quantised import FLOAT32
from temport.exporter.native.engine import NativeOptions, build_native
from temport.exporter.quiet import quiet
from temport.exporter.runtimes.bound import held_in_place, onnxruntime_call
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.onnxruntime_cpu import DISABLED_OPTIMIZERS, LEVEL, session_options

ROUNDED = "int8 activations"
"""Beside types of weights: these in int8, and the inputs of dense layers rounded to int8."""


@dataclass(frozen=True)
class Files:
    """The model by the type of its weights and its dialect, what each declares, a folder for more, the inputs, and the
    instruction set of native engines.
    """

    paths: Mapping[tuple[str, str], Path]
    declarations: Mapping[str, Declaration]
    folder: Path
    feed: Arrays
    isa: str

    def copied(self) -> Arrays:
        """Inputs of a contender's own: native kernels write in some of them."""
        return {name: array.copy() for name, array in self.feed.items()}


@dataclass(frozen=True)
class Contender:
    """kind  the type of weights that it is to compute with
    file  of those that it runs
    """

    name: str
    kind: str
    file: Callable[[Files], Path]
    prepare: Callable[[Files], Call]


def _session(path: Path, options: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMIZERS
    )


def _name(kind: str) -> str:
    return "fp32" if kind == FLOAT32 else kind


def _engine(kind: str) -> Contender:
    def file(files: Files) -> Path:
        return files.paths[kind, "custom"]

    def prepare(files: Files) -> Call:
        bundle = files.folder / f"engine, {kind}"
        bundle.mkdir()
        shutil.copy(file(files), bundle / "model.onnx")
        report = build_native(bundle, "bench", files.declarations[kind], NativeOptions(engine_isa=files.isa))
        enter(bundle / REPORT_FILE, report.to_json())
        loaded = Engine.beside(bundle)
        return engine_in_c(loaded.instance(), {name: files.feed[name] for name in loaded.inputs})

    return Contender(f"engine, {_name(kind)}", kind, file, prepare)


def _ours(kind: str) -> Contender:
    def file(files: Files) -> Path:
        return files.paths[kind, "custom"]

    def prepare(files: Files) -> Call:
        session = _session(file(files), session_options(1, library_path()))
        return onnxruntime_call(session, files.copied(), held_in_place(session))

    return Contender(f"ours, {_name(kind)}", kind, file, prepare)


def _onnxruntime(kind: str, level: str) -> Contender:
    def file(files: Files) -> Path:
        return files.paths[kind, "standard"]

    def prepare(files: Files) -> Call:
        options = session_options(1, config={LEVEL: level})
        return onnxruntime_call(_session(file(files), options), files.copied())

    told = _name(kind) if kind == FLOAT32 else f"{kind}, accuracy level {level}"
    return Contender(f"ONNX Runtime, {told}", kind, file, prepare)


def _openvino(kind: str) -> Contender:
    def file(files: Files) -> Path:
        return files.paths[kind, "standard"]

    return Contender(
        f"OpenVINO, {_name(kind)}", kind, file, lambda files: openvino_call(file(files), files.copied(), 1)
    )


def _dynamic(files: Files) -> Path:
    """The float32 file through ONNX Runtime's own quantizer, with its defaults."""
    path = files.folder / "quantize_dynamic.onnx"
    if not path.exists():
        from onnxruntime.quantization import quantize_dynamic

        with quiet():
            quantize_dynamic(files.paths[FLOAT32, "standard"], path)
    return path


CONTENDERS = (
    *(make(kind) for make in (_engine, _ours) for kind in (FLOAT32, "fp16", "int8", "int4", ROUNDED)),
    _onnxruntime(FLOAT32, "1"),
    *(_onnxruntime(kind, level) for kind in ("int8", "int4") for level in ("1", "4")),
    *(_onnxruntime(ROUNDED, level) for level in ("1", "4")),
    Contender(
        "ONNX Runtime, quantize_dynamic",
        FLOAT32,
        _dynamic,
        lambda files: onnxruntime_call(_session(_dynamic(files), session_options(1)), files.copied()),
    ),
    *(_openvino(kind) for kind in (FLOAT32, "fp16", "int8", "int4", ROUNDED)),
)
"""Ours come first, native engines and ONNX Runtime with our kernels; with the first of all times are compared."""
