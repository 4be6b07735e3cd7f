"""What every test process does once for all its tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache

import pytest


@pytest.fixture(scope="session", autouse=True)
def translations_are_read_once() -> Iterator[None]:
    """torch.onnx parses the source of its 500 translations for every export: a third of the time of a small one."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    read = cache(ONNXRegistry.from_torchlib)

    def from_torchlib(opset_version: int) -> ONNXRegistry:
        """A registry of one's own, since an export adds its translations to it."""
        registry = copy.copy(read(opset_version))
        registry.functions = {target: list(known) for target, known in registry.functions.items()}
        return registry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(from_torchlib))
        yield
