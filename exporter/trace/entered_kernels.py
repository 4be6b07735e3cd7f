"""Kernels of torch's operators in Python, entered without their annotations.

To keep composite operators whole while it decomposes a trace, torch.export enters 11,000 kernels and takes them out
again. The function that enters one makes the types of its own annotations at every call: a sixth of the time of a
small trace.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from temport.exporter.trace.replaced import replaced

MODULE, ENTER = "torch._ops", "OperatorBase.py_impl"
"""A decorator: the kernel of one operator for one dispatch key."""
Kernel = Callable[..., Any]


def kernels_entered_without_annotations() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a kernel for a key that has none is written to the operator's table as it is."""
    return replaced(MODULE, ENTER, _entering)


def _entering(py_impl: Callable[..., Any]) -> Callable[..., Any]:
    from torch._C import DispatchKey

    def entering(self: Any, key: Any) -> Callable[[Kernel], Kernel]:
        if type(key) is not DispatchKey or key == DispatchKey.Python or key in self.py_kernels:
            return py_impl(self, key)  # another table, or a refusal

        def enter(kernel: Kernel) -> Kernel:
            self.py_kernels[key] = kernel
            self._dispatch_cache.clear()
            return kernel

        return enter

    return entering
