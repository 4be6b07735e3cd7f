"""Which tensors of a module are weights of dense and recurrent layers, and over which axis the layers sum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from onnx import NodeProto, helper
from torch import Tensor, nn
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from temport.exporter.declare.call import own
from temport.exporter.declare.slow_path import slow_path
from temport.exporter.graph.quantised import SMALLEST
from temport.exporter.onnx_source.constants import constants
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
        given = [torch.from_numpy(inputs[spec.name]) for spec in subject.declaration.inputs]
        with _Products(floats, tensors_of(called).values(), given) as products, torch.no_grad(), slow_path():
            called(*given)
        found = products.found
    multiplied = _behind_a_projection(source)
    return {name: found[name] for name in floats if name in found and id(floats[name]) not in multiplied}


def _behind_a_projection(source: nn.Module) -> set[int]:
    """Weights that an `nn.LSTM` with `proj_size` multiplies with its projected state: LSTM of ONNX has no projection,
    so the graph holds the product of the two (trace/translate_recurrent.py).
    """
    return {
        id(weight)
        for part in source.modules()
        if isinstance(part, nn.LSTM) and part.proj_size
        for name, weight in part.named_parameters(recurse=False)
        if name.startswith("weight_hh")
    }


def source_of(module: nn.Module) -> nn.Module:
    """The user's own, of what the oracle calls."""
    return own(module.model if isinstance(module, WholeStream) else module)


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by the names of the source; one that has several names under the first."""
    source = source_of(module)
    return {**dict(source.named_parameters()), **dict(source.named_buffers())}


def leaves(tree: Any) -> list[Tensor]:
    """All tensors of what an operator takes or gives."""
    return [leaf for leaf in _pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


class _Products(TorchDispatchMode):
    """Sees every matrix product with what the inputs decide, and over which axis of which tensor it sums.

    A product of weights alone is a new weight, which the module computes: no file holds its factors.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], every: Iterable[Tensor], inputs: Sequence[Tensor]
    ) -> None:
        super().__init__()
        self.tensors = {t.untyped_storage().data_ptr(): (name, t) for name, t in tensors.items()}
        self.found: dict[str, int] = {}
        self._of_inputs = WeakIdKeyDictionary()  # False of what weights alone decide; without either, absent
        for tensor in every:
            self._of_inputs[tensor] = False
        for given in inputs:
            self._of_inputs[given] = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        op = func.overloadpacket
        places = _FACTORS.get(op, ())
        if op is _aten.convolution and _is_dense(args[1].shape, groups=args[8]) and not args[6]:  # transposed
            places = ((1, 1, 0),)
        for place, axis, other in places:
            if self._of_inputs.get(args[other]) is not False:
                self._note(args[place], axis)
        result = func(*args, **(kwargs or {}))
        known = {self._of_inputs.get(t) for t in leaves((args, kwargs))} - {None}
        for tensor in leaves(result) if known else ():
            self._of_inputs[tensor] = any(known)
        return result

    def _note(self, factor: Tensor, axis: int) -> None:
        known = self.tensors.get(factor.untyped_storage().data_ptr())
        if known is None:
            return
        name, tensor = known
        steps = {tensor.stride(a): a for a in range(tensor.ndim) if tensor.shape[a] > 1}
        taken = {factor.stride(a) for a in range(factor.ndim) if factor.shape[a] > 1} - {0}
        if (
            tensor.ndim > 1 and factor.stride(axis) in steps and taken <= steps.keys()
        ):  # or it was cut otherwise
            self.found.setdefault(name, steps[factor.stride(axis)])


_aten = torch.ops.aten
_FACTORS: dict[Any, tuple[tuple[int, int, int], ...]] = {
    _aten.mm: ((0, 1, 1), (1, 0, 0)),
    _aten.addmm: ((1, 1, 2), (2, 0, 1)),
    _aten.bmm: ((0, 2, 1), (1, 1, 0)),
    _aten.baddbmm: ((1, 2, 2), (2, 1, 1)),
    _aten.mv: ((0, 1, 1),),
    _aten.mkldnn_rnn_layer: ((1, 1, 0), (2, 1, 0)),
}
"""Operators that sum products: the places of their factors, the axis of each that is summed over, and where the other
factor is.
"""


def _is_dense(weight: Sequence[int], groups: int) -> bool:
    """Whether a convolution with such a weight, `[outputs, inputs, kernel...]`, is a dense layer of every frame."""
    return groups == 1 and list(weight[2:]) == [1]


def _of_graph(module: OnnxModule) -> Iterator[tuple[str, int]]:
    """The same of the graph of a file."""
    held = {name: tuple(t.shape) for name, t in module.named_buffers()}
    constant = constants(module.model, {*held, *(tensor.name for tensor in module.model.graph.initializer)})
    shapes = {
        value: tuple(held[source[0]][a] for a in source[1]) if source[1] else held[source[0]]
        for value, source in constant.items()
        if source is not None and source[0] in held
    }
    for node in module.model.graph.node:
        if node.input and node.input[0] not in constant:
            for place, axis in _inputs(node, shapes):
                if source := constant.get(node.input[place]):
                    name, axes = source
                    yield name, axes[axis] if axes else axis


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
