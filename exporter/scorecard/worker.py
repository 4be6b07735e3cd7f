"""What one runtime does in a process of its own, which holds nothing else: it is loaded, weighed and timed there.

Nothing that is imported here imports torch: memory and libraries are those of the runtime alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temport.exporter.bench.resident import status_kib
from temport.exporter.bench.timing import each_run
from temport.exporter.bundle.directory import Bundle, open_bundle
from temport.exporter.bundle.external_data import is_weights
from temport.exporter.runtimes import runtime_named
from temport.exporter.runtimes.contract import Arrays, Runtime, Session
from temport.exporter.runtimes.frames import frame_of
from temport.exporter.runtimes.subject import Subject
from temport.exporter.scorecard.allocations import PRELOAD, per_run

if TYPE_CHECKING:
    from temport.exporter.declare.declaration import Declaration

WARM_FRAMES = 127
"""Frames before the one that is timed: caches are full, and a block of 64 is in its middle."""


@dataclass(frozen=True)
class Task:
    """What a process is to measure: a runtime, on a bundle that is still the one with this digest.

    inputs   of one inference, or a stream `[batch, frames, ...]`
    state    of a step model before its first frame
    source   what the bundle was made of, as `temport parity --module` takes it
    ready    the runtime, where it had to be made for this bundle
    counter  the library that counts allocations and stands in front of the C library's
    """

    runtime: str
    bundle: Path
    digest: str
    inputs: Arrays
    state: Arrays
    source: str | None
    counter: Path | None
    ready: Runtime | None = None


@dataclass(frozen=True)
class Weight:
    """What `card.Row` has by these names."""

    path: str
    version: str
    load: float
    libraries: int
    model: int | None
    memory: int
    allocations: float | None


def measured(task: Task) -> Generator[Any, float, None]:
    """Talks: `Weight`, then for so many seconds the seconds of each run (`apart.OtherProcess`)."""
    os.environ.pop(PRELOAD, None)  # not for what this process starts
    runtime = task.ready or runtime_named(task.runtime)
    runtime = getattr(runtime, "in_process", runtime)
    bundle = open_bundle(task.bundle, task.digest)
    mapped, held = _libraries(), _memory("VmRSS")
    _forget_peak()
    began = time.perf_counter()
    module = _module(bundle, task.source) if runtime.capabilities.source and task.ready is None else None
    with runtime.open(_subject(bundle, module), 1) as session:
        load = time.perf_counter() - began
        call = session.prepared(feed_of(bundle.declaration, runtime, session, task))
        for _ in range(2):
            call()
        allocations = None if task.counter is None else per_run(call, task.counter)
        seconds = yield Weight(
            session.path,
            session.version,
            load,
            sum(file.stat().st_size for file in _libraries() - mapped),
            None if module is not None else sum(file.stat().st_size for file in _files(bundle, session)),
            max(0, _memory("VmHWM") - held),
            allocations,
        )
        while True:
            seconds = yield each_run(call, seconds)


def _module(bundle: Bundle, source: str | None) -> Any:
    from temport.exporter.recheck import rebuilt_module

    return rebuilt_module(bundle, source)


def _subject(bundle: Bundle, module: Any) -> Subject:
    if module is None:
        return Subject(bundle.declaration, bundle.model_path)
    from temport.exporter.parity.trial import Trial

    return Trial.of(bundle.declaration, bundle.model_path, module).subject


def feed_of(declaration: Declaration, runtime: Runtime, session: Session, task: Task) -> Arrays:
    """The first recorded inputs; of a step model the frame after `WARM_FRAMES` of them, with the state after those."""
    inputs, state = task.inputs, task.state
    if not declaration.streaming:
        return {name: array.copy() for name, array in inputs.items()}
    given = [spec for spec in declaration.inputs if spec.name in inputs]
    length = inputs[given[0].name].shape[1]

    def frame(t: int) -> Arrays:
        return {spec.name: frame_of(spec, inputs[spec.name], t % length) for spec in given}

    if runtime.capabilities.whole_streams:
        session.run({name: array[:, :WARM_FRAMES] for name, array in inputs.items()})
        return frame(WARM_FRAMES)
    for t in range(WARM_FRAMES):
        results = session.run(frame(t) | state)
        state = {before: results[after].copy() for before, after in declaration.states}
    return frame(WARM_FRAMES) | state


def _files(bundle: Bundle, session: Session) -> tuple[Path, ...]:
    """What the session loaded of the model."""
    beside = tuple(bundle.path / name for name in bundle.manifest["files"] if is_weights(name))
    files: tuple[Path, ...] = getattr(session, "files", ())
    return files or (bundle.model_path, *beside)


def _libraries() -> set[Path]:
    """The files whose code is mapped into this process, from Linux's /proc."""
    words = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    names = {Path(line[5]) for line in words if len(line) == 6 and "x" in line[1]}
    return {path for path in names if path.is_file()}


def _memory(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    return 1024 * status_kib(field)


def _forget_peak() -> None:
    """The peak of resident memory begins anew here."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
