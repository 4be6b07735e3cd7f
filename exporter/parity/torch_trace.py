"""What every submodule of the torch source computes in float64, in execution order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from temport.exporter.runtimes.torch_eager import FLOAT64

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Step:
    """One call of a submodule and the tensor it returned."""

    module: str
    kind: str
    value: Array


def trace(subject: Subject, inputs: Arrays) -> list[Step]:
    """Outputs of all submodules that were given a tensor, in the order in which they finished.

    Submodules that take only sizes (tables of positions, kernels) are left out: an export may lay their
    constants out in any way.
    """
    steps: list[Step] = []
    session = FLOAT64.open(subject)

    def hook(name: str) -> Any:
        def record(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, torch.Tensor) and any(isinstance(a, torch.Tensor) for a in args):
                steps.append(Step(name, type(module).__name__, output.detach().numpy().copy()))

        return record

    handles = [m.register_forward_hook(hook(name)) for name, m in session.module.named_modules() if name]
    try:
        session.run(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return steps


def find(step: Step, tensors: Arrays, tolerance: float) -> tuple[str | None, str | None]:
    """(name of the tensor that holds the step's values, name of the tensor that comes nearest).

    Tensors are compared by value in row-major order, so reshapes do not hide them. Models that return only
    the last position may keep only that: it counts as found, too. Nearest is the tensor with the largest
    share of equal elements (a fault often spoils one feature only), then with the least mean square error.
    """
    found = nearest = None
    best = (-1.0, 0.0)
    forms = [step.value] + ([step.value[:, -1:]] if step.value.ndim == 3 else [])
    for name, tensor in tensors.items():
        for form in forms:
            if tensor.size != form.size or tensor.size == 0:
                continue
            error = np.abs(tensor.ravel() - form.ravel())
            equal = error <= tolerance * float(np.abs(form).max())
            likeness = float(equal.mean()), -float(np.mean(error**2))
            if equal.all():
                found = name
            elif likeness > best:
                best, nearest = likeness, name
    return found, nearest
