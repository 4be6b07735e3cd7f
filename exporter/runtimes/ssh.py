"""A runner on another machine: `ssh:HOST` gets the program, its libraries and the bundle, and they are removed again.

Everything is done by the system's `ssh` and `scp`: names, keys and jumps are those of the user's own configuration. On
the other side a POSIX shell is enough.
"""

from __future__ import annotations

import contextlib
import shlex
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from temport.exporter.errors import UserError
from temport.exporter.runtimes import cpp_runner
from temport.exporter.runtimes.libraries import onnxruntime_library, ops_library
from temport.exporter.runtimes.runner import TIMEOUT, Runner, RunnerLost, local_runner, said_by

PREFIX = "ssh:"
OPTIONS = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=15")
LOST = 255
"""With which `ssh` ends where the connection is what failed."""
MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""Of an ELF header, as `uname -m` says them."""
BESIDE = {"TEMPORT_ONNXRUNTIME_LIBRARY": "libonnxruntime.so*", "TEMPORT_OPS_LIBRARY": "libtemport_ops.so"}
"""The libraries that a runner opens, by the variables that name them."""
BEGIN = (
    'd=$(mktemp -d "${TMPDIR:-/tmp}/temport-XXXXXX") && uname -m && echo "$d" && '
    '{ df -Pk "$d" || { rmdir "$d"; false; }; }'
)
"""Ends with four lines; what a login may print comes before, and is not the folder that is removed."""


@contextlib.contextmanager
def runners(names: Sequence[str]) -> Iterator[tuple[Runner, ...]]:
    """Programs of this machine, and `ssh:HOST` or `ssh:HOST=PROGRAM`. UserError where one cannot be had."""
    with contextlib.ExitStack() as opened:
        found: list[Runner] = []
        for name in names:
            if name.startswith(PREFIX):
                host, _, program = name.removeprefix(PREFIX).partition("=")
                found.append(opened.enter_context(ssh_runner(host, program)))
            else:
                found.append(local_runner(name))
        yield tuple(found)


class SshRunner:
    """A program that lies in `directory` of `host`, beside its libraries."""

    def __init__(self, host: str, directory: str, room: int) -> None:
        self.name, self.where = f"{PREFIX}{host}", f"@{host}"
        self._host, self._directory, self._room = host, directory, room
        self._bundles: dict[Path, str] = {}

    def run(self, bundle: Path, options: Sequence[str]) -> dict[str, Any]:
        """The bundle is copied before its first run. UserError as `runner.run`, and where there is no room."""
        if bundle not in self._bundles:
            place = f"bundle-{len(self._bundles)}"
            self.copy(bundle, place)
            self._bundles[bundle] = place
        words = (f"./{cpp_runner.PROGRAM}", self._bundles[bundle], *options, "--timeout", f"{TIMEOUT:g}")
        done = _ssh(
            self._host, f"cd {shlex.quote(self._directory)} && . ./environment && {shlex.join(words)}"
        )
        return said_by(self.name, done)

    def copy(self, source: Path, name: str) -> None:
        """A file or a folder into the directory, under that name."""
        needed = sum(f.stat().st_size for f in (source, *source.rglob("*")) if f.is_file())
        if needed > self._room:
            raise UserError(
                f"{self._host} has {self._room / 2**20:.1f} MiB of room in {self._directory}, and {source.name} "
                f"takes {needed / 2**20:.1f}; make room there, or set TMPDIR for that user"
            )
        self._room -= needed
        target = f"{self._host}:{shlex.quote(f'{self._directory}/{name}')}"
        done = _run(("scp", "-q", "-r", *OPTIONS, str(source.resolve()), target), self._host)
        if done.returncode:
            raise UserError(f"{source.name} cannot be copied to {self._host}: {_last(done)}")

    def close(self) -> None:
        """Remove everything there; a machine that is gone keeps it."""
        with contextlib.suppress(UserError):
            _ssh(self._host, f"rm -rf {shlex.quote(self._directory)}")


@contextlib.contextmanager
def ssh_runner(host: str, program: str = "") -> Iterator[SshRunner]:
    """program  the runner to copy; empty: the one that the row `cpp` takes. Libraries that lie beside it go along.

    UserError where the host is not reached, has another processor than the program, or no room.
    """
    if not host or host.startswith("-"):
        raise UserError(f"--runner {PREFIX}{host} names no host; it is {PREFIX}HOST or {PREFIX}HOST=PROGRAM")
    chosen, libraries = _with_libraries(program)
    begun = _ssh(host, BEGIN)
    lines = begun.stdout.splitlines()[-4:]
    if begun.returncode or len(lines) < 4:
        raise UserError(f"{host} cannot be used: {_last(begun)}")
    machine, directory, _, disk = lines
    runner = SshRunner(host, directory, 1024 * int(disk.split()[3]))
    try:
        made_for = processor(chosen)
        if made_for and made_for != machine:
            raise UserError(
                f"{host} is {machine} and {chosen} is for {made_for}; name a runner for it, {PREFIX}{host}=PROGRAM "
                "(deploy/README.md says how one is built)"
            )
        runner.copy(chosen, cpp_runner.PROGRAM)
        for library in libraries.values():
            runner.copy(library, library.name)
        exports = [
            f'export {variable}="$PWD"/{shlex.quote(path.name)}' for variable, path in libraries.items()
        ]
        _ssh(
            host, f"cd {shlex.quote(directory)} && printf '%s\\n' {shlex.join(['', *exports])} > environment"
        )
        yield runner
    finally:
        runner.close()


def processor(program: Path) -> str:
    """What a program is made for, as `uname -m` says it; empty where it is no ELF file, such as a script."""
    with program.open("rb") as file:
        head = file.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return ""
    number = struct.unpack("<H" if head[5] == 1 else ">H", head[18:20])[0]
    return MACHINES.get(number, f"ELF machine {number}")


def _with_libraries(program: str) -> tuple[Path, dict[str, Path]]:
    """The program, and by the variables that name them the libraries that it opens."""
    if program:
        chosen = local_runner(program).program
        found = {v: next(iter(sorted(chosen.parent.glob(pattern))), None) for v, pattern in BESIDE.items()}
    else:
        own = cpp_runner.find()
        if own.missing is not None:
            raise UserError(own.missing)
        chosen = Path(own.command[0])
        found = dict(zip(BESIDE, (onnxruntime_library(), ops_library()), strict=True))
    return chosen, {variable: path for variable, path in found.items() if path is not None}


def _ssh(host: str, command: str) -> subprocess.CompletedProcess[str]:
    """UserError where the connection fails, and not the command."""
    done = _run(("ssh", *OPTIONS, host, command), host)
    if done.returncode == LOST:
        raise UserError(f"{host} is not reached by ssh: {_last(done)}")
    return done


def _run(command: Sequence[str], host: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except OSError as error:
        raise UserError(
            f"{command[0]} cannot be run: {error.strerror}; --runner {PREFIX} needs it"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RunnerLost(f"{host} did not answer within {TIMEOUT:g} seconds") from error


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {done.returncode}"
