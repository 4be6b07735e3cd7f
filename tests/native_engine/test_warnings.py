"""Whoever compiles the source of an engine sees no warning, and cannot by a flag make it one that lets NaN through."""

from __future__ import annotations

from pathlib import Path

import pytest

from temport.exporter.build import save
from temport.exporter.declare.architectures import declare
from temport.exporter.errors import UserError
from temport.exporter.native.amalgam import ROOT
from temport.exporter.native.engine import NativeOptions, build_native
from temport.exporter.native.isa import ISAS, is_this_machine
from temport.exporter.native.toolchain import FLAGS, Toolchain
from tests.native_engine.strict import strictly
from tests.traces import build


@pytest.mark.parametrize("isa", ["avx2", pytest.param("avx512", marks=pytest.mark.thorough), "neon"])
def test_a_window_by_gcc(isa: str, tmp_path: Path) -> None:
    """Whose loops GCC counts where it optimises; streams, and engines by Clang, other tests compile as strictly."""
    if not is_this_machine(ISAS[isa].machine):
        pytest.skip("GCC of this machine has no such instruction set")
    declaration, module, _ = declare("dms", ["hid_dim=64", "n_heads=2"], batch="1", seq="60")
    save(build(module, declaration), tmp_path / "model.onnx", external_data=False)
    build_native(
        tmp_path, "model", declaration, NativeOptions(cc=strictly(tmp_path, "g++", "-O2"), engine_isa=isa)
    )


def test_a_warning_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.cc").write_text("short f(int x);\nshort f(int x) { return x; }\n")
    with pytest.raises(UserError, match="Werror=conversion"):
        Toolchain(strictly(tmp_path, "g++")).compile(tmp_path, "a.cc", [])


def test_fast_math_is_refused_and_overruled(tmp_path: Path) -> None:
    """By whoever compiles the source by hand, and where a project has it for all its sources."""
    (tmp_path / "a.cc").write_text('#define TEMPORT_ISA any\n#include "native/simd.h"\n')
    compiler, where = Toolchain("g++"), f"-I{ROOT}"
    for flag in ("-ffast-math", "-ffinite-math-only"):
        with pytest.raises(UserError, match="without -ffast-math"):
            compiler.compile(tmp_path, "a.cc", [where, flag])
        assert compiler.compile(tmp_path, "a.cc", [where, flag, *FLAGS])
