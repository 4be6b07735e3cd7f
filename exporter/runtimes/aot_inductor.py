"""AOTInductor: torch's compiler ahead of time, into a `.pt2` package of machine code."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.own_form import Call, Signature
from temport.exporter.runtimes.torch_form import OF_MODULE

if TYPE_CHECKING:
    from torch.export import ExportedProgram

FORM = "model.pt2"
INDUCTOR = {"freezing": True, "cpp.dynamic_threads": True}
"""Weights are constants of the code; threads are counted when it runs."""


class AotInductor:
    """For this machine's processor and its torch; weights are frozen into the code."""

    name = "aot_inductor"
    capabilities = OF_MODULE
    environment = None
    of_module = True

    def missing(self) -> str | None:
        return None if shutil.which("g++") else "it compiles with g++, which is not installed"

    def version(self) -> str:
        return f"torch {metadata.version('torch')}"

    def convert(self, source: Path, folder: Path) -> None:
        import torch

        compile_package(torch.export.load(source), folder / FORM)

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        import torch

        torch.set_num_threads(threads)
        package: Any = torch._inductor.aoti_load_package(str(folder / FORM))

        def call(inputs: list[Any]) -> list[Any]:
            results = package(*(torch.from_numpy(array) for array in inputs))
            return [
                np.array(each) for each in (results if isinstance(results, (tuple, list)) else (results,))
            ]

        return call


def compile_package(program: ExportedProgram, path: Path) -> Path:
    """The package `path` of machine code of a program; one serves every number of threads."""
    import torch

    with torch._inductor.config.patch(INDUCTOR), torch.no_grad():
        return Path(torch._inductor.aoti_compile_and_package(program, package_path=str(path)))


RUNTIME = Converted(AotInductor())
