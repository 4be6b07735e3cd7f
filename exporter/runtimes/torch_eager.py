"""The source of the model, run in one floating-point type: torch eagerly, or the graph of an ONNX file."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from temport.exporter.declare.declaration import HALF, Declaration
from temport.exporter.declare.values import INTEGERS
from temport.exporter.errors import UserError, users_code
from temport.exporter.runtimes.contract import EVERY_ROUNDING, Arrays, Call, Capabilities, Closing
from temport.exporter.runtimes.subject import Subject

if TYPE_CHECKING:
    import torch
    from torch import nn


class TorchSession(Closing):
    """`module` converted to `dtype`; floating-point inputs are converted too, others are left alone.

    In float64 what its code says of float32 is float64 as well (`widened`).
    rounded  a type that the module's parameters, buffers and other tensors are rounded to before
    """

    path = "torch eager"

    def __init__(
        self, module: nn.Module, declaration: Declaration, dtype: str, rounded: str, threads: int
    ) -> None:
        import torch

        from temport.exporter.declare.call import Called
        from temport.exporter.declare.copied import copied

        self.dtype = getattr(torch, dtype)
        self.module = copied(module, getattr(torch, rounded), self.dtype).eval()
        for part in self.module.modules():
            if isinstance(part, Called) and self.dtype == torch.float32:
                part.given = {}  # a half-precision module that computes in float32 rounds nothing at its end either
        self.declaration, self.threads = declaration, threads
        self.version = f"torch {torch.__version__}"

    def run(self, inputs: Arrays) -> Arrays:
        import torch

        with torch.inference_mode():
            return {name: _array(tensor) for name, tensor in self.results(inputs).items()}

    def results(self, inputs: Arrays) -> dict[str, torch.Tensor]:
        """The outputs as tensors of this session's type."""
        import torch

        from temport.exporter.declare.slow_path import slow_path
        from temport.exporter.runtimes.widened import widened

        tensors = [self._tensor(inputs[spec.name]) for spec in self.declaration.inputs]
        with (
            torch.no_grad(),
            slow_path(),
            widened() if self.dtype == torch.float64 else nullcontext(),
            _threads(self.threads),
            _users_own(self.declaration, self.dtype),
        ):
            result = self.module(*tensors)
        results = result if isinstance(result, tuple) else (result,)
        names = [spec.name for spec in self.declaration.outputs]
        return dict(zip(names, results, strict=True))

    def prepared(self, inputs: Arrays) -> Call:
        """The number of threads stays set, as the call is all that runs."""
        import torch

        tensors = [self._tensor(inputs[spec.name]) for spec in self.declaration.inputs]
        torch.set_num_threads(self.threads)

        def call() -> object:
            with torch.inference_mode():
                return self.module(*tensors)

        return call

    def _tensor(self, array: np.ndarray[Any, Any]) -> torch.Tensor:
        import torch

        array = np.asarray(array)  # numpy makes a number of an array without axes
        if array.dtype.kind in "biu":
            return torch.from_numpy(array)
        # through float64, which holds every half and single value exactly and which torch always takes
        return torch.from_numpy(array.astype(np.float64)).to(self.dtype)


class Source:
    """`Subject.module` in one type, for the oracle and for what rounding costs.

    rounded  a type that its weights are rounded to before
    """

    capabilities = Capabilities(
        custom_domain=True,
        functions=False,
        opsets=(1, 10**6),
        dtypes=frozenset({"bool", "float16", "bfloat16", "float32", "float64", *INTEGERS}),
        dynamic_axes=True,
        intermediates=False,
        fp8=True,
        rounds=EVERY_ROUNDING,
        source=True,
    )

    def __init__(self, dtype: str, rounded: str | None = None) -> None:
        self.name, self.dtype, self.rounded = f"torch_{dtype}", dtype, rounded or dtype

    def unavailable(self) -> str | None:
        return None if importlib.util.find_spec("torch") else "torch is not installed"

    def open(self, subject: Subject, threads: int = 1) -> TorchSession:
        if subject.module is None:
            raise UserError("the source of this model is not at hand; --module names it")
        return TorchSession(subject.module, subject.declaration, self.dtype, self.rounded, threads)


class TorchEager(Source):
    """torch as a runtime among others."""

    def open(self, subject: Subject, threads: int = 1) -> TorchSession:
        if subject.declaration.of_onnx:
            raise UserError("the source is an ONNX file")
        if subject.declaration.sequences is not None:
            raise UserError("the source takes whole sequences")
        return super().open(subject, threads)


FLOAT32 = TorchEager("float32")
FLOAT64 = Source("float64")


@contextmanager
def _users_own(declaration: Declaration, dtype: torch.dtype) -> Iterator[None]:
    """What a user's own module raises is one sentence with the way out; what ours raises is our fault."""
    if declaration.module is None:
        yield
        return
    name = str(dtype).removeprefix("torch.")
    what = f"{name}, in which the truth is found" if name == "float64" else name
    with users_code(f"{declaration.module} itself does not run in {what}", lambda e: _way_out(e, name)):
        yield


def _way_out(error: BaseException, dtype: str) -> str:
    """Of a number that a half type does not hold, and of tensors whose type does not follow the module's."""
    if dtype in HALF and "overflow" in str(error):
        return "; fill masked scores with -torch.inf or torch.finfo(scores.dtype).min, which every type holds"
    kept = "; keep tensors as buffers, which follow the module's type, and make new ones in that of the input"
    return {"float64": kept, "float32": ""}.get(dtype, "; use --precision fp32")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch's thread count is global to the process: set it for one run and put it back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    """numpy has no bfloat16: its values are handed over as float32, which holds them exactly."""
    import torch

    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy()
