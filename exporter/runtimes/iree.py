"""IREE: the ONNX file through its importer and compiler (llvm-cpu, this machine's instructions) into a `.vmfb`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.environments import IREE
from temport.exporter.runtimes.own_form import OF_FILE, Call, Signature
from temport.exporter.runtimes.tool import run_module, run_tool

FORM = "model.vmfb"
TARGET = (
    "--iree-hal-target-device=local",
    "--iree-hal-local-target-device-backends=llvm-cpu",
    "--iree-llvmcpu-target-cpu=host",
)


class Iree:
    """Runs on the calling thread (`local-sync`)."""

    name = "iree"
    capabilities = OF_FILE
    environment = IREE
    of_module = False

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"iree {IREE.version()}"

    def convert(self, source: Path, folder: Path) -> None:
        from iree.compiler.tools import binaries

        imported = source.with_suffix(".mlir")
        run_module(
            "iree", "iree.compiler.tools.import_onnx", [str(source), "-o", str(imported)], source.parent
        )
        compiler = binaries.find_tool("iree-compile")
        run_tool("iree", [compiler, str(imported), *TARGET, "-o", str(folder / FORM)], source.parent)

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        from iree import runtime

        context = runtime.SystemContext(config=runtime.Config("local-sync"))
        module = runtime.VmModule.copy_buffer(context.instance, (folder / FORM).read_bytes())
        context.add_vm_module(module)
        entry = next(n for n in module.function_names if not n.startswith("__") and not n.endswith("$async"))
        function: Any = context.modules[module.name][entry]

        def call(inputs: list[Any]) -> list[Any]:
            results = function(*inputs)
            return [each.to_host() for each in (results if len(signature.outputs) > 1 else (results,))]

        return call


RUNTIME = Converted(Iree())
