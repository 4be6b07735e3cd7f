"""tract (Rust) by its Python bindings, on the model with its functions inlined; on one thread, as it always is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.environments import TRACT
from temport.exporter.runtimes.own_form import OF_FILE, Call, Signature


class Tract:
    """Its form is the ONNX file that it loads, with weights in float32 and rounding spelled out: it refuses most
    integers with scales, and dies over others.
    """

    name = "tract"
    capabilities = replace(OF_FILE, opsets=(9, 22))
    environment = TRACT
    of_module = False

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"tract {TRACT.version()}"

    def convert(self, source: Path, folder: Path) -> None:
        import onnx
        import tract

        from temport.exporter.runtimes.plain_onnx import widened

        form = folder / "model.onnx"
        onnx.save(widened(onnx.load(source)), form)
        tract.onnx().load(str(form)).into_model()

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        import tract

        runnable = tract.onnx().load(str(folder / "model.onnx")).into_model().into_runnable()
        return lambda inputs: [np.array(tensor.to_numpy()) for tensor in runnable.run(inputs)]


RUNTIME = Converted(Tract())
