"""`--toolchain FILE`: what a CMake toolchain file says, asked of CMake itself, since such a file is a program."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path

from temport.exporter.errors import UserError
from temport.exporter.native.toolchain import Toolchain, execute

_ASKED = (
    "CMAKE_SYSTEM_NAME",
    "CMAKE_CXX_COMPILER",
    "CMAKE_CXX_COMPILER_ARG1",
    "CMAKE_CXX_FLAGS",
    "CMAKE_CXX_COMPILE_OPTIONS_TARGET",
    "CMAKE_CXX_COMPILER_TARGET",
    "CMAKE_SYSROOT",
    "CMAKE_AR",
    "CMAKE_NM",
)
_PROJECT = """cmake_minimum_required(VERSION 3.16)
project(asked LANGUAGES CXX)
foreach(name %s)
  file(APPEND answers "${name}=${${name}}\n")
endforeach()
"""


def cmake_toolchain(file: Path) -> Toolchain:
    """The compiler of a toolchain file, with its flags, target and system root. CMake tries it on a program of its own.

    UserError with CMake's last lines where that fails, and where the file is for a system without shared libraries.
    """
    if not file.is_file():
        raise UserError(f"--toolchain {file} is no file; name one that sets CMAKE_CXX_COMPILER")
    if shutil.which("cmake") is None:
        raise UserError("--toolchain is read by cmake, and there is none here; install it, or give --cc")
    with tempfile.TemporaryDirectory(prefix="temport-toolchain-") as scratch:
        folder = Path(scratch)
        (folder / "CMakeLists.txt").write_text(_PROJECT % " ".join(_ASKED))
        execute(["cmake", f"-DCMAKE_TOOLCHAIN_FILE={file.resolve()}", "-B", "build", "-S", "."], folder)
        answers = (folder / "answers").read_text()
    said = dict(line.split("=", 1) for line in answers.splitlines())
    if said["CMAKE_SYSTEM_NAME"] not in ("Linux", "Android"):
        raise UserError(
            f"--toolchain {file} is for {said['CMAKE_SYSTEM_NAME']}, whose libraries are not made here; give "
            f"--source-only, and build the bundle's engine/ with cmake and CMAKE_TOOLCHAIN_FILE"
        )
    flags = [*shlex.split(said["CMAKE_CXX_COMPILER_ARG1"]), *shlex.split(said["CMAKE_CXX_FLAGS"])]
    if (target := said["CMAKE_CXX_COMPILER_TARGET"]) and (option := said["CMAKE_CXX_COMPILE_OPTIONS_TARGET"]):
        flags.append(option + target)
    if root := said["CMAKE_SYSROOT"]:
        flags.append(f"--sysroot={root}")
    tools = {name: said[f"CMAKE_{name.upper()}"] for name in ("ar", "nm")}
    return Toolchain(said["CMAKE_CXX_COMPILER"], tuple(flags), tools)
