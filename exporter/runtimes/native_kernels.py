"""Which nodes of a file the native op library has kernels for. The others run as their bodies, which nobody sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from temport.custom_ops.library import library_description, library_kernels
from temport.exporter.graph.body_domains import body_number
from temport.exporter.graph.graph_alone import graph_alone, graph_of_bytes


@dataclass(frozen=True)
class CustomNode:
    """A node of one of our domains.

    body          which of the op's bodies is its own, by its domain, from 1
    element_type  ONNX's number of its first input's, 0 where the file does not say it
    """

    op: str
    body: int
    element_type: int


def custom_nodes(model: Path | bytes) -> list[CustomNode]:
    """Those of the main graph of a file or of its content, and of the graphs inside its nodes.

    UserError where the file is no model, ValueError where the content is none.
    """
    graph = graph_of_bytes(model) if isinstance(model, bytes) else graph_alone(model)
    return list(_inside(graph, {}))


def native_path(nodes: Sequence[CustomNode], library: Path) -> str:
    """What runs the nodes while `library` is registered.

    "native kernels 0.1.0, avx2", and after a semicolon what `bodies_run` says.
    """
    said = (f"native kernels {library_description(library)}", bodies_run(nodes, library))
    return "; ".join(part for part in said if part)


def bodies_run(nodes: Sequence[CustomNode], library: Path) -> str:
    """Which of the nodes run as bodies while `library` is registered: empty where every one has a kernel.

    "MovingAverage as its body; FusedDense as its body in 2 of 5 nodes", or that the library does not say it.
    """
    kernels = library_kernels(library)
    if kernels is None:
        return "the library does not say for which ops"
    all_, bodies = Counter[str](), Counter[str]()
    for node in nodes:
        domains, types = kernels.get(node.op, (0, frozenset()))
        all_[node.op] += 1
        bodies[node.op] += node.body > domains or node.element_type not in types | {0}
    return "; ".join(
        f"{op} as its body" + (f" in {count} of {all_[op]} nodes" if count < all_[op] else "")
        for op, count in sorted(bodies.items())
        if count > 0
    )


def all_native(model: Path | bytes, library: Path | None) -> bool:
    """Whether every custom node of the model has a kernel; False where there is no library or it does not say it."""
    return library is not None and not bodies_run(custom_nodes(model), library)


def _inside(graph: onnx.GraphProto, around: Mapping[str, int]) -> Iterator[CustomNode]:
    """`around` are the element types of the values that the graph sees from outside."""
    types = dict(around)
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    types |= {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info)}
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _inside(inner, types)
        if (body := body_number(node.domain)) is not None:
            yield CustomNode(node.op_type, body, types.get(node.input[0], 0) if node.input else 0)
