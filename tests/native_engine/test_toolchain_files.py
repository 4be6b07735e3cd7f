"""`--toolchain FILE`: a CMake toolchain file chooses compiler, flags, target and instruction set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from temport.exporter.compilers.contract import CompileOptions
from temport.exporter.compilers.engines import check_target
from temport.exporter.errors import UserError
from temport.exporter.native.cmake_toolchain import cmake_toolchain
from temport.exporter.native.isa import host_isa, isa_of
from tests.deploy.toolchain import need
from tests.native_engine.targets import StepModel, drive, link


@pytest.fixture(scope="module", autouse=True)
def with_cmake() -> None:
    need("cmake")


@pytest.fixture
def cross(tmp_path: Path) -> Path:
    need("aarch64-linux-gnu-g++")
    return _file(
        tmp_path,
        "set(CMAKE_SYSTEM_NAME Linux)",
        "set(CMAKE_SYSTEM_PROCESSOR aarch64)",
        "find_program(CMAKE_CXX_COMPILER NAMES aarch64-linux-gnu-g++)",
        "set(CMAKE_CXX_FLAGS_INIT \"-mcpu=cortex-a72 -DNAMED='a b'\")",
    )


def test_an_engine_of_a_toolchain_file_gives_the_same_bits(
    cross: Path, model: Callable[[str], StepModel], scalar: Callable[[str], bytes]
) -> None:
    step = model("sliding_window")
    engine, report = step.engine("cross", toolchain=cross)
    assert (report.isa, report.machine) == ("neon", "aarch64")
    assert report.flags[:2] == ("-mcpu=cortex-a72", "-DNAMED=a b") and report.memory["stack"]
    program = link("aarch64-linux-gnu-gcc", engine, "-static")
    assert drive([need("qemu-aarch64-static"), program], engine, step.frames()) == scalar("sliding_window")


def test_target_and_system_root(tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        "set(CMAKE_CXX_COMPILER clang++)",
        "set(CMAKE_CXX_COMPILER_TARGET aarch64-linux-gnu)",
        f"set(CMAKE_SYSROOT {tmp_path})",
        "set(CMAKE_SYSTEM_NAME Linux)",
        "set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)",
    )
    need("clang++")
    tools = cmake_toolchain(file)
    assert tools.machine() == "aarch64" and f"--sysroot={tmp_path}" in tools.flags


def test_the_instruction_set_of_another_machine() -> None:
    assert isa_of("aarch64").name == "neon" or host_isa().name == "neon"
    assert isa_of("riscv64").name == "portable"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (['message(FATAL_ERROR "no such board")'], r"(?s)cmake failed with exit status 1.*no such board"),
        (["set(CMAKE_CXX_COMPILER /no/such/c++)"], r"(?s)cmake failed.*/no/such/c\+\+"),
        (
            ["set(CMAKE_SYSTEM_NAME Generic)", "set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)"],
            "is for Generic.*--source-only",
        ),
    ],
)
def test_a_file_that_cannot_be_followed(tmp_path: Path, lines: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_target("native", CompileOptions(toolchain=_file(tmp_path, *lines)))


def test_webassembly_has_its_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave --toolchain out"):
        check_target("native", CompileOptions(toolchain=_file(tmp_path), engine_isa="wasm"))


def _file(folder: Path, *lines: str) -> Path:
    file = folder / "toolchain.cmake"
    file.write_text("\n".join(lines))
    return file
