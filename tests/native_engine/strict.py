"""Compilers that take for an error what a strict house is warned of: every engine of the tests is compiled so."""

from __future__ import annotations

import stat
from pathlib import Path

from tests.deploy.toolchain import need

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wno-sign-conversion", "-Werror")


def strictly(directory: Path, compiler: str, *last: str) -> str:
    """A command in `directory` that is `compiler` with these warnings, and `last` behind all it is told: of several
    levels of optimisation the last one counts.
    """
    script = directory / "compiler"
    script.write_text(f'#!/bin/sh\nexec {need(compiler)} {" ".join(STRICT)} "$@" {" ".join(last)}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)
