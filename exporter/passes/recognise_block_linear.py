"""Attention inside blocks of frames and linear attention over the blocks before becomes our op, where it is the same.

However it is spelled, with blocks as an axis or one after the other, it is a part of the graph between the rows of
queries, keys and values and the rows of the result. That part is run in float64 on random rows and has to give what the
op's definition gives, for one of its feature maps, with or without the division by the sum of keys.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import replace as replaced

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes import common

from temport.custom_ops.block_linear_attention import OP
from temport.custom_ops.block_linear_attention.attributes import (
    FEATURE_MAPS,
    NORMALIZERS,
    BlockLinearAttributes,
)
from temport.custom_ops.domain import DOMAIN, VERSION
from temport.exporter.declare.declaration import Declaration
from temport.exporter.graph import operators, traced_attention
from temport.exporter.graph.edit import cut, named, replace
from temport.exporter.graph.evaluate_part import Part, Sizes, UnknownPart, dims_at, sample_sizes
from temport.exporter.graph.operator_row import Along
from temport.exporter.graph.plain_attention import PlainAttention
from temport.exporter.graph.standard_operator import is_standard
from temport.exporter.passes.notes import Notes

NAME = "recognise_block_linear"
ROUGHLY = 1e-3
"""Of the median: what stands for the same but for `eps`."""
CLOSE = 1e-8
"""Of the largest number, in float64; denominators that pass through 0 take digits."""
EPS = (1e-8, 1e-6, 1e-5, 1e-12, 1e-10, 1e-7, 1e-4, 1e-3)
"""What is added to the sum of keys, as people write it; the small keys of a probe tell them apart."""
PROBES = ((1.0, 1.0, 0.0), (3.0, 1.0, 0.0), (1.0, 1e-3, 0.0), (1.0, 1.0, -12.0))
"""Deviation of queries, deviation and mean of keys."""
JOINS = ("Einsum", "MatMul", "Softmax", "CumSum", traced_attention.NAME)
Array = npt.NDArray[np.float64]
Place = tuple[ir.Value, int]


def recognise_block_linear(model: ir.Model, declaration: Declaration, notes: Notes | None = None) -> bool:
    """Rewrite `model` in place; False where there is no such attention. Run it before `recognise_attention`."""
    graph, changed = model.graph, False
    samples = sample_sizes(declaration.axes)
    for node in list(graph):
        if node.graph is None or (plain := PlainAttention.of(node)) is None:
            continue
        found = _found(plain, samples)
        if found is None:
            continue
        found.put(graph)
        common.RemoveUnusedNodesPass()(model)
        if notes is not None:
            a = found.attributes
            said = f"is recognised as BlockLinearAttention in blocks of {a.block_size}, {a.feature_map}, {a.normalizer}"
            notes.add(NAME, node, said, recognised=True)
        changed = True
    if changed:
        model.opset_imports[DOMAIN] = VERSION
    return changed


@dataclass(frozen=True)
class _Found:
    """The result `[batch, seq, H*Dv]`, and where queries, keys and values lie: rows and their first column."""

    result: ir.Value
    places: tuple[Place, ...]
    width: int
    attributes: BlockLinearAttributes

    def put(self, graph: ir.Graph) -> None:
        last = self.result.producer()
        assert last is not None
        inputs = []
        for rows, start in self.places:
            assert rows.shape is not None
            whole = rows.shape[2] == self.width
            inputs.append(rows if whole else cut(graph, last, rows, 2, start, start + self.width))
        rows, packed = self.places[0][0], [(self.places[0][0], i * self.width) for i in range(3)]
        assert rows.shape is not None
        if list(self.places) == packed and rows.shape[2] == 3 * self.width:
            inputs = [rows]
        output = ir.Value(name=named(self.result, "attended"), type=self.result.type, shape=self.result.shape)
        op = ir.node(
            OP.name, inputs, asdict(self.attributes), domain=DOMAIN, outputs=[output], name=last.name
        )
        graph.insert_before(last, op)
        replace(graph, last, output)


def _found(plain: PlainAttention, samples: Sequence[Sizes]) -> _Found | None:
    """What this attention is the inside of; None where it is none, or not of all blocks."""
    q, k = plain.q, plain.k
    if q.perm is not None or q.value.shape is None or k.value.shape is None:
        return None
    keys = k.value.shape if k.perm is None else [k.value.shape[axis] for axis in k.perm]
    size, block = q.value.shape[-1], keys[-2]
    rows = _rows_behind(plain)
    if not isinstance(size, int) or not isinstance(block, int) or not 1 <= len(rows) <= 3:
        return None
    scale = size**-0.5 if plain.scale is None else float(plain.scale)
    try:
        longest = max(samples, key=lambda sizes: dims_at(rows[0], sizes)[1])
        if dims_at(rows[0], longest)[1] <= block:
            return None
        for result in _results(plain.node, rows):
            if any(dims_at(v, each)[:2] != dims_at(result, each)[:2] for v in rows for each in samples):
                continue  # keys of something else than the frames
            part = Part(result, rows, double=True)
            for found in _fitting(part, rows, size, block, scale, longest):
                if all(_same(part, found, rows, sizes) for sizes in (longest, *samples)):
                    return found
    except UnknownPart:
        pass
    return None


def _rows_behind(plain: PlainAttention) -> list[ir.Value]:
    """The rows `[batch, seq, width]` that queries, keys and values are made of without any weight, in that order."""
    found: list[ir.Value] = []
    for operand in (plain.q, plain.k, plain.v):
        pending, seen = [operand.value], set[ir.Value]()
        while pending:
            value = pending.pop(0)
            if value in seen or value.const_value is not None or not Part(value).data:
                continue
            seen.add(value)
            node = value.producer()
            if node is None or not (operators.of(node).moves or _by_numbers(node)):
                if value not in found:
                    found.append(value)
                continue
            pending += [v for v in node.inputs if v is not None]
    return found if all(_is_rows(value) for value in found) else []


def _by_numbers(node: ir.Node) -> bool:
    """An operator on each element, with single numbers for constants: a scale, no bias."""
    sizes = [v.const_value.size for v in node.inputs if v is not None and v.const_value is not None]
    return operators.of(node).elementwise and all(size == 1 for size in sizes)


def _is_rows(value: ir.Value) -> bool:
    return value.shape is not None and len(value.shape) == 3 and isinstance(value.shape[2], int)


def _results(node: ir.Node, rows: Sequence[ir.Value]) -> Iterator[ir.Value]:
    """Rows behind `node` that depend on `rows` alone, the last first, where nobody reads what is on the way."""
    nodes: list[ir.Node] = []
    pending = [use.node for value in rows for use in value.uses()]
    while pending:
        current = pending.pop(0)
        row = operators.of(current)
        weights = any(v is not None and v.const_value is not None for v in current.inputs)
        joins = current.op_type in JOINS and not (weights and is_standard(current, "MatMul", "Einsum"))
        if current in nodes or not (row.elementwise or row.moves or joins or row.along is Along.BESIDE_AXES):
            continue
        if not any(Part(output, rows, double=True).data for output in current.outputs):
            nodes.append(current)
            pending += [use.node for output in current.outputs for use in output.uses()]
    for last in reversed(nodes):
        value = last.outputs[0]
        if _is_rows(value) and len(last.outputs) == 1:
            inside = Part(value, rows, double=True).nodes
            between = [v for n in inside if n is not last and n in nodes for v in n.outputs]
            if node in inside and not any(
                v.is_graph_output()
                or any(use.node not in inside and not is_standard(use.node, "Shape") for use in v.uses())
                for v in between
            ):
                yield value


def _fitting(
    part: Part, rows: Sequence[ir.Value], size: int, block: int, scale: float, sizes: Sizes
) -> Iterator[_Found]:
    """Roles of the rows and attributes that give nearly what the part gives, whatever is added to the sum of keys."""
    shape = dims_at(part.target, sizes)
    width = shape[2]
    columns = [(value, at) for value in rows for at in range(0, dims_at(value, sizes)[2], width)]
    if width % size or len(columns) != 3:
        return
    random = np.random.default_rng(1)
    given = {place: random.standard_normal(shape) for place in columns}
    actual = _asked(part, rows, given, sizes)
    for places in itertools.permutations(columns):
        for feature_map, normalizer in itertools.product(FEATURE_MAPS, NORMALIZERS):
            attributes = BlockLinearAttributes(width // size, block, scale, feature_map, normalizer)
            expected = _defined([given[place] for place in places], attributes)
            if actual.shape == expected.shape and _median(actual - expected) <= ROUGHLY * _median(expected):
                for eps in EPS if normalizer == "key_sum" else EPS[:1]:
                    yield _Found(part.target, places, width, replaced(attributes, eps=eps))


def _median(array: Array) -> float:
    return float(np.median(np.abs(array)))


def _defined(given: Sequence[Array], attributes: BlockLinearAttributes) -> Array:
    result = OP.reference(given, asdict(attributes))
    assert not isinstance(result, tuple), "the op has one output"
    return result


def _asked(part: Part, rows: Sequence[ir.Value], given: Mapping[Place, Array], sizes: Sizes) -> Array:
    """What the part gives of these columns of its rows."""
    fed = {value: np.zeros(dims_at(value, sizes)) for value in rows}
    for (value, start), array in given.items():
        fed[value][..., start : start + array.shape[2]] = array
    with np.errstate(all="ignore"):
        return part.at(sizes, [fed[value] for value in rows])


def _same(part: Part, found: _Found, rows: Sequence[ir.Value], sizes: Sizes) -> bool:
    """Whether part and op give the same at these sizes, for every probe."""
    random = np.random.default_rng(0)
    shape = (*dims_at(part.target, sizes)[:2], found.width)
    for of_queries, of_keys, mean in PROBES:
        q, k, v = (random.standard_normal(shape) for _ in range(3))
        given = [of_queries * q, of_keys * k + mean, v]
        actual = _asked(part, rows, dict(zip(found.places, given, strict=True)), sizes)
        expected = _defined(given, found.attributes)
        if actual.shape != expected.shape or not np.isfinite(actual).all():
            return False
        if np.abs(actual - expected).max(initial=0.0) > CLOSE * np.abs(expected).max(initial=0.0):
            return False
    return True
