"""Tensors and states of an engine, as the code of its nodes names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from temport.exporter.native.sizes import Size, product

TYPES = {
    ir.DataType.FLOAT: ("float", 4),
    ir.DataType.FLOAT16: ("Half", 2),
    ir.DataType.INT64: ("int64_t", 8),
    ir.DataType.INT32: ("int32_t", 4),
    ir.DataType.INT16: ("int16_t", 2),
    ir.DataType.INT8: ("int8_t", 1),
    ir.DataType.UINT8: ("uint8_t", 1),
    ir.DataType.BOOL: ("bool", 1),
}
"""Element types of tensors: in C++, and their bytes."""
BYTES = dict(TYPES.values())


class NoForm(Exception):
    """A node has no native form, and why."""


@dataclass(frozen=True)
class Tensor:
    """A tensor as the code of a node sees it.

    place  C++ expression of a pointer to its first element; of a constant what gives one, since a constant that is only
           read here, or packed, has no place in the blob
    value  what it holds, where that is known
    """

    place: str | Callable[[], str]
    type: str
    shape: tuple[Size, ...]
    value: npt.NDArray[Any] | None = None

    @property
    def code(self) -> str:
        return self.place if isinstance(self.place, str) else self.place()

    @property
    def elements(self) -> Size:
        return product(self.shape)

    @property
    def bytes(self) -> int:
        """At most."""
        return self.elements.most * BYTES[self.type]


@dataclass(frozen=True)
class State:
    """What a step model carries from frame to frame, in the memory of an instance.

    name         of the model's input
    place        C++ expression of where that of the batch's `entry` lies in `memory`
    load, store  C++ statement that brings it to `place` from the `row` of that entry in the model's tensor, and back
    """

    name: str
    place: str
    load: str
    store: str
