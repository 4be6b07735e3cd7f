"""Running the programs of deploy/js the way its README says."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from toolchain import call, exclusive, need

from temport.exporter.runtimes import node

PROGRAMS = {"node": "node/temport-run.mjs", "web": "web/temport-run.mjs"}
SWIFTSHADER = {"TEMPORT_PROVIDER": "webgpu", "TEMPORT_WEBGPU_ADAPTER": "swiftshader"}
"""WebGPU computed on the CPU: what a test machine without a GPU has."""


@cache
def install() -> None:
    """`npm install` where it was not done yet."""
    need("node")
    with exclusive("npm"):
        if not (node.JS / "node_modules" / "koffi").is_dir():
            call("npm", "install", "--no-audit", "--no-fund", cwd=node.JS)


def run(
    where: str, *words: str | Path, package: Path = node.JS, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A runner (`node` or `web`) with a command line; `package` is the checkout's deploy/js or a copy of it."""
    install()
    return subprocess.run(
        ["node", str(package / PROGRAMS[where]), *map(str, words)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def refusal(where: str, *words: str | Path, **environment: str) -> str:
    """The one sentence of a run that has to be refused."""
    done = run(where, *words, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()
