"""Building deploy/cpp the way its README says, once per test run and incrementally."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from temport.exporter.runtimes.libraries import runner_environment

CPP = Path(__file__).parents[2] / "deploy" / "cpp"

PACKAGES = {
    "clang++": "clang libclang-rt-14-dev",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "qemu-aarch64-static": "qemu-user-static",
    "wasm-ld": "lld",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "npm": "npm",
}
"""Debian packages of the programs that the tests need beside cmake and a compiler."""


def need(program: str) -> str:
    """The program's path; a test that needs it fails, with what to install, where it is missing."""
    found = shutil.which(program)
    assert found, f"{program} is not installed: apt-get install {PACKAGES[program]}"
    return found


@contextmanager
def exclusive(what: str) -> Iterator[None]:
    """One test process at a time makes what has this name: several share this checkout's build directories."""
    locks = CPP.parents[1] / "build"
    locks.mkdir(exist_ok=True)
    with (locks / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def build(preset: str, *targets: str) -> Path:
    """Configure and build a preset of deploy/cpp; the build directory.

    Not optimised, without the lines that a sanitizer would say beside its functions, and linked by LLD: compilers and
    linkers take longer than all that runs in these tests.
    """
    need("wasm-ld")
    chosen = ("--target", *targets) if targets else ()
    quick = ("-DCMAKE_CXX_FLAGS_RELEASE=-O0", "-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld")
    with exclusive(preset):
        call("cmake", "--preset", preset, *quick, cwd=CPP)
        call("cmake", "--build", "--preset", preset, "-j2", *chosen, cwd=CPP)
    return CPP / "build" / preset


def build_runner() -> Path:
    """What the tests in Python run: the library, its runner and small programs; the build directory.

    GCC is the compiler of the op library and of all that is built for aarch64.
    """
    need("clang++")
    return build("quick", "temport-run", "temport", "retry_frames", "open_bundles", "temport_allocations")


def call(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done.stdout


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """What a command did, whatever that was; a runner finds this installation's libraries."""
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=runner_environment()
    )
