"""Sizes inside a graph that inference of shapes has lost, as expressions of the open axes.

A size that a `Reshape` or a `Range` makes of computed numbers has no name, or one that says nothing. What it is, is
found by evaluating the node at many sizes of the axes; the expression must give all of them. Inference carries it on
from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.declare.declaration import Axis
from temport.exporter.declare.sizes import normal, size
from temport.exporter.graph.evaluate_part import Part, Sizes, UnknownPart, dims_at, of_positions, sample_sizes
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.native.sizes import size_of

_LARGEST_DIVISOR = 16


def complete_shapes(model: ir.Model, axes: Mapping[str, Axis]) -> None:
    """Gives values of the main graph the sizes that they lack, as far as they are found."""
    open_axes = {name: axis for name, axis in axes.items() if not axis.static}
    ranges = {name: (axis.min, axis.max) for name, axis in axes.items()}
    if not any(_lacks(value, ranges) for node in model.graph for value in node.outputs):
        return
    common.ShapeInferencePass()(model)  # for the types too
    samples = sample_sizes(open_axes)
    for node in list(model.graph):
        lost = [value for value in node.outputs if _lacks(value, ranges)]
        if lost and is_standard(node) and _complete(lost, samples, list(open_axes)):
            common.ShapeInferencePass()(model)


def _lacks(value: ir.Value, ranges: Mapping[str, tuple[int, int]]) -> bool:
    """Whether a size of the value is not known; an output that is left out has none to know."""
    known = value.shape is not None and all(size_of(dim, ranges) is not None for dim in value.shape)
    return bool(value.name) and not known


def _complete(lost: Sequence[ir.Value], samples: Sequence[Sizes], axes: Sequence[str]) -> bool:
    """Whether the shape of one of these outputs of a node was found."""
    found = False
    for value in lost:
        try:
            shapes = [_shape_at(value, sizes) for sizes in samples]
        except (UnknownPart, KeyError):
            continue
        dims: list[int | str | None] = []
        for numbers in zip(*shapes, strict=True):
            dims.append(_expression(list(zip(samples, numbers, strict=True)), axes))
        if None not in dims:
            value.shape = ir.Shape(dims)
            found = True
    return found


def _shape_at(value: ir.Value, sizes: Sizes) -> tuple[int, ...]:
    """Of what the node gives, whatever data it is given: for zeros and for ones the same, or `UnknownPart`."""
    node = value.producer()
    assert node is not None
    data = [v for v in node.inputs if v is not None and v.const_value is None and not of_positions(v)]
    shapes = {
        Part(value, data).at(sizes, [make(dims_at(v, sizes), _dtype(v)) for v in data]).shape
        for make in (np.zeros, np.ones)
    }
    if len(shapes) > 1:
        raise UnknownPart("its shape depends on data")
    return shapes.pop()


def _dtype(value: ir.Value) -> np.dtype[Any]:
    return value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)


def _expression(samples: Sequence[tuple[Sizes, int]], axes: Sequence[str]) -> int | str | None:
    """A number, or an expression, that is right for all samples."""
    if len({number for _, number in samples}) == 1:
        return samples[0][1]
    for text in _candidates(samples, axes):
        if all(size(text, sizes) == number for sizes, number in samples):
            return normal(text)
    return None


def _candidates(samples: Sequence[tuple[Sizes, int]], axes: Sequence[str]) -> Iterator[str]:
    first, number = samples[0]
    for count in range(1, len(axes) + 1):
        for names in combinations(axes, count):
            factor = number // max(prod(first[name] for name in names), 1)
            yield _scaled(factor, " * ".join(names))
    for name in axes:
        for sizes, other in samples[1:]:
            if sizes[name] != first[name]:
                slope = (other - number) // (sizes[name] - first[name])
                yield _scaled(slope, name) + _more(number - slope * first[name])
                break
        for divisor in range(2, _LARGEST_DIVISOR + 1):
            for more in range(-divisor, divisor + 1):
                yield f"({name}{_more(more)}) // {divisor}"


def _scaled(factor: int, text: str) -> str:
    return text if factor == 1 else f"{factor} * {text}"


def _more(number: int) -> str:
    return f" + {number}" if number > 0 else f" - {-number}" if number else ""
