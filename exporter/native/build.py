"""The directory of an engine: source, kernels, weights, and the library that a compiler made of them."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import onnx_ir as ir

import temport.custom_ops
from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph import body_domains
from temport.exporter.native.forms import FORMS
from temport.exporter.native.graph import prepared
from temport.exporter.native.isa import Isa
from temport.exporter.native.plan import Plan
from temport.exporter.native.source import source
from temport.exporter.version import version

FLAGS = (
    "-std=gnu++17",
    "-O3",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-fPIC",
    "-fno-stack-protector",
    "-ffunction-sections",
)


def write_engine(
    model_path: Path, declaration: Declaration, directory: Path, isa: Isa, compiler: str = "c++"
) -> Path:
    """The engine of a model in `directory`: the path of its shared library."""
    model = ir.from_proto(body_domains.read_model(model_path))
    sha256 = hashlib.sha256(model_path.read_bytes()).hexdigest()
    plan = Plan(prepared(model), declaration, isa, FORMS)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.cc").write_text(source(plan, declaration, sha256, version()))
    (directory / "weights.bin").write_bytes(plan.blob.content())
    (directory / "weights.S").write_text(_WEIGHTS)
    _copy_kernels(directory / "kernels")
    library = directory / "libmodel.so"
    command = [
        compiler,
        *FLAGS,
        *isa.flags,
        "-shared",
        "-nostdlib",
        "-Wl,-z,noexecstack",
        "-I.",
        "model.cc",
        "weights.S",
        "-o",
        library.name,
        "-lc",
    ]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{compiler} failed: {done.stderr[-2000:]}")
    return library


_WEIGHTS = """    .section .rodata
    .globl temport_weights
    .hidden temport_weights
    .balign 64
temport_weights:
    .incbin "weights.bin"
    .byte 0
    .section .note.GNU-stack,"",%progbits
"""


def _copy_kernels(to: Path) -> None:
    """The headers that `engine/run.h` includes, directly or not, in the folders where they lie among the ops."""
    ops = Path(temport.custom_ops.__file__).parent
    todo, done = [Path("engine/run.h")], set()
    while todo:
        name = todo.pop()
        if name in done:
            continue
        done.add(name)
        text = (ops / name).read_text()
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_text(text)
        for included in re.findall(r'^#include "(.*)"', text, re.M):
            found = (ops / name.parent / included).resolve().relative_to(ops.resolve())
            todo.append(found)
