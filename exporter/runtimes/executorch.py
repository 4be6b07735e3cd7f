"""ExecuTorch: a `.pte` in which XNNPACK computes what it takes and the portable kernels the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from temport.exporter.runtimes.converted import Converted
from temport.exporter.runtimes.environments import EXECUTORCH
from temport.exporter.runtimes.own_form import Call, Signature
from temport.exporter.runtimes.torch_form import OF_MODULE

FORM = "model.pte"


class ExecuTorch:
    name = "executorch"
    capabilities = OF_MODULE
    environment = EXECUTORCH
    of_module = True

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return f"executorch {EXECUTORCH.version()}"

    def convert(self, source: Path, folder: Path) -> None:
        import torch
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        program = torch.export.load(source)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
        (folder / FORM).write_bytes(lowered.buffer)

    def load(self, folder: Path, signature: Signature, threads: int) -> Call:
        import torch
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(folder / FORM)
        method: Any = program.load_method("forward")

        def call(inputs: list[Any]) -> list[Any]:
            results = method.execute([torch.from_numpy(array) for array in inputs])
            return [np.array(each) for each in results]

        return call


RUNTIME = Converted(ExecuTorch())
