"""What a model would have a runtime do before it runs: read files, of which only listed weights may be,
and write out functions, whose bodies hold ONNX's own operators alone.

ONNX lets any tensor lie in another file: of a branch, of a function's body, of an attribute. Runtimes open those of
the main graph where they are told to, and every other one wherever the process happens to be. The same walk stands in
deploy/cpp/src/external_data.cpp and deploy/js/lib/external_data.mjs, and one table of hostile models holds all three to
it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message

MODEL = "model.onnx"
_ORT_FORMAT = b"ORTM"


def is_weights(name: str) -> bool:
    """External data lie beside the model, in files that begin with its name and a dot."""
    return name.startswith(f"{MODEL}.")


def parse_model(content: bytes) -> onnx.ModelProto:
    """The model in `content`; ValueError, in a few words, where it is none."""
    if (
        content[4:8] == _ORT_FORMAT
    ):  # ONNX Runtime would take it for a file of its own format, whatever else it is
        raise ValueError("it is in ONNX Runtime's own format")
    try:
        return onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ValueError("it is not an ONNX model") from error


def check_external_data(model: onnx.ModelProto, listed: Collection[str]) -> None:
    """ValueError, in a few words, where a tensor lies in a file that is not among the `listed` weights."""
    for tensor in external_tensors(model, inside=True):
        raise ValueError(f"it reads a file for {tensor.name!r}, which is no weight of its main graph")
    for tensor in external_tensors(model, inside=False):
        locations = [entry.value for entry in tensor.external_data if entry.key == "location"]
        if not locations:
            raise ValueError(f"it keeps {tensor.name!r} in a file and does not say in which")
        for location in locations:
            if not is_weights(location) or location not in listed:
                raise ValueError(
                    f"it reads {location!r}, which is no file of weights that the manifest lists"
                )


def check_functions(model: onnx.ModelProto) -> None:
    """ValueError where the body of a function holds other operators than ONNX's own.

    Forty functions of two calls each are 2^40 nodes, which a runtime would write out before it asks any op.
    """
    for node in chain.from_iterable(_nodes(function.node) for function in model.functions):
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"the body of a function has a node of domain {node.domain!r}")


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def external_tensors(model: onnx.ModelProto, *, inside: bool) -> Iterator[onnx.TensorProto]:
    """Tensors whose data lie in files: those of the main graph's initializers, or all `inside` anything else."""
    found: Iterable[onnx.TensorProto] = model.graph.initializer
    if inside:
        found = chain(_tensors(model, but="graph"), _tensors(model.graph, but="initializer"))
    return filter(_is_external, found)


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.external_data) or tensor.data_location != onnx.TensorProto.DEFAULT


def _tensors(message: Any, but: str = "") -> Iterator[onnx.TensorProto]:
    """Every tensor in a message, the field `but` left out: protobuf's own description says where messages are."""
    for field, value in message.ListFields():
        if field.message_type is None or field.name == but:
            continue
        for inner in (value,) if isinstance(value, Message) else value:
            if isinstance(inner, onnx.TensorProto):
                yield inner
            yield from _tensors(inner)
