"""Several bodies of one op in one file.

ONNX tells the bodies of an op apart by their *overload*. ONNX Runtime understands it since 1.27; every older one takes
the first body for all nodes of the op. In a file each further body therefore has a domain of its own, `temport.2`,
`temport.3` and so on, together with its nodes: that is as old as functions are, and our library has its kernels in all
of these domains. In memory, and on the way to TensorRT, they are overloads of one domain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx

from temport.custom_ops.schema import DOMAIN, VERSION
from temport.exporter.errors import UserError

Part = onnx.NodeProto | onnx.FunctionProto

MOST_BODIES = 16
"""Of one op; `kMostBodies` of the native library."""
FIRST_IR_WITH_FUNCTIONS = 8
FIRST_IR_WITH_OVERLOADS = 10


def load(path: Path) -> onnx.ModelProto:
    """The model of a file, its bodies as overloads."""
    model = onnx.load(path)
    gather(model)
    return model


def spread(model: onnx.ModelProto) -> None:
    """Overloads of our ops become domains, in place, and the file format the oldest one that has what is used.

    UserError where an op has more bodies than a file can tell apart.
    """
    used = {"1"}
    for part in _ours(model, lambda domain: domain == DOMAIN):
        if part.overload:
            used.add(part.overload)
            part.domain, part.overload = f"{DOMAIN}.{part.overload}", ""
    if len(used) > MOST_BODIES:
        raise UserError(
            f"the model needs {len(used)} different bodies of one op, and a file has at most {MOST_BODIES}; "
            "pass --ops standard, which needs none"
        )
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


def _ours(model: onnx.ModelProto, chosen: Callable[[str], bool]) -> Iterator[Part]:
    """Functions, and nodes of the main graph and the graphs inside it, whose domain is chosen."""
    yield from (function for function in model.functions if chosen(function.domain))
    yield from (node for node in _nodes(model.graph) if chosen(node.domain))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)
