"""Runtimes behind a program of their own: C++, node, a browser. One command line serves them all.

A runner is a program with the command line of `temport-run`:

    PROGRAM BUNDLE --replay                                       rows of the parity report as JSON on stdout
    PROGRAM BUNDLE --input NAME=x.npy ... --output NAME=y.npy ...  one inference, or one stream of a step model

Exit code 0 or 1 with JSON on stdout, or 2 with one sentence on stderr.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from temport.exporter.bundle.directory import write_manifest
from temport.exporter.errors import UserError
from temport.exporter.runtimes.contract import Arrays, Capabilities, Closing
from temport.exporter.runtimes.libraries import runner_environment
from temport.exporter.runtimes.subject import Subject

TIMEOUT = 600.0
"""Seconds after which a runner is taken for hung; emulated processors are slow."""


class RunnerLost(UserError):
    """The program was started and hung, crashed, or answered something else than its command line promises."""


@dataclass(frozen=True)
class Found:
    """Where a runner is, or why it is not: `command` starts it and `options` follow the bundle."""

    command: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    missing: str | None = None


@dataclass(frozen=True)
class RunnerRuntime:
    """A runtime whose sessions are runs of a program; `find` is asked anew each time, so nothing is cached."""

    name: str
    capabilities: Capabilities
    find: Callable[[], Found]

    def unavailable(self) -> str | None:
        return self.find().missing

    def open(self, subject: Subject, threads: int = 1) -> RunnerSession:
        return RunnerSession(self.find(), subject, threads)


class RunnerSession(Closing):
    """A bundle of the model alone in a temporary directory, handed to the program once per run."""

    def __init__(self, found: Found, subject: Subject, threads: int) -> None:
        self._found, self._threads = found, threads
        states = {after for _, after in subject.declaration.states}
        outputs = [spec for spec in subject.declaration.outputs if spec.name not in states]
        self._outputs = {spec.name: np.dtype(spec.dtype) for spec in outputs}
        self._directory = tempfile.TemporaryDirectory(prefix="temport-runner-")
        self._bundle = Path(self._directory.name) / "bundle"
        self._bundle.mkdir()
        for file in subject.model_path.parent.glob(f"{subject.model_path.name}*"):
            shutil.copy(file, self._bundle / file.name.replace(subject.model_path.name, "model.onnx", 1))
        write_manifest(self._bundle, subject.declaration, [], {})
        try:
            said = run(found.command, self._bundle, (*found.options, "--threads", str(threads)))
        except RunnerLost as error:  # a failure of the runtime; what it refuses is not run
            raise RuntimeError(str(error)) from error
        self.path: str = said["path"]
        library = f" from {said['library']}" if "library" in said else ""
        self.version = f"{said['runner']}, {said['runtime']} {said['version']}{library}"

    def run(self, inputs: Arrays) -> Arrays:
        with tempfile.TemporaryDirectory(dir=self._directory.name) as scratch:
            options = [*self._found.options, "--threads", str(self._threads)]
            for name, array in inputs.items():
                file = Path(scratch) / f"in-{name}.npy"
                np.save(file, array, allow_pickle=False)
                options += ["--input", f"{name}={file}"]
            files = {name: Path(scratch) / f"out-{name}.npy" for name in self._outputs}
            for name, file in files.items():
                options += ["--output", f"{name}={file}"]
            run(self._found.command, self._bundle, options)
            arrays = {name: np.load(file, allow_pickle=False) for name, file in files.items()}
        # numpy reads an element type that it does not know, such as bfloat16, as plain bytes
        return {name: a.view(self._outputs[name]) if a.dtype.kind == "V" else a for name, a in arrays.items()}

    def close(self) -> None:
        self._directory.cleanup()


class Runner(Protocol):
    """A program with the command line of `temport-run`, here or on another machine.

    where  stands behind the names of its rows, so that those of two machines are two
    """

    @property
    def name(self) -> str: ...

    @property
    def where(self) -> str: ...

    def run(self, bundle: Path, options: Sequence[str]) -> dict[str, Any]:
        """What it printed; raises as `run` does."""
        ...


@dataclass(frozen=True)
class LocalRunner:
    """A program of this machine."""

    program: Path
    where: str = ""

    @property
    def name(self) -> str:
        return self.program.name

    def run(self, bundle: Path, options: Sequence[str]) -> dict[str, Any]:
        return run((str(self.program),), bundle, options)


def local_runner(text: str) -> LocalRunner:
    """UserError where there is no such program, before anything that takes long."""
    found = shutil.which(text)
    if found is None:
        raise UserError(f"the runner {text} cannot be run: there is no such program")
    return LocalRunner(Path(found))


def replay(runner: Runner, bundle: Path) -> list[dict[str, Any]]:
    """Rows of the parity report (schema of `runtimes`) from a runner that replays the recorded vectors."""
    rows = runner.run(bundle, ("--replay",)).get("runtimes")
    if not isinstance(rows, list):
        raise UserError(f"{runner.name} printed no runtimes; a runner has the command line of temport-run")
    return [{**row, "name": f"{row['name']}{runner.where}"} for row in rows]


def run(command: Sequence[str], bundle: Path, options: Sequence[str]) -> dict[str, Any]:
    """What the program printed; UserError with its own sentence where it refuses, RunnerLost where it fails."""
    try:
        done = subprocess.run(
            [*command, str(bundle), *options],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=runner_environment(),
        )
    except OSError as error:
        raise UserError(f"the runner {command[0]} cannot be run: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise RunnerLost(
            f"the runner {Path(command[-1]).name} did not end within {TIMEOUT:g} seconds"
        ) from error
    return said_by(Path(command[-1]).name, done)


def said_by(name: str, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a runner that has ended printed; raises as `run` does."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    said = lines[-1].removeprefix("error: ") if lines else f"exit code {done.returncode}"
    if done.returncode not in (0, 1):
        refused = done.returncode == 2 and lines
        raise (UserError if refused else RunnerLost)(f"the runner {name} stopped: {said}")
    try:
        printed = json.loads(done.stdout)
    except ValueError as error:
        raise RunnerLost(
            f"the runner {name} printed no JSON ({said}); it needs the command line of temport-run"
        ) from error
    if not isinstance(printed, dict):
        raise RunnerLost(f"the runner {name} printed something else than a JSON object")
    return printed
