"""The CMake project of an engine with flags of somebody's, which do not reach the numbers; pkg-config finds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.native_engine.strict import STRICT
from tests.native_engine.targets import DRIVER, StepModel, call, drive


def test_the_same_bits_once_installed(
    model: Callable[[str], StepModel], scalar: Callable[[str], bytes], tmp_path: Path
) -> None:
    """Where `cmake --install --prefix` says, which is not where it was configured for."""
    engine, _ = model("mega").engine("installed", engine_isa="portable", source_only=True)
    build, prefix = tmp_path / "build", tmp_path / "in stalled"
    flags = " ".join((*STRICT, "-mfma", "-Ofast", "-ffast-math"))
    call("cmake", "-S", str(engine), "-B", str(build), f"-DCMAKE_CXX_FLAGS={flags}")
    call("cmake", "--build", str(build))
    call("cmake", "--install", str(build), "--prefix", str(prefix))
    (pc,) = prefix.rglob("model.pc")
    variables = {"pcfiledir": str(pc.parent)}
    for line in pc.read_text().splitlines():
        for name, value in variables.items():
            line = line.replace(f"${{{name}}}", value)
        if "=" in line:
            name, value = line.split("=")
            variables[name] = value
    found = f"-I{variables['includedir']}", f"-L{variables['libdir']}"
    call("gcc", str(DRIVER), *found, "-lmodel", "-o", "driver", cwd=tmp_path)
    assert drive([tmp_path / "driver"], tmp_path, model("mega").frames()) == scalar("mega")
