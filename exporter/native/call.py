"""A node as its form sees it, and what forms are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.native.tensors import NoForm, Tensor

if TYPE_CHECKING:
    from temport.exporter.native.plan import Plan

STORED = {np.dtype(np.int8): "int8_t", np.dtype(np.float16): "uint16_t", np.dtype(np.uint32): "Nibbles"}
"""Element types of weights besides float32, which kernels read, in C++; words hold int4."""


def element(weight: npt.NDArray[Any]) -> str:
    """The element type, in C++, of a weight that goes into the blob."""
    return STORED.get(weight.dtype, "float")


class Call:
    """A node as its form sees it."""

    def __init__(self, plan: Plan, node: ir.Node) -> None:
        self.plan, self.node = plan, node

    def has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def input(self, index: int) -> Tensor:
        value = self.node.inputs[index]
        assert value is not None, f"{self.node.op_type} has no input {index}"
        return self.plan.tensor(value)

    def pointer(self, index: int) -> str:
        """Of an input that may be missing."""
        return self.input(index).code if self.has(index) else "nullptr"

    def constant(self, index: int) -> npt.NDArray[Any]:
        """The value of an input that has to be a constant."""
        value = self.node.inputs[index]
        if value is None or value.const_value is None:
            raise NoForm(f"its input {index} is no constant")
        return value.const_value.numpy()

    def is_constant(self, index: int) -> bool:
        value = self.node.inputs[index] if self.has(index) else None
        return value is not None and value.const_value is not None

    def output(self, index: int = 0) -> Tensor:
        return self.plan.output(self.node.outputs[index])

    def wants(self, index: int) -> bool:
        """Whether anything reads an output."""
        if index >= len(self.node.outputs):
            return False
        value = self.node.outputs[index]
        return bool(value.uses()) or value.is_graph_output()

    def attribute(self, name: str, default: Any = None) -> Any:
        found = self.node.attributes.get(name)
        return default if found is None else found.value

    def attributes(self) -> dict[str, Any]:
        return {name: found.value for name, found in self.node.attributes.items()}

    def weight(self, array: npt.NDArray[Any]) -> str:
        """A pointer to numbers that go into the blob: to floats, or to what kernels read as it is stored."""
        stored = array if array.dtype in STORED else array.astype(np.float32, copy=False)
        self.plan.weights["int4" if stored.dtype == np.uint32 else stored.dtype.name] += stored.nbytes
        return f"weight<{element(stored)}>({self.plan.blob.add(stored)})"

    def line(self, *text: str) -> None:
        self.plan.lines += text


Form = Callable[[Call], None]
"""Writes the code of a node; `NoForm` where it cannot."""
