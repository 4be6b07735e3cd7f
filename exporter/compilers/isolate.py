"""Run the worker process and turn all that can happen to it into a result or one sentence."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temport.exporter.compilers.contract import Backend, CompileError, OnPhase

_WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class EngineBuild:
    """What the worker says of a finished build: seconds, the text of the layer table, TensorRT's version."""

    seconds: float
    table: str
    version: str


def build_engine(backend: Backend, request: dict[str, Any], progress: OnPhase) -> EngineBuild:
    """Build `request["model"]` into `request["engine"]` in a process of its own; raises `CompileError`."""
    with _library_directory(backend) as libraries, tempfile.TemporaryFile() as errors:
        path = os.pathsep.join(filter(None, (libraries, os.environ.get("LD_LIBRARY_PATH"))))
        process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],  # -P: our own tensorrt_rtx.py must not hide the bindings
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "LD_LIBRARY_PATH": path},
        )
        try:
            answer, phase = _converse(process, {**request, "module": backend.module}, progress)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if answer is None and process.returncode == -signal.SIGALRM:
            raise CompileError(
                f"{backend.name} built no engine within {request['timeout']} seconds (phase {phase!r}); give it longer "
                "with --build-timeout, or less to do with a lower --optimization-level"
            )
        if answer is None:
            errors.seek(0)
            raise CompileError(
                _died(backend, process.returncode, phase, errors.read().decode(errors="replace"))
            )
    if answer["event"] == "failed":
        messages = "; ".join(dict.fromkeys(answer["messages"])) or "no message"
        raise CompileError(
            f"{backend.name} refused the model at the {answer['stage']} step: {messages[:2000]}"
        )
    return EngineBuild(answer["seconds"], answer["table"], answer["version"])


def _converse(
    process: subprocess.Popen[bytes], request: dict[str, Any], progress: OnPhase
) -> tuple[dict[str, Any] | None, str]:
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
    phase = "start"
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] != "progress":
            return event, phase
        phase = event["phase"]
        progress(phase, event["step"], event["steps"])
    return None, phase


def _died(backend: Backend, code: int, phase: str, errors: str) -> str:
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    last = next((line for line in reversed(errors.splitlines()) if line.strip()), "it printed nothing")
    return f"the {backend.name} builder died of {how} in phase {phase!r}: {last[:500]}"


@contextlib.contextmanager
def _library_directory(backend: Backend) -> Iterator[str]:
    """A directory with the libraries under their unversioned names.

    A parser that meets a plugin opens `libtensorrt_rtx.so` by that name and aborts the process if it cannot;
    the wheel has only `libtensorrt_rtx.so.1`.
    """
    with tempfile.TemporaryDirectory(prefix="temport-libraries-") as directory:
        for library in _libraries(backend):
            link = Path(directory) / (library.name.partition(".so")[0] + ".so")
            if not link.exists():
                link.symlink_to(library)
        yield directory


def _libraries(backend: Backend) -> list[Path]:
    spec = importlib.util.find_spec(backend.libraries)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    return sorted(library for place in places for library in Path(place).glob("lib*.so.*"))
