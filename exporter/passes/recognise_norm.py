"""Normalisation written by hand becomes one node: what it gives is evaluated, not how it is spelled.

A part of the graph that depends on one value alone is run in float64 on a few rows. From its answers follow the numbers
that a layer or root mean square normalisation would have (`fit`), and it is one if it gives what these say, at small,
usual and large rows. `nn.RMSNorm`, which ONNX has no operator for before opset 23, is found in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.domain import DOMAIN, VERSION
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph import operators
from temport.exporter.graph.edit import initializer, named, replace
from temport.exporter.graph.evaluate_part import Part, Sizes, UnknownPart, dims_at, sample_sizes
from temport.exporter.graph.operator_row import Along
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.notes import Notes

NAME = "recognise_norm"
MEANS = ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2")
"""What the middle or the size of a row is made with."""
CLOSE = 1e-9
"""Of the largest number of a row, in float64; another formula is off by more at one of the probes."""
SMALL = 1e-3
"""A factor that makes a row's variance as small as the number that is added to it."""
LONGEST = 40
"""Nodes of a part: no spelling has as many."""


def recognise_norm(model: ir.Model, declaration: Declaration, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where nothing in it is a normalisation by hand."""
    graph, samples, changed = model.graph, sample_sizes(declaration.axes, few=True), False
    for node in [node for node in graph if is_standard(node, *MEANS)]:
        if node.graph is None:  # part of one that was found before
            continue
        found = next(_found(node, samples), None)
        if found is None:
            continue
        last, x, norm = found
        if notes is not None:
            kind = "layer normalisation" if norm.centred else "root mean square normalisation"
            notes.add(NAME, last, f"is recognised as the end of a {kind}", recognised=True)
        _put(graph, last, x, norm)
        common.RemoveUnusedNodesPass()(model)
        changed = True
    if changed:
        model.opset_imports[DOMAIN] = VERSION
    return changed


@dataclass(frozen=True)
class Norm:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axis; the mean is 0 where not `centred`."""

    centred: bool
    epsilon: float
    scale: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def of(self, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        c = x - x.mean(axis=-1, keepdims=True) if self.centred else x
        factor = 1 / np.sqrt((c**2).mean(axis=-1, keepdims=True) + self.epsilon)
        return np.asarray(c * factor * self.scale + self.bias)


def _found(mean: ir.Node, samples: Sequence[Sizes]) -> Iterator[tuple[ir.Node, ir.Value, Norm]]:
    """The last node, the rows that it normalises, and how: the longest part first."""
    for x in _sources(mean):
        for last in _ends(x, mean):
            try:
                norm = _fitted(last.outputs[0], x, samples)
            except UnknownPart:
                continue
            if norm is not None:
                yield last, x, norm


def _sources(mean: ir.Node) -> Iterator[ir.Value]:
    """What the reduction reads, and what is behind that element by element."""
    value = mean.inputs[0]
    for _ in range(4):
        if value is None or value.shape is None or value.const_value is not None:
            return
        if len(value.shape) >= 2 and isinstance(value.shape[-1], int) and value.dtype == ir.DataType.FLOAT:
            yield value
        node = value.producer()
        if node is None or not operators.of(node).elementwise:
            return
        value = node.inputs[0]


def _ends(x: ir.Value, mean: ir.Node) -> list[ir.Node]:
    """Nodes after `mean` that depend on `x` alone and give its shape, the last one first."""
    nodes: list[ir.Node] = []
    pending = [use.node for use in x.uses()]
    while pending and len(nodes) <= LONGEST:
        node = pending.pop(0)
        row = operators.of(node)
        if node in nodes or not (row.elementwise or row.moves or row.along is Along.BESIDE_AXES):
            continue
        if len(node.outputs) == 1 and not Part(node.outputs[0], [x]).data:
            nodes.append(node)
            pending += [use.node for use in node.outputs[0].uses()]
    return [
        n
        for n in reversed(nodes)
        if n.outputs[0].shape == x.shape and _encloses(Part(n.outputs[0], [x]), n, mean, nodes)
    ]


def _encloses(part: Part, last: ir.Node, mean: ir.Node, nodes: Sequence[ir.Node]) -> bool:
    """Whether `mean` is in the part, and nobody outside reads numbers that it computes of its rows on the way."""
    return mean in part.nodes and all(
        not value.is_graph_output()
        and all(use.node in part.nodes or is_standard(use.node, "Shape", "Size") for use in value.uses())
        for value in (node.outputs[0] for node in part.nodes if node is not last and node in nodes)
    )


def _fitted(y: ir.Value, x: ir.Value, samples: Sequence[Sizes]) -> Norm | None:
    """The normalisation that gives `y` of `x`, at every sample."""
    part = Part(y, [x], double=True)
    shapes = [dims_at(x, sizes) for sizes in samples]
    random = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        at = int(np.argmax([np.prod(shape) for shape in shapes]))
        rows = random.standard_normal(shapes[at])
        asked = [np.zeros(shapes[at]), rows, rows * SMALL]
        none, usual, small = (part.at(samples[at], [a]) for a in asked)
        if not np.isfinite([none, usual, small]).all():
            return None
        for centred in (True, False):
            norm = _numbers(rows, none, usual, small, centred)
            if norm is None:
                continue
            probes = [s * random.standard_normal(shape) + m for shape in shapes for s, m in _PROBES]
            places = [sizes for sizes in samples for _ in _PROBES]
            if all(
                _close(part.at(sizes, [probe]), norm.of(probe))
                for sizes, probe in zip(places, probes, strict=True)
            ):
                return norm
    return None


_PROBES = ((1.0, 0.0), (1e-4, 0.0), (1e3, 0.0), (1.0, 3.0))
"""Deviation and mean of the rows that a formula is tried on."""


def _numbers(
    rows: npt.NDArray[np.float64],
    none: npt.NDArray[np.float64],
    usual: npt.NDArray[np.float64],
    small: npt.NDArray[np.float64],
    centred: bool,
) -> Norm | None:
    """What a normalisation has to have that gives these answers for rows, for none, and for rows that are small.

    With variance v and a factor s, (answer of s x / answer of x)^2 is s^2 (v + epsilon) / (s^2 v + epsilon).
    """
    width = rows.shape[-1]
    c, bias = (
        (rows - rows.mean(axis=-1, keepdims=True) if centred else rows).reshape(-1, width),
        none.reshape(-1, width)[0],
    )
    answers, less = usual.reshape(-1, width) - bias, small.reshape(-1, width) - bias
    row = np.abs(c).min(axis=-1).argmax()
    column = np.abs(answers[row]).argmax()
    if answers[row, column] == 0:
        return None
    variance, ratio = (c[row] ** 2).mean(), (less[row, column] / answers[row, column]) ** 2
    epsilon = SMALL**2 * variance * (1 - ratio) / (ratio - SMALL**2)
    if not (np.isfinite(epsilon) and epsilon > 0):
        return None
    best = np.abs(c).argmax(axis=0), np.arange(width)
    factor = np.sqrt((c**2).mean(axis=-1) + epsilon)[best[0]]
    return Norm(centred, float(epsilon), answers[best] * factor / c[best], bias)


def _close(actual: npt.NDArray[np.float64], expected: npt.NDArray[np.float64]) -> bool:
    if actual.shape != expected.shape:
        return False
    return bool((np.abs(actual - expected) <= CLOSE * max(1e-300, np.abs(expected).max(initial=0.0))).all())


def _put(graph: ir.Graph, last: ir.Node, x: ir.Value, norm: Norm) -> None:
    """LayerNormalization, or our op without a mean."""
    old = last.outputs[0]
    scale, bias = (
        initializer(graph, named(old, what), array.astype(np.float32))
        for what, array in (("scale", norm.scale), ("bias", norm.bias))
    )
    output = ir.Value(name=named(old, "normal"), type=old.type, shape=old.shape)
    if norm.centred:
        node = ir.node(
            "LayerNormalization",
            [x, scale, bias],
            {"axis": -1, "epsilon": norm.epsilon},
            outputs=[output],
            name=last.name,
        )
    else:
        node = ir.node(
            "ResidualLayerNorm",
            [x, scale, bias],
            {"epsilon": norm.epsilon, "centred": 0},
            domain=DOMAIN,
            outputs=[output],
            name=last.name,
        )
    graph.insert_before(last, node)
    replace(graph, last, output)
