"""Several bodies of one op in one file.

ONNX tells the bodies of an op apart by their *overload*. ONNX Runtime understands it since 1.27; every older one takes
the first body for all nodes of the op. In a file each further body therefore has a domain of its own, `temport.2`,
`temport.3` and so on, together with its nodes: that is as old as functions are, and our library has its kernels in the
first of these domains. In memory, and on the way to TensorRT, they are overloads of one domain.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx

from temport.custom_ops.domain import DOMAIN, VERSION

Part = onnx.NodeProto | onnx.FunctionProto

KERNEL_DOMAINS = {
    "OnlineSoftmaxAttention": 8,
    "BlockLinearAttention": 4,
    "CachedAttention": 4,
    "CachedBlockLinearAttention": 4,
    "FusedDense": 16,
    "FusedGRU": 1,
    "FusedLSTM": 1,
    "MovingAverage": 2,
    "ResidualLayerNorm": 2,
}
"""In how many domains the native library has its kernels of an op: what `temport_ops_kernels` of the library says.

Every session pays for each of them, so an op has as many as models have bodies of it. A file may hold more bodies than
these; the nodes of the further ones run as their bodies, and whoever runs the file says so.
"""
FIRST_IR_WITH_FUNCTIONS = 8
FIRST_IR_WITH_OVERLOADS = 10


def read_model(path: Path) -> onnx.ModelProto:
    """The model of a file, its bodies as overloads."""
    model = onnx.load(path)
    gather(model)
    return model


def spread(model: onnx.ModelProto) -> None:
    """Overloads of our ops become domains, in place, and the file format the oldest one that has what is used."""
    used = {"1"}
    for part in _ours(model, lambda domain: domain == DOMAIN):
        if part.overload:
            used.add(part.overload)
            part.domain, part.overload = f"{DOMAIN}.{part.overload}", ""
    for overload in sorted(used - {"1"}, key=int):
        model.opset_import.append(onnx.helper.make_opsetid(f"{DOMAIN}.{overload}", VERSION))
    standard = [opset for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    model.ir_version = max(onnx.helper.find_min_ir_version_for(standard), FIRST_IR_WITH_FUNCTIONS)


def gather(model: onnx.ModelProto) -> None:
    """What `spread` did, undone, in place."""
    found = False
    for part in _ours(model, lambda domain: domain.startswith(f"{DOMAIN}.")):
        found = True
        part.overload = part.domain.removeprefix(f"{DOMAIN}.")
        part.domain = DOMAIN
    if found:
        kept = [opset for opset in model.opset_import if not opset.domain.startswith(f"{DOMAIN}.")]
        del model.opset_import[:]
        model.opset_import.extend(kept)
        model.ir_version = max(model.ir_version, FIRST_IR_WITH_OVERLOADS)


def body_number(domain: str) -> int | None:
    """The place of `domain` among those that tell bodies apart, from 1; None for a domain that is not ours.

    One that begins like ours and is none of these stands beyond all of them.
    """
    if domain == DOMAIN:
        return 1
    if not domain.startswith(f"{DOMAIN}."):
        return None
    number = domain.removeprefix(f"{DOMAIN}.")
    return int(number) if number.isdecimal() and int(number) > 1 else sys.maxsize


def _ours(model: onnx.ModelProto, chosen: Callable[[str], bool]) -> Iterator[Part]:
    """Functions, and nodes of the main graph and the graphs inside it, whose domain is chosen."""
    yield from (function for function in model.functions if chosen(function.domain))
    yield from (node for node in every_node(model.graph) if chosen(node.domain))


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from every_node(inner)
