"""The C++ tests plain and under sanitizers, and every reader under libFuzzer for a moment."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from toolchain import CPP, build, build_runner, call, need

READERS = ("npy", "npz", "manifest", "state", "nodes", "bundle")
RUNS = {
    "npy": 50_000,
    "npz": 50_000,
    "manifest": 500,
    "state": 20_000,
    "nodes": 20_000,
    "bundle": 100,
}
"""Executions per reader, about a second each; longer runs are a matter of one option."""


def test_an_inference_allocates_nothing() -> None:
    assert '"ours": 0, "runtime": 0' in call(build_runner() / "tests" / "temport_allocations")


@pytest.mark.thorough
def test_without_sanitizers() -> None:
    """Likewise by this machine's own compiler."""
    assert "Status: SUCCESS" in call(build("test", "temport_tests") / "tests" / "temport_tests")


@pytest.fixture(scope="module")
def instrumented() -> Path:
    """Fuzzers and C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer, one build for both."""
    need("clang++")
    return build("fuzz", "fuzzers", "temport_tests")


def test_address_and_undefined_behaviour(instrumented: Path) -> None:
    assert "Status: SUCCESS" in call(instrumented / "tests" / "temport_tests")


def test_threads() -> None:
    assert "Status: SUCCESS" in call(build("tsan", "temport_tests") / "tests" / "temport_tests")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A starting corpus by reader; what a fuzzer finds goes elsewhere."""
    folder = tmp_path_factory.mktemp("seeds")
    call(sys.executable, CPP / "fuzz" / "seeds.py", folder)
    return folder


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("reader", READERS)
def test_fuzz(instrumented: Path, seeds: Path, tmp_path: Path, reader: str, times: int) -> None:
    (tmp_path / "found").mkdir()
    call(
        instrumented / "fuzz" / f"fuzz_{reader}",
        f"-runs={times * RUNS[reader]}",
        "-seed=1",
        "-verbosity=0",
        f"-artifact_prefix={tmp_path}/",
        tmp_path / "found",
        seeds / reader,
    )


def test_a_reader_that_trusts_its_input_is_caught(seeds: Path, tmp_path: Path) -> None:
    """The fuzzer's own gate: without the bound on the shape, the npy harness stops at once."""
    source = (CPP / "src" / "npy.cpp").read_text()
    careless, changes = re.subn(r"if \(!count \|\| .*? != present\)", "if (!count)", source, flags=re.DOTALL)
    assert changes == 1
    (tmp_path / "npy.cpp").write_text(careless)
    program = tmp_path / "fuzz_npy"
    flags = ["-std=c++17", "-O1", "-fsanitize=fuzzer,address", f"-I{CPP}/src", f"-I{CPP}/include"]
    call(
        "clang++",
        *flags,
        tmp_path / "npy.cpp",
        CPP / "src" / "tensor.cpp",
        CPP / "fuzz" / "fuzz_npy.cpp",
        "-o",
        program,
    )
    with pytest.raises(AssertionError, match=r"deadly signal|ERROR"):
        call(program, "-runs=200000", "-seed=1", f"-artifact_prefix={tmp_path}/", seeds / "npy")
