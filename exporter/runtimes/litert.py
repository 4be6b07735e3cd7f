"""LiteRT, TensorFlow Lite before: a `.tflite` by its converter for torch, computed by XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.environments import LITERT
from temport.exporter.runtimes.own_form import Call, Signature, in_int32
from temport.exporter.runtimes.torch_form import OF_MODULE

FORM = "model.tflite"


class LiteRt:
    """Its converter numbers inputs and outputs in the order of the signature: `args_0`, `output_0`. Integers are int32
    in it, whatever the module says: a stream is right for 2^31 frames.
    """

    name = "litert"
    capabilities = OF_MODULE
    environment = LITERT
    of_module = True

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"LiteRT {LITERT.version()}"

    def convert(self, source: Path, folder: Path) -> None:
        import litert_torch
        import torch

        program = torch.export.load(source)
        inputs, _ = program.example_inputs
        litert_torch.convert(program.module(), inputs).export(str(folder / FORM))

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / FORM), num_threads=threads)
        runner: Any = interpreter.get_signature_runner()

        def call(inputs: list[Any]) -> list[Any]:
            results = runner(**{f"args_{i}": in_int32(array) for i, array in enumerate(inputs)})
            return [
                np.array(results[f"output_{i}"], tensor.dtype) for i, tensor in enumerate(signature.outputs)
            ]

        return call


RUNTIME = Converted(LiteRt())
