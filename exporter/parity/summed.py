"""How large the numbers are that an output is summed of: what its rounding is relative to where they cancel.

The sum of a ramp from -1 to 1 is 0, and in any order but one of exact arithmetic a little more or less. Relative to the
result that is infinite; relative to what was summed it is rounding, which every runtime may have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from temport.exporter.parity.compare import CEILING, EPS
from temport.exporter.runtimes.contract import Arrays, Session
from temport.exporter.runtimes.torch_eager import TorchSession

NUMBERS = ("add", "sub", "rsub", "mul", "div", "addmm", "baddbmm", "where", "_to_copy")
"""Operators that take numbers and integers beside floating-point tensors, of which the size counts too."""
LINEAR = (
    *NUMBERS, "neg", "sum", "mean", "cumsum", "mm", "bmm", "matmul", "linear", "convolution",
    "view", "_unsafe_view", "reshape", "flatten", "transpose", "permute", "t", "expand", "slice", "select", "squeeze",
    "unsqueeze", "cat", "stack", "clone", "contiguous", "unbind", "split", "split_with_sizes", "gather", "index",
    "index_select", "constant_pad_nd", "flip",
)  # fmt: skip
"""Of the sizes of what they take they make the size of what they sum."""
AS_SUM = {"sub": "add", "rsub": "add", "neg": "clone"}
ZERO_ULPS = 16
"""Of what was summed, in float64: an oracle up to here is 0, and what it holds is its own rounding."""


def scales(
    session: Session, inputs: Arrays, oracle: Arrays, errors: dict[str, float], precision: str
) -> dict[str, float]:
    """What the errors of each output are relative to: max|y|, and what was summed where y is exactly 0.

    errors  of the source in `precision`: where they are small beside y, nothing cancels as a whole
    """
    own = {name: float(np.abs(output).max(initial=0.0)) for name, output in oracle.items()}
    doubtful = [
        name
        for name, output in oracle.items()
        if output.dtype.kind == "f" and not (own[name] > 0 and errors[name] <= CEILING[precision] * own[name])
    ]
    sizes = summed(session, inputs) if doubtful else {}
    zero = ZERO_ULPS * EPS["float64"]
    large = {name: size for name, size in sizes.items() if name in doubtful and np.isfinite(size)}
    return own | {name: size for name, size in large.items() if own[name] <= zero * size}


def summed(session: Session, inputs: Arrays) -> dict[str, float]:
    """The largest size that meets in each floating-point output: sums and products of absolute values, from the last
    operator on that is no sum. Empty where the source is no torch module.
    """
    if not isinstance(session, TorchSession):
        return {}
    with _Sizes() as sizes:
        results = session.results(inputs)
    return {
        name: float(sizes.of(tensor).max()) if tensor.numel() else 0.0
        for name, tensor in results.items()
        if tensor.is_floating_point()
    }


class _Sizes(TorchDispatchMode):
    """Follows the sizes of tensors through linear operators; any other one gives numbers of their own size."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, tensor: Tensor) -> Tensor:
        return self.known[id(tensor)][1] if id(tensor) in self.known else tensor.abs()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__.rstrip("_")
        sizes = self._followed(name, args, kwargs) if name in LINEAR else None
        result = func(*args, **kwargs)
        several = isinstance(result, (list, tuple))
        results = [tensor for tensor in (result if several else [result]) if isinstance(tensor, Tensor)]
        if func._schema.is_mutable:
            for tensor in results:
                self._forget(tensor)
        if sizes is not None:
            for tensor, size in zip(results, sizes if several else [sizes], strict=True):
                self.known[id(tensor)] = tensor, size  # the tensor is kept, so that no other one has its id
        return result

    def _forget(self, written: Tensor) -> None:
        """All that lies in this memory, whatever part of it was written."""
        memory = written.untyped_storage().data_ptr()
        for key in [k for k, (t, _) in self.known.items() if t.untyped_storage().data_ptr() == memory]:
            del self.known[key]

    def _followed(self, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        def size(value: Any) -> Any:
            if isinstance(value, Tensor):
                counts = value.dtype != torch.bool and name in NUMBERS
                return self.of(value) if counts or value.is_floating_point() else value
            if isinstance(value, (list, tuple)):
                return [size(entry) for entry in value]
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            return abs(value) if number and name in NUMBERS else value

        try:
            own = getattr(torch.ops.aten, AS_SUM.get(name, name))
            return own(*map(size, args), **{key: size(value) for key, value in kwargs.items()})
        except (RuntimeError, TypeError):  # an overload that takes sizes in another way: its result counts
            return None
