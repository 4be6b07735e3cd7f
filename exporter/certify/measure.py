"""Runs `measure.c` on an engine: what it did and how long it took."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from temport.exporter.errors import UserError
from temport.exporter.native.toolchain import Toolchain

SHARES = (0.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9, 99.99, 100.0)
"""Percentiles that `measure.c` tells."""
CONDITIONS = {
    "steady": "one after the other",
    "host": "arithmetic of that length, between them",
    "paced": "at the rate, asleep in between",
    "cold": "caches swept before each",
    "neighbour": "beside a process that moves memory",
    "loud": "noise as input",
    "silent": "zeros as input, after the noise",
}
_PROGRAM = Path(__file__).parent / "measure.c"


@dataclass(frozen=True)
class Times:
    """Nanoseconds at `SHARES` of so many frames."""

    frames: int
    nanoseconds: tuple[int, ...]

    def at(self, share: float) -> int:
        return self.nanoseconds[SHARES.index(share)]


@dataclass(frozen=True)
class Measured:
    """What one run of `measure.c` saw.

    load         nanoseconds from the file to an instance that can run
    strict       whether frames ran under seccomp's strict mode; `signal` ended the process where not
    stack        bytes that a frame needs
    refuses      whether NaN and infinity were refused with the state as it was
    allocations  in 1000 frames
    undefined    symbols that the library wants from elsewhere
    subnormals   numbers of the state that were subnormal after the silence
    """

    load: int
    strict: bool
    signal: int
    stack: int
    refuses: bool
    allocations: int
    subnormals: int
    undefined: tuple[str, ...]
    times: dict[str, Times]


def measure(
    headers: Path, library: Path, frames: int, rate: float, core: int | None, compiler: str | None
) -> Measured:
    """headers  the folder of temport_engine.h

    UserError where the program cannot be compiled or ends early.
    """
    with tempfile.TemporaryDirectory(prefix="temport-certify-") as work:
        program = Path(work) / "measure"
        tools = Toolchain.found(compiler)
        tools.program(_PROGRAM, program, headers)
        command = [str(program), str(library), str(frames), repr(rate), str(-1 if core is None else core)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            f"the measurement of {library} ended with exit status {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    return parsed(done.stdout, tools.undefined(library))


def parsed(text: str, undefined: Sequence[str]) -> Measured:
    """What the lines of `measure.c` say."""
    words: dict[str, list[int]] = {}
    times: dict[str, Times] = {}
    for name, *rest in map(str.split, text.splitlines()):
        if name == "times":
            condition, count, *nanoseconds = rest
            times[condition] = Times(int(count), tuple(map(int, nanoseconds)))
        else:
            words[name] = list(map(int, rest))
    return Measured(
        load=words["load"][0],
        strict=bool(words["strict"][0]),
        signal=words["strict"][1],
        stack=words["stack"][0],
        refuses=bool(words["refuses"][0]),
        allocations=words["allocations"][0],
        subnormals=words["subnormals"][0],
        undefined=tuple(undefined),
        times=times,
    )
