"""Which tensors of a module are weights of dense and recurrent layers, and over which axis the layers sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from onnx import NodeProto, helper
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from temport.exporter.declare.call import own
from temport.exporter.declare.slow_path import slow_path
from temport.exporter.graph.quantised import SMALLEST
from temport.exporter.onnx_source.module import OnnxModule
from temport.exporter.runtimes.contract import Arrays
from temport.exporter.runtimes.subject import Subject
from temport.exporter.streaming.oracle import WholeStream


def sums(subject: Subject, inputs: Arrays) -> dict[str, int]:
    """Name of each weight of the source that has enough numbers -> its axis of inputs, in the source's order.

    subject  what the oracle opens
    inputs   of one call, which shows what the weights of torch code are multiplied with
    """
    called = subject.module
    assert called is not None
    floats = {
        name: tensor
        for name, tensor in tensors_of(called).items()
        if tensor.dtype == torch.float32 and tensor.numel() >= SMALLEST
    }
    source = source_of(called)
    if isinstance(source, OnnxModule):
        found = dict(_of_graph(source))
    else:
        with _Products(floats) as products, torch.no_grad(), slow_path():
            called(*(torch.from_numpy(inputs[spec.name]) for spec in subject.declaration.inputs))
        found = products.found
    return {name: found[name] for name in floats if name in found}


def source_of(module: nn.Module) -> nn.Module:
    """The user's own, of what the oracle calls."""
    return own(module.model if isinstance(module, WholeStream) else module)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the names of the source; one that has several names under the first."""
    source = source_of(module)
    return {**dict(source.named_parameters()), **dict(source.named_buffers())}


class _Products(TorchDispatchMode):
    """Sees every matrix product, and over which axis of which tensor it sums."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.tensors = {t.untyped_storage().data_ptr(): (name, t) for name, t in tensors.items()}
        self.found: dict[str, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for place, axis in _FACTORS.get(func.overloadpacket, ()):
            self._note(args[place], axis)
        if func.overloadpacket is _aten.convolution and _is_dense(args[1].shape, groups=args[8]):
            self._note(args[1], 1)
        return func(*args, **(kwargs or {}))

    def _note(self, factor: Tensor, axis: int) -> None:
        known = self.tensors.get(factor.untyped_storage().data_ptr())
        if known is None:
            return
        name, tensor = known
        same = [
            a for a in range(tensor.ndim) if tensor.shape[a] > 1 and tensor.stride(a) == factor.stride(axis)
        ]
        if same:
            self.found.setdefault(name, same[0])


_aten = torch.ops.aten
_FACTORS: dict[Any, tuple[tuple[int, int], ...]] = {
    _aten.mm: ((0, 1), (1, 0)),
    _aten.addmm: ((1, 1), (2, 0)),
    _aten.bmm: ((0, 2), (1, 1)),
    _aten.baddbmm: ((1, 2), (2, 1)),
    _aten.mv: ((0, 1),),
    _aten.mkldnn_rnn_layer: ((1, 1), (2, 1)),
}
"""Operators that sum products: the places of their factors, and the axis of each that is summed over."""


def _is_dense(weight: Sequence[int], groups: int) -> bool:
    """Whether a convolution with such a weight, `[outputs, inputs, kernel...]`, is a dense layer of every frame."""
    return groups == 1 and list(weight[2:]) == [1]


def _of_graph(module: OnnxModule) -> Iterator[tuple[str, int]]:
    """The same of the graph of a file."""
    shapes = {name: tuple(t.shape) for name, t in module.named_buffers()}
    for node in module.model.graph.node:
        for place, axis in _inputs(node, shapes):
            yield node.input[place], axis


def _inputs(node: NodeProto, shapes: Mapping[str, Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Places and axes of a node's weights."""
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    shape = shapes.get(node.input[1], ()) if len(node.input) > 1 else ()
    if node.op_type == "MatMul" and len(shape) >= 2:
        yield 1, len(shape) - 2
    if node.op_type == "Gemm":
        yield 1, int(given.get("transB", 0))
    if node.op_type == "Conv" and _is_dense(shape, given.get("group", 1)):
        yield 1, 1
    if node.op_type in ("LSTM", "GRU", "RNN"):
        yield from ((1, 2), (2, 2))
