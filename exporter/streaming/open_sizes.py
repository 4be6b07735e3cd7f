"""Sizes that shape inference leaves open, as expressions of the axes: found by inferring shapes at several sizes.

ONNX's inference does not calculate with names: behind a Slice or a Conv a size is only known to be unknown. With
numbers in the inputs it knows all of them, and what they are made of shows when the numbers change.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import onnx_ir as ir
from onnxscript import optimizer

from temport.exporter.declare.declaration import Declaration
from temport.exporter.declare.sizes import names, normal, size
from temport.exporter.streaming.shapes import TIME

BATCHES = (7, 11)
OTHERS = (521, 523, 541, 547, 557)
LARGEST_DIVISOR = 8
LARGEST = 2**22
"""Elements of what is computed of sizes and looked at."""


def name_open_sizes(model: ir.Model, declaration: Declaration) -> None:
    """Give every value of the main graph its sizes as expressions of the declaration's axes, in place, where they have
    one of a few forms."""
    axes = declaration.axes
    if all(_is_known(value, axes) for node in model.graph for value in node.outputs):
        return
    batch = next((n for n in axes if n != TIME and n in _first_axes(declaration)), "")
    others = {
        name: OTHERS[i % len(OTHERS)] for i, name in enumerate(n for n in axes if n not in (TIME, batch))
    }
    longest = axes[TIME].max
    lengths = [n for n in (longest, longest - 1, longest // 2) if n >= axes[TIME].min]
    samples = [(frames, rows) for frames in lengths for rows in BATCHES]
    found = [_shapes(model, declaration, {TIME: frames, batch: rows} | others) for frames, rows in samples]
    for node in model.graph:
        for value in node.outputs:
            shapes = [shapes.get(value.name or "") for shapes in found]
            first = shapes[0]
            if _is_known(value, axes) or any(
                s is None or first is None or len(s) != len(first) for s in shapes
            ):
                continue
            assert first is not None
            dims: list[int | ir.SymbolicDim] = []
            for place in range(len(first)):
                seen = [s[place] for s in shapes if s is not None]
                dims.append(_named(seen, samples, batch, others))
            value.shape = ir.Shape(dims)


def _first_axes(declaration: Declaration) -> list[str]:
    return [str(spec.onnx_shape()[0]) for spec in declaration.inputs if spec.shape]


def _is_known(value: ir.Value, axes: Mapping[str, object]) -> bool:
    if value.shape is None:
        return False
    for dim in value.shape:
        if isinstance(dim, int):
            continue
        try:
            if dim.value is None or not names(normal(str(dim.value))) <= axes.keys():
                return False
        except ValueError:
            return False
    return True


def _shapes(model: ir.Model, declaration: Declaration, sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """Shapes by value where the axes have these sizes; none of a value that is not known then."""
    sized = model.clone()
    for node in sized.graph:
        for value in node.outputs:
            value.shape = None
    for value, spec in zip(sized.graph.inputs, declaration.inputs, strict=True):
        value.shape = ir.Shape([sizes[d] if isinstance(d, str) else d for d in spec.onnx_shape()])
    told = logging.getLogger("onnxscript").level
    logging.getLogger("onnxscript").setLevel(logging.ERROR)  # what is not folded is no matter here
    try:
        optimizer.fold_constants(sized, onnx_shape_inference=True, output_size_limit=LARGEST)
    finally:
        logging.getLogger("onnxscript").setLevel(told)
    values = [*sized.graph.initializers.values(), *(v for node in sized.graph for v in node.outputs)]
    return {
        value.name or "": [int(d) for d in value.shape if isinstance(d, int)]
        for value in values
        if value.shape is not None and all(isinstance(d, int) for d in value.shape)
    }


def _named(
    seen: list[int], samples: list[tuple[int, int]], batch: str, others: Mapping[str, int]
) -> int | ir.SymbolicDim:
    """The size that is `seen` at each of the samples."""
    alike = {size: name for name, size in others.items()}
    if len(set(seen)) == 1:
        return ir.SymbolicDim(alike[seen[0]]) if seen[0] in alike else seen[0]
    (first, rows), last = samples[0], samples[-1][0]
    forms: list[str] = []
    if seen[0] == seen[1]:
        slope = (seen[0] - seen[-1]) // max(first - last, 1)
        forms.append(spelled_sum(slope, TIME, seen[0] - slope * first))
        forms += [
            f"({TIME} + {more}) // {by}"
            for by in range(2, LARGEST_DIVISOR + 1)
            for more in range(-LARGEST_DIVISOR, LARGEST_DIVISOR + 1)
        ]
    elif seen[0] == seen[-2]:
        forms.append(spelled_sum(seen[0] // rows, batch, 0))
    else:
        forms.append(spelled_sum(seen[0] // (rows * first), f"{batch}*{TIME}", 0))
    for text in forms:
        if [size(text, {TIME: frames, batch: rows}) for frames, rows in samples] == seen:
            return ir.SymbolicDim(normal(text))
    return ir.SymbolicDim(None)


def spelled_sum(factor: int, name: str, more: int) -> str:
    """`factor * name + more` as sizes are spelled."""
    product = name if factor == 1 else f"{factor}*{name}"
    return product if not more else f"{product} + {more}" if more > 0 else f"{product} - {-more}"
