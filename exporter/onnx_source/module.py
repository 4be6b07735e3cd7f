"""The graph of an ONNX file as a torch module: what asks a module for its numbers asks the graph."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference.op_run import OpRun
from torch import Tensor, nn

from temport.exporter.graph.prepared_evaluator import PreparedEvaluator
from temport.exporter.graph.retyped import FLOATS, retyped
from temport.exporter.onnx_source.old_operators import old_operators
from temport.exporter.onnx_source.reading import opset_of
from temport.exporter.runtimes.op_reference import REFERENCE_OPS

Array = npt.NDArray[Any]
KINDS = {
    torch.float64: TensorProto.DOUBLE,
    torch.float32: TensorProto.FLOAT,
    torch.float16: TensorProto.FLOAT16,
    torch.bfloat16: TensorProto.BFLOAT16,
}
BUFFERS = ("float32", "float64", "bool", "int8", "uint8", "int16", "int32", "int64")
"""Types of initializers that are buffers; others, which no weights file holds, stay in the graph."""


class OnnxModule(nn.Module):
    """Inputs of the graph in their order -> outputs by name.

    The initializers are its buffers, under the names that the file gives them. The floating-point type of the module is
    that of the graph: converted to float64, every float32 of the graph is a float64; in float32, the graph is as it is.
    Operators of ours are their definitions, all others ONNX's reference evaluator.

    floats  types of the graph that follow that of the module; where it rounds to a half type on purpose, it still does
    """

    def __init__(self, model: onnx.ModelProto, floats: Collection[int] = FLOATS) -> None:
        super().__init__()
        self.floats = floats
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        del self.model.graph.initializer[:]
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.dtype.name in BUFFERS:
                self._buffers[tensor.name] = torch.from_numpy(array.copy())  # any name, with dots too
            else:
                self.model.graph.initializer.append(tensor)
        self.kind = _Kind()
        self.doubles = [t.name for t in model.graph.initializer if t.data_type == TensorProto.DOUBLE]
        self._operators: tuple[type[OpRun], ...] = ()
        self._evaluators: dict[int, PreparedEvaluator] = {}

    def forward(self, *tensors: Tensor) -> dict[str, Tensor]:
        evaluator = self.evaluator(KINDS[self.kind.like.dtype])
        feeds = {name: _array(tensor) for name, tensor in self._buffers.items() if tensor is not None}
        feeds |= {name: feeds[name].astype(np.float64) for name in self.doubles}
        for name, kind, tensor in zip(evaluator.input_names, evaluator.input_types, tensors, strict=True):
            feeds[name] = _array(tensor).astype(
                helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type), copy=False
            )
        with np.errstate(all="ignore"):  # what is not finite shows in the numbers
            results: list[Any] = list(evaluator.run(None, feeds))
        return {name: _tensor(np.asarray(r)) for name, r in zip(evaluator.output_names, results, strict=True)}

    def evaluator(self, kind: int = TensorProto.FLOAT) -> PreparedEvaluator:
        """What computes the graph in a floating-point type."""
        if kind not in self._evaluators:
            model = self.model if kind == TensorProto.FLOAT else retyped(self.model, kind, self.floats)
            own = [*old_operators(opset_of(self.model)), *self._operators]  # in place of those of now
            replaced = {operator.__name__ for operator in own}
            operators = [*(op for op in REFERENCE_OPS if op.__name__ not in replaced), *own]
            self._evaluators[kind] = PreparedEvaluator(model, new_ops=operators)
        return self._evaluators[kind]

    @contextmanager
    def operators(self, *operators: type[OpRun]) -> Iterator[None]:
        """For a while these evaluator classes take the place of those of their names."""
        before, self._operators, self._evaluators = self._evaluators, operators, {}
        try:
            yield
        finally:
            self._operators, self._evaluators = (), before

    @contextmanager
    def computing(self, model: onnx.ModelProto) -> Iterator[None]:
        """For a while it computes this graph, of the same inputs and initializers."""
        before = self.model, self._evaluators
        self.model, self._evaluators = model, {}
        try:
            yield
        finally:
            self.model, self._evaluators = before

    def holds(self, *names: str) -> bool:
        """Whether the graph has one of these operators."""
        return any(node.op_type in names for node in self.model.graph.node)

    def with_weights(self) -> onnx.ModelProto:
        """The model as a file would hold it, in the floating-point type that the module was converted to."""
        kind = KINDS[self.kind.like.dtype]
        model = retyped(self.model, kind, self.floats) if kind != TensorProto.FLOAT else onnx.ModelProto()
        if kind == TensorProto.FLOAT:
            model.CopyFrom(self.model)
        model.graph.initializer.extend(
            numpy_helper.from_array(_array(tensor), name)
            for name, tensor in self._buffers.items()
            if tensor is not None
        )
        return model

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_evaluators": {}}  # a copy makes its own

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """By name alone: torch takes a dot for the name of a module inside."""
        for name, buffer in self._buffers.items():
            if buffer is not None and prefix + name in state_dict:
                with torch.no_grad():
                    buffer.copy_(state_dict[prefix + name])


class _Kind(nn.Module):
    """Knows the floating-point type that the module around it was converted to."""

    like: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("like", torch.empty(0), persistent=False)


def _array(tensor: Tensor) -> Array:
    if tensor.dtype == torch.bfloat16:
        return tensor.float().numpy().astype(ml_dtypes.bfloat16)
    return tensor.detach().numpy()


def _tensor(array: Array) -> Tensor:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(array, order="C"))
