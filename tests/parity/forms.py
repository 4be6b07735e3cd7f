"""Forms of a model that do as they are told, computed by ONNX's evaluator. Imported by the process that runs them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx.reference import ReferenceEvaluator

from temport.exporter.runtimes.environments import Environment
from temport.exporter.runtimes.evaluator_ops import EVALUATOR_OPS
from temport.exporter.runtimes.own_form import OF_FILE, Call, Signature


@dataclass(frozen=True)
class Evaluated:
    """how  "right", "wrong" (one weight is another one), "refuses" or "dies" """

    how: str = "right"
    name: str = "evaluated"
    capabilities = OF_FILE
    of_module: bool = False
    environment: Environment | None = None

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"onnx {onnx.__version__}"

    def convert(self, source: Path, folder: Path) -> None:
        if self.how == "refuses":
            raise NotImplementedError("there is no Softmax")
        if self.how == "dies":
            os.abort()
        print("chatter that no terminal shows")
        shutil.copy(source, folder / f"model{source.suffix}")

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        model = onnx.load(folder / "model.onnx")
        if self.how == "wrong":
            weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
            halved = 0.5 * onnx.numpy_helper.to_array(weight)
            weight.CopyFrom(onnx.numpy_helper.from_array(halved, weight.name))
        evaluator = ReferenceEvaluator(model, new_ops=EVALUATOR_OPS)
        names = [tensor.name for tensor in signature.inputs]
        return lambda inputs: list(evaluator.run(None, dict(zip(names, inputs, strict=True))))


@dataclass(frozen=True)
class Program(Evaluated):
    """Made of a program of torch, which it runs."""

    name: str = "program"
    of_module: bool = True

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        program = torch.export.load(folder / "model.pt2").module()
        return lambda inputs: [program(*map(torch.from_numpy, inputs)).numpy()]
