"""emx-onnx-cgen: the ONNX file as C source with its weights beside it, which the machine's C compiler makes code of."""

from __future__ import annotations

import ctypes
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.environments import EMX
from temport.exporter.runtimes.own_form import OF_FILE, Call, Signature
from temport.exporter.runtimes.tool import run_module, run_tool

CODE, WEIGHTS, FUNCTION = "model.c", "model.bin", "model"
FLAGS = ("-std=c99", "-O3", "-march=native", "-shared", "-fPIC")
STACK = 1 << 29
"""Bytes: everything that the code computes lies on its stack, so that it never allocates."""


class Emx:
    """The source is compiled when it is loaded: it is for any machine, and what the compiler makes is for this one."""

    name = "emx"
    capabilities = replace(OF_FILE, opsets=(7, 26))
    environment = EMX
    of_module = False

    def missing(self) -> str | None:
        return None if shutil.which("cc") else "it is compiled with cc, which is not installed"

    def version(self) -> str:
        return f"emx-onnx-cgen {EMX.version()}"

    def convert(self, source: Path, folder: Path) -> None:
        options = [
            "--large-temp-threshold",
            "0",
            "--large-weight-threshold",
            "65536",
            "--model-name",
            FUNCTION,
        ]
        command = ["compile", "--color", "never", *options, str(source), str(folder / CODE)]
        run_module("emx-onnx-cgen", "emx_onnx_cgen", command, folder)

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        with tempfile.TemporaryDirectory() as scratch:
            library = Path(scratch) / "model.so"
            run_tool("cc", ["cc", *FLAGS, str(folder / CODE), "-lm", "-o", str(library)], Path(scratch))
            code = ctypes.CDLL(str(library))
        if (folder / WEIGHTS).exists():
            load = code[f"{FUNCTION}_load"]
            load.restype = ctypes.c_bool
            if not load(str(folder / WEIGHTS).encode()):
                raise RuntimeError(f"{WEIGHTS} cannot be read")
        threading.stack_size(STACK)
        thread = ThreadPoolExecutor(1)

        def call(inputs: list[Any]) -> list[Any]:
            made = [np.zeros(shape, dtype) for _, dtype, shape in signature.outputs]
            pointers = [ctypes.c_void_p(array.ctypes.data) for array in (*inputs, *made)]
            thread.submit(code[FUNCTION], *pointers).result()
            return made

        return call


RUNTIME = Converted(Emx())
