"""torch's own translations to ONNX, read once in a process.

torch.onnx parses the source of its 500 translations for every export, a third of the time of a small one. There is no
public way to hand them over, so the reading function is replaced while an export runs. What it parses them for is their
domain, which they know.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from temport.exporter.trace.replaced import replaced

MODULE, READER = "torch.onnx._internal.exporter._registration", "ONNXRegistry.from_torchlib"
"""The class method of torch's ONNXRegistry that reads them."""
VALUES, SIGNATURE = "onnxscript._internal.values", "TracedOnnxFunction.function_ir"
"""The property of a translation whose source is parsed for its signature; the reader wants its domain alone."""
_known: dict[int, Any] = {}


def translations_read_once() -> contextlib.AbstractContextManager[None]:
    """While it lasts, torch.onnx takes a copy of what it read before."""
    return replaced(MODULE, READER, _kept)


def domains_told() -> contextlib.AbstractContextManager[None]:
    """While it lasts, a translation tells its domain without its source being parsed."""
    return replaced(VALUES, SIGNATURE, lambda parsed: property(lambda it: _Unparsed(it, parsed.fget)))


class _Unparsed:
    """A signature that is parsed when anything but its domain is asked of it."""

    def __init__(self, translation: Any, parse: Callable[[Any], Any]) -> None:
        self.domain, self._parsed = translation.opset.domain, partial(parse, translation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parsed(), name)


def _kept(read: Any) -> Any:
    def from_torchlib(registry_class: type, opset_version: int) -> Any:
        if opset_version not in _known:
            _known[opset_version] = read.__get__(None, registry_class)(opset_version)
        # a registry of its own: an export adds its translations to it
        registry = copy.copy(_known[opset_version])
        registry.functions = {target: list(known) for target, known in registry.functions.items()}
        return registry

    return classmethod(from_torchlib)
