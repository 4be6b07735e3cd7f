"""torch's own translations to ONNX, read once in a process.

torch.onnx parses the source of its 500 translations for every export, a third of the time of a small one. There is no
public way to hand them over, so the reading function is replaced while an export runs.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from temport.exporter.trace.replaced import replaced

MODULE, READER = "torch.onnx._internal.exporter._registration", "ONNXRegistry.from_torchlib"
"""The class method of torch's ONNXRegistry that reads them."""
_known: dict[int, Any] = {}


def translations_read_once() -> contextlib.AbstractContextManager[None]:
    """While it lasts, torch.onnx takes a copy of what it read before."""
    return replaced(MODULE, READER, _kept)


def _kept(read: Any) -> Any:
    def from_torchlib(registry_class: type, opset_version: int) -> Any:
        if opset_version not in _known:
            _known[opset_version] = read.__get__(None, registry_class)(opset_version)
        # a registry of its own: an export adds its translations to it
        registry = copy.copy(_known[opset_version])
        registry.functions = {target: list(known) for target, known in registry.functions.items()}
        return registry

    return classmethod(from_torchlib)
