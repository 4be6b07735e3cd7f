"""A C++ compiler and what comes with it: from the source of an engine to its libraries, and what these are made of."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from temport.exporter.errors import UserError

FLAGS = (
    "-std=gnu++17",
    "-O3",
    "-fno-fast-math",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-stack-protector",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-fPIC",
)
"""Of every engine, beside those of its instruction set. No compiler chooses which products to fuse with a sum: the
source says it (`fused` of custom_ops/native/simd.h), so that outputs do not depend on the compiler. Nor does a project
that has `-ffast-math` for all its sources change numbers, or let NaN through.
"""
_LAST_LINES = 12
_LINKERS = {"_GLOBAL_OFFSET_TABLE_"}


@dataclass(frozen=True)
class Toolchain:
    """A compiler and what it is always told.

    compiler  its command, such as `aarch64-linux-gnu-g++`
    flags     of a CMake toolchain file: `--sysroot`, `--target` and others
    tools     path by name, of `ar` and `nm`, where they are not the compiler's own
    """

    compiler: str
    flags: tuple[str, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def found(cls, compiler: str | None) -> Toolchain:
        """`compiler`, or the first of c++, g++ and clang++ that there is. UserError where there is none."""
        if compiler is not None:
            if shutil.which(compiler) is None:
                raise UserError(
                    f"--cc {compiler} is no command here; name a C++ compiler, or give --source-only"
                )
            return cls(compiler)
        for name in ("c++", "g++", "clang++"):
            if shutil.which(name):
                return cls(name)
        raise UserError(
            "--target native needs a C++ compiler, and there is none here; install g++, or give --source-only"
        )

    def version(self) -> str:
        told = self._run(["--version"]).splitlines()
        return told[0] if told else self.compiler

    def machine(self) -> str:
        """What the compiler makes code for, the first word of its target."""
        return self._run(["-dumpmachine"]).strip().partition("-")[0]

    def compile(self, directory: Path, source: str, flags: Sequence[str]) -> str:
        """The object file of a source, both in `directory`."""
        target = f"{source}.o"
        self._run(["-c", source, "-o", target, *flags], directory)
        if not (directory / target).is_file():
            raise UserError(f"{self.compiler} wrote no object file; --cc has to name a C++ compiler")
        return target

    def libraries(self, directory: Path, objects: Sequence[str], name: str) -> str:
        """Makes the library that is loaded and, where there is such a thing, one to link; returns what the first is
        called. The objects need nothing but the C library's memcpy and memset.
        """
        library = f"lib{name}.so"
        flags = ["-shared", "-nostdlib", "-Wl,-z,noexecstack", "-Wl,--no-undefined"]
        self._run([*flags, *objects, "-o", library, "-lc", "-lgcc"], directory)
        execute([self._tool("ar"), "rcsD", f"lib{name}.a", *objects], directory)
        return library

    def program(self, source: Path, target: Path, headers: Path) -> None:
        """The program of one source in C."""
        libraries = ["-x", "none", "-ldl", "-lpthread"]
        self._run(["-O2", "-x", "c", str(source), f"-I{headers}", "-o", str(target), *libraries])

    def undefined(self, path: Path) -> list[str]:
        """The symbols that an object or a library wants from elsewhere, without those of the linker itself."""
        lines = execute([self._tool("nm"), "--undefined-only", "--format=posix", path.name], path.parent)
        found = {line.split()[0].split("@")[0] for line in lines.splitlines() if line.strip()}
        return sorted(found - _LINKERS)

    def code_bytes(self, path: Path) -> int:
        """The sizes of the sections of an object that hold instructions."""
        lines = execute([self._tool("size"), "--format=sysv", path.name], path.parent).splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(".text"))

    def _tool(self, name: str) -> str:
        return self.tools.get(name) or self._run([f"-print-prog-name={name}"]).strip()

    def _run(self, arguments: Sequence[str], directory: Path | None = None) -> str:
        return execute([self.compiler, *self.flags, *arguments], directory)


def execute(command: Sequence[str], directory: Path | None) -> str:
    """What a command prints; UserError where it cannot be run, and with its last lines where it fails."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        last = "\n".join([line for line in done.stderr.splitlines() if line.strip()][-_LAST_LINES:])
        raise UserError(f"{command[0]} failed with exit status {done.returncode}:\n{last}")
    return done.stdout


def deepest_stack(callgraph: str, root: str) -> int | None:
    """Bytes of stack that the function whose name holds `root` needs with all that it calls, from GCC's
    `-fcallgraph-info=su`; None where it has no such function, or where one of them takes an amount without a bound.
    """
    own: dict[str, int | None] = {}
    for title, label in re.findall(r'node: \{ title: "([^"]*)" label: "([^"]*)"', callgraph):
        size = re.search(r"(\d+) bytes \((?:static|dynamic,bounded)\)", label)
        own[title] = int(size[1]) if size else (None if "bytes (" in label else 0)
    calls: dict[str, set[str]] = {}
    for source, target in re.findall(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"', callgraph):
        calls.setdefault(source, set()).add(target)

    def depth(name: str, above: frozenset[str]) -> int | None:
        if name in above:
            return None
        below = [depth(callee, above | {name}) for callee in calls.get(name, ())]
        frame = own.get(name, 0)
        return (
            None
            if frame is None or None in below
            else frame + max((b for b in below if b is not None), default=0)
        )

    found = next((title for title in own if root in title), None)
    return None if found is None else depth(found, frozenset())
