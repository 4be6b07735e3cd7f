"""The nodes of a bundle's graph, each with what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from temport.exporter.bundle.directory import Bundle
from temport.exporter.graph import body_domains
from temport.exporter.graph.flops import at_opt, node_flops
from temport.exporter.native.memory import Scratch
from temport.exporter.parity.stream import batch_of, initial_state


@dataclass(frozen=True)
class Node:
    """One node of the main graph, open axes at the declaration's `opt`. None: nobody can say it.

    name, op     as in the file; a node without a name has that of its first output
    outputs      names of its tensors
    shape        of the first of them, as text
    flops        of matrix products, those of the graphs inside it counted once
    weights      bytes of the constants that it reads
    moved        bytes of the other tensors that it reads, and of those that it writes
    microseconds of its kernel in ONNX Runtime, where that runs it as a node of its own
    error        the largest of its tensors in the runtime asked, against the graph in float64; up to `allowed` rounding
                 explains it
    """

    name: str
    op: str
    outputs: tuple[str, ...]
    shape: str
    flops: int | None
    weights: int
    moved: int | None
    microseconds: float | None = None
    error: float | None = None
    allowed: float | None = None

    @property
    def share(self) -> float | None:
        """The error as a share of what is allowed."""
        return None if self.error is None or not self.allowed else self.error / self.allowed


@dataclass(frozen=True)
class Memory:
    """Bytes: constants of the graph, states of a step model, and the tensors in between where those share memory whose
    lives do not meet, in the order of the file.
    """

    weights: int
    state: int
    tensors: int | None


def nodes_of(bundle: Bundle) -> tuple[list[Node], Memory]:
    """In the order of the file; nothing is run."""
    declaration = bundle.declaration
    model = ir.from_proto(body_domains.read_model(bundle.model_path))
    sized = at_opt(model, declaration)
    known = {output.name: node for node in sized.graph for output in node.outputs}
    sizes = {
        value.name: _bytes(value) for node in sized.graph for value in (*node.inputs, *node.outputs) if value
    }
    constants = {name: _bytes(value) or 0 for name, value in model.graph.initializers.items()}
    # what is not there at the optimum was computed from sizes alone: a few bytes, and folded away
    found = []
    for node in model.graph:
        outputs = tuple(value.name or "" for value in node.outputs)
        first = next(filter(None, outputs), "")
        fixed = known.get(first)
        reads = {value.name for value in node.inputs if value is not None}
        others = [sizes.get(name, 0) for name in (*(reads - constants.keys()), *filter(None, outputs))]
        found.append(
            Node(
                node.name or first,
                f"{node.domain}::{node.op_type}" if node.domain else node.op_type,
                outputs,
                "" if fixed is None else str(fixed.outputs[0].shape).strip("[]").replace(",", " x "),
                0 if fixed is None else _flops(fixed),
                sum(constants[name] for name in reads if name in constants),
                sum(size for size in others if size is not None) if None not in others else None,
            )
        )
    state = sum(array.nbytes for array in initial_state(declaration, batch_of(declaration)).values())
    return found, Memory(sum(constants.values()), state, _between(sized, sizes))


def with_times(nodes: list[Node], times: Mapping[str, float]) -> list[Node]:
    """times  microseconds by the names of nodes"""
    return [replace(node, microseconds=times.get(node.name)) for node in nodes]


def with_errors(nodes: list[Node], errors: Mapping[str, tuple[float, float]]) -> list[Node]:
    """errors  (error, allowed) by the names of tensors; of a node with several the worst share"""
    made = []
    for node in nodes:
        of = [errors[name] for name in node.outputs if name in errors]
        worst = max(of, key=lambda pair: pair[0] / pair[1] if pair[1] else 0.0, default=None)
        made.append(node if worst is None else replace(node, error=worst[0], allowed=worst[1]))
    return made


def _flops(node: ir.Node) -> int | None:
    inside = [node, *(inner for graph in _graphs(node) for inner in graph.all_nodes())]
    counts = [node_flops(one) for one in inside]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _graphs(node: ir.Node) -> list[ir.Graph]:
    return [a.as_graph() for a in node.attributes.values() if a.type == ir.AttributeType.GRAPH]


def _bytes(value: ir.Value) -> int | None:
    if value.shape is None or value.dtype is None or not all(isinstance(d, int) for d in value.shape):
        return None
    return math.ceil(math.prod(size for size in value.shape if isinstance(size, int)) * value.dtype.itemsize)


def _between(model: ir.Model, sizes: Mapping[str | None, int | None]) -> int | None:
    """None where a size is open."""
    nodes = list(model.graph)
    last: dict[str | None, int] = {}
    for step, node in enumerate(nodes):
        last |= dict.fromkeys((value.name for value in node.inputs if value is not None), step)
    last |= dict.fromkeys((value.name for value in model.graph.outputs), len(nodes))
    scratch = Scratch()
    for step, node in enumerate(nodes):
        for value in node.outputs:
            if (size := sizes.get(value.name)) is None:
                return None
            scratch.take(size, step, last.get(value.name, step))
    return scratch.bytes
