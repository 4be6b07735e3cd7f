"""The graph of a model file without its weights, which are not read."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from temport.exporter.errors import UserError
from temport.exporter.varint import varint

GRAPH, INITIALIZER = (
    kind.DESCRIPTOR.fields_by_name[name].number
    for kind, name in ((onnx.ModelProto, "graph"), (onnx.GraphProto, "initializer"))
)


def graph_alone(path: Path) -> onnx.GraphProto:
    """The main graph of the file at `path` but for its initializers, whose bytes are stepped over.

    A model's weights are most of its file, and whoever asks for this has loaded them elsewhere. UserError where it is
    not a model.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return graph_of_bytes(content)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not an ONNX model") from error


def graph_of_bytes(content: bytes | mmap.mmap) -> onnx.GraphProto:
    """The same of a model at hand; ValueError where it is none."""
    try:
        kept = [
            content[start:end]
            for number, _, begin, stop in _fields(content, 0, len(content))
            if number == GRAPH
            for inner, start, _, end in _fields(content, begin, stop)
            if inner != INITIALIZER
        ]
        return onnx.GraphProto.FromString(b"".join(kept))
    except (IndexError, DecodeError) as error:
        raise ValueError("not an ONNX model") from error


def _fields(content: bytes | mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, begin, begin of the content and end of each field of a protobuf message in `content[at:end]`."""
    while at < end:
        start = at
        tag, at = varint(content, at)
        match tag & 7:
            case 0:
                begin, (_, at) = at, varint(content, at)
            case 1:
                begin, at = at, at + 8
            case 2:
                size, begin = varint(content, at)
                at = begin + size
            case 5:
                begin, at = at, at + 4
            case kind:
                raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field that ends beyond its message")
        yield tag >> 3, start, begin, at
