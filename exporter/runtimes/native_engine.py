"""The native engine that `--target native` compiled, in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from temport.engine import Engine, Instance, native_entry
from temport.exporter.declare.declaration import Declaration
from temport.exporter.runtimes.apart import Apart, ApartSession
from temport.exporter.runtimes.contract import Arrays, Call, Capabilities, Closing, Runtime
from temport.exporter.runtimes.frames import frame_of
from temport.exporter.runtimes.subject import Subject

CAPABILITIES = Capabilities(
    custom_domain=True,
    functions=True,
    opsets=(18, 24),
    # halves inside are held in float32
    dtypes=frozenset({"bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32"}),
    dynamic_axes=True,
    intermediates=False,
    whole_streams=True,
    exact=True,
    fp8=True,  # in float32
)


class NativeEngine:
    """Its sessions take whole streams of a step model: the state lies in the engine's own layout."""

    name = "native_engine"
    capabilities = CAPABILITIES

    @property
    def in_process(self) -> Runtime:
        return _InProcess()

    def unavailable(self) -> str | None:
        return None if sys.platform.startswith("linux") else "engines are loaded on Linux only"

    def open(self, subject: Subject, threads: int = 1) -> ApartSession:
        """UserError where the bundle has no engine for this machine, before a process is started."""
        native_entry(subject.model_path.parent)
        return Apart(_InProcess()).open(subject, threads)


class _InProcess:
    """What the other process runs."""

    name, capabilities = NativeEngine.name, CAPABILITIES

    def unavailable(self) -> str | None:
        return None

    def open(self, subject: Subject, threads: int = 1) -> EngineSession:
        folder = subject.model_path.parent
        entry = native_entry(folder)
        file = folder / entry["file"]
        return EngineSession(Engine(entry, file.read_bytes()), subject.declaration, file)


class EngineSession(Closing):
    """One instance; a stream starts from zero state at every call."""

    def __init__(self, engine: Engine, declaration: Declaration, file: Path) -> None:
        self._instance: Instance = engine.instance()
        self._engine, self._declaration, self.files = engine, declaration, (file,)
        self.path, self.version = f"native engine, {engine.isa}", engine.version

    def run(self, inputs: Arrays) -> Arrays:
        if not self._declaration.streaming:
            return self._instance.run(inputs)
        self._instance.reset()
        given = [spec for spec in self._declaration.inputs if spec.name in inputs]
        frames = [
            self._instance.run({spec.name: frame_of(spec, inputs[spec.name], t) for spec in given})
            for t in range(inputs[given[0].name].shape[1])
        ]
        return {output: np.stack([frame[output] for frame in frames], axis=1) for output in frames[0]}

    def prepared(self, inputs: Arrays) -> Call:
        """The state is the one inside; it is not taken from the inputs."""
        return self._instance.bound({name: inputs[name] for name in self._engine.inputs})


RUNTIME = NativeEngine()
