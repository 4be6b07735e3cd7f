"""torch's own translations to ONNX, read once in a process.

torch.onnx parses the source of its 500 translations for every export, a third of the time of a small one. There is no
public way to hand them over, so the reading function is replaced while an export runs; where another version of torch
has no such function, they are read every time.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

READER = "from_torchlib"
"""The class method of torch's ONNXRegistry that reads them."""
_known: dict[int, Any] = {}


@contextlib.contextmanager
def translations_read_once() -> Iterator[None]:
    """While it lasts, torch.onnx takes a copy of what it read before."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = vars(ONNXRegistry)[READER]
    except (ImportError, KeyError):
        yield
        return

    def from_torchlib(opset_version: int) -> Any:
        if opset_version not in _known:
            _known[opset_version] = read.__get__(None, ONNXRegistry)(opset_version)
        # a registry of its own: an export adds its translations to it
        registry = copy.copy(_known[opset_version])
        registry.functions = {target: list(known) for target, known in registry.functions.items()}
        return registry

    setattr(ONNXRegistry, READER, staticmethod(from_torchlib))
    try:
        yield
    finally:
        setattr(ONNXRegistry, READER, read)
