"""MNN, by its converter and its module API; in full precision, which is not its default everywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.environments import MNN
from temport.exporter.runtimes.own_form import OF_FILE, Call, Signature, in_int32
from temport.exporter.runtimes.tool import run_module

FORM = "model.mnn"


class Mnn:
    """Its integers are int32, whatever the file says: a stream in it is right for 2^31 frames. It takes scales along an
    axis for those of another one, so it gets weights in float32. Its `Round` takes 0.5 to 1, where ONNX has 0.
    """

    name = "mnn"
    capabilities = replace(
        OF_FILE,
        intermediates=False,  # a tensor inside that is read is in a layout of its own
        rounds=frozenset({"fp16"}),
    )
    environment = MNN
    of_module = False

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"MNN {MNN.version()}"

    def convert(self, source: Path, folder: Path) -> None:
        import onnx

        from temport.exporter.runtimes.plain_onnx import widened

        taken = source.with_name("widened.onnx")
        onnx.save(widened(onnx.load(source)), taken)
        options = [
            "-f",
            "ONNX",
            "--modelFile",
            str(taken),
            "--MNNModel",
            str(folder / FORM),
            "--bizCode",
            "temport",
        ]
        run_module("MNN", "MNN.tools.mnnconvert", options, source.parent)

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        from MNN import nn

        settings = {"backend": "CPU", "precision": "high", "memory": "normal", "numThread": threads}
        manager = nn.create_runtime_manager((settings,))
        names = [[tensor.name for tensor in tensors] for tensors in (signature.inputs, signature.outputs)]
        net: Any = nn.load_module_from_file(str(folder / FORM), *names, runtime_manager=manager)

        def call(inputs: list[Any]) -> list[Any]:
            given = [_constant(array) for array in inputs]
            results = zip(net.forward(given), signature.outputs, strict=True)
            return [np.array(value.read()).astype(kind).reshape(shape) for value, (_, kind, shape) in results]

        return call


def _constant(array: npt.NDArray[Any]) -> Any:
    """As MNN holds it: numbers are float32 or int32, booleans are int32 too."""
    from MNN import expr

    if array.dtype.kind == "f":
        return expr.const(array, list(array.shape), expr.NCHW, expr.float)
    return expr.const(in_int32(array).astype(np.int32), list(array.shape), expr.NCHW, expr.int)


RUNTIME = Converted(Mnn())
