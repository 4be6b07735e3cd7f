"""What the C++ library costs per inference beside ONNX Runtime in Python: same file, kernels and threads, in turns.

Only the inference is timed on either side, not the writing of its input. A round is a batch of frames of each; the
ratio is taken within a round, so what slows the machine for a while slows both.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from temport.exporter.bench.session_cost import SessionCost, session_cost
from temport.exporter.bundle.directory import Bundle
from temport.exporter.bundle.external_data import MODEL
from temport.exporter.errors import UserError
from temport.exporter.files import write_whole
from temport.exporter.parity.vectors import read_vectors
from temport.exporter.runtimes.bound import held_in_place
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.libraries import onnxruntime_library, ops_library
from temport.exporter.runtimes.native_kernels import all_native
from temport.exporter.runtimes.onnxruntime_cpu import OrtSession
from temport.exporter.runtimes.runner import run as run_program

RUNNER, PLAIN, BOUND = "temport-run", "Python, session.run", "Python, bound buffers"
WARM_UP = 20

Call = Callable[[], None]


@dataclass(frozen=True)
class DeployReport:
    """Median microseconds per inference of every round, by contender.

    path         which implementation of the custom ops ran
    allocations  per inference: `ours`, made by our library, and `runtime`, by ONNX Runtime inside its own run;
                 None where not counted
    opening      what a session of ONNX Runtime in Python costs `without` and `with` the op library
    """

    bundle: str
    path: str
    version: str
    threads: int
    frames: int
    medians: dict[str, list[float]]
    allocations: dict[str, float] | None
    opening: dict[str, SessionCost]

    def ratio(self, name: str) -> float:
        """Median over the rounds of the runner's time over that of `name`."""
        pairs = zip(self.medians[RUNNER], self.medians[name], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def write(self, path: Path) -> None:
        data = asdict(self) | {"ratios": {name: self.ratio(name) for name in (PLAIN, BOUND)}}
        write_whole(path, json.dumps(data, indent=1) + "\n")


def compare(
    bundle: Bundle, runner: Path, *, rounds: int, frames: int, threads: int, allocations: Path | None
) -> DeployReport:
    """Measure a bundle, a window or a step model, at its declared optimum.

    allocations  the program `temport_allocations` of the C++ tests; None: nothing is counted
    """
    path = bundle.path
    ops = ops_library() if bundle.declaration.ops == "custom" else None
    library = onnxruntime_library()
    if library is None:
        raise UserError("the onnxruntime package carries no shared library on this system")
    model = bundle.read(MODEL)
    session: Any = OrtSession(model, "", threads, ops, bundle.weights_beside())
    native = all_native(model, ops)
    in_place = held_in_place(session.session).values() if native else ()
    loops = {PLAIN: plain(bundle, session.session), BOUND: bound(bundle, session.session, in_place)}
    medians: dict[str, list[float]] = {name: [] for name in (RUNNER, *loops)}
    options = (
        *("--bench", "--frames", str(frames), "--threads", str(threads)),
        *("--library", str(library), "--ops", str(ops or "none")),
    )
    for turn in range(rounds):
        names, first = list(medians), turn % len(medians)
        for name in (*names[first:], *names[:first]):
            if name == RUNNER:
                said = run_program((str(runner),), path, options)
                medians[name].append(said["latency"]["p50"])
            else:
                medians[name].append(_median(loops[name], frames))
    counted = None if allocations is None else _allocations(allocations, path, library, ops)
    version = f"{said['runner']}, onnxruntime {said['version']}"
    opening = {"without": session_cost(None)} | ({"with": session_cost(ops)} if ops else {})
    return DeployReport(path.name, said["path"], version, threads, frames, medians, counted, opening)


def _median(loop: Loop, frames: int) -> float:
    """Microseconds per call, after as many untimed ones as the runner makes."""
    samples = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for frame in range(-WARM_UP, frames):
            loop.advance()
            started = time.perf_counter_ns()
            loop.call()
            if frame >= 0:
                samples.append((time.perf_counter_ns() - started) / 1e3)
    finally:
        if collecting:
            gc.enable()
    return statistics.median(samples)


def _allocations(program: Path, bundle: Path, library: Path, ops: Path | None) -> dict[str, float]:
    """Allocations per inference as `temport_allocations` counts them."""
    try:
        done = subprocess.run(
            [program, bundle, str(library), str(ops or "none")],
            capture_output=True,
            text=True,
            check=True,
        )
        counted = json.loads(done.stdout)
        return {"ours": counted["ours"], "runtime": counted["runtime"]}
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError) as error:
        raise UserError(
            f"{program} did not count allocations ({error}); it is built by the preset test of deploy/cpp"
        ) from error


@dataclass(frozen=True)
class Loop:
    """`advance` writes the next input, `call` is one inference, `output` shows what it gave.

    kept  what has to live as long
    """

    advance: Call
    call: Call
    output: Callable[[], np.ndarray]
    kept: object = None


def plain(bundle: Bundle, session: Any) -> Loop:
    """Arrays in a dictionary in, new arrays out; the state of a step model is handed back."""
    inputs, names = _Inputs(bundle), [output.name for output in session.get_outputs()]
    states = bundle.declaration.states
    feeds, newest = dict(inputs.arrays), Arrays()

    def call() -> None:
        newest.update(zip(names, session.run(names, feeds), strict=True))
        for before, after in states:
            feeds[before] = newest[after]

    return Loop(inputs.advance, call, lambda: newest[names[0]])


def bound(bundle: Bundle, session: Any, in_place: Collection[str] = ()) -> Loop:
    """Buffers bound once; a step model has two sets of them for its state, which change places.

    A state of `in_place` (by its input) has one buffer, in both sets. A binding holds addresses only: the loop keeps
    the arrays.
    """
    declaration = bundle.declaration
    inputs = _Inputs(bundle)
    other = {
        name: array if name in in_place else np.zeros_like(array) for name, array in inputs.arrays.items()
    }
    pairs = {after: before for before, after in declaration.states}
    outputs = {s.name: np.zeros(s.at(), s.dtype) for s in declaration.outputs if s.name not in pairs}
    bindings = []
    sets = (inputs.arrays, other)
    for turn, read in enumerate(sets):
        write, binding = sets[1 - turn], session.io_binding()
        for spec in declaration.inputs:
            kept = spec.name in pairs.values()
            array = read[spec.name] if kept else inputs.arrays[spec.name]
            binding.bind_input(spec.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for spec in declaration.outputs:
            array = write[pairs[spec.name]] if spec.name in pairs else outputs[spec.name]
            binding.bind_output(spec.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        bindings.append(binding)
    turns = 0

    def call() -> None:
        nonlocal turns
        session.run_with_iobinding(bindings[turns % 2])
        turns += 1

    return Loop(inputs.advance, call, lambda: outputs[declaration.outputs[0].name], (sets, outputs))


class _Inputs:
    """Arrays at the declared optimum: the first recorded case, for a step model its frames one after another."""

    def __init__(self, bundle: Bundle) -> None:
        recorded = read_vectors(bundle.path / "vectors.npz")[0].case.inputs
        declaration = bundle.declaration
        self._streaming, self._place = declaration.streaming, 0
        self._recorded = {name: array.reshape(-1) for name, array in recorded.items()}
        self.arrays: Arrays = {
            spec.name: np.resize(recorded[spec.name], spec.at())
            if spec.name in recorded
            else np.zeros(spec.at(), spec.dtype)
            for spec in declaration.inputs
        }

    def advance(self) -> None:
        if not self._streaming:
            return
        for name, values in self._recorded.items():
            array = self.arrays[name]
            place = np.arange(self._place * array.size, (self._place + 1) * array.size)
            array.reshape(-1)[:] = values.take(place, mode="wrap")
        self._place += 1
