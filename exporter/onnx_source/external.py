"""Weights that lie beside an ONNX file: read only where that was asked for, and only from plain files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_tensor, uses_external_data

from temport.exporter.bundle.model_file import LARGEST_PROTOBUF
from temport.exporter.errors import UserError


def take_external_data(model: onnx.ModelProto, path: Path, allowed: bool) -> None:
    """Put what lies beside `path` into the model, in place.

    UserError where it was not asked for, and for a place that is no plain file in the folder of the model.
    """
    outside = [tensor for tensor in _tensors(model.graph) if uses_external_data(tensor)]
    if outside and not allowed:
        raise UserError(
            f"{path} keeps weights in {ExternalDataInfo(outside[0]).location!r} beside it; give --external-data to "
            "read them"
        )
    total = model.ByteSize()
    for tensor in outside:
        info = ExternalDataInfo(tensor)
        file = path.parent / info.location
        if Path(info.location).name != info.location or file.is_symlink() or not file.is_file():
            raise UserError(
                f"tensor {tensor.name} of {path} lies in {info.location!r}, which is no plain file beside the model"
            )
        start, size = int(info.offset or 0), file.stat().st_size
        length = size - start if info.length is None else int(info.length)
        if start < 0 or length < 0 or start + length > size:
            raise UserError(f"tensor {tensor.name} of {path} reaches beyond the end of {file}")
        total += length
    if total > LARGEST_PROTOBUF:
        raise UserError(
            f"{path} and its weights are {total / 2**30:.1f} GiB; over 2 GiB no ONNX graph can be rewritten in memory"
        )
    for tensor in outside:
        load_external_data_for_tensor(tensor, str(path.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers and attributes of a graph and the graphs inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
