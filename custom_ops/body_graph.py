"""A function body under construction: nodes, constants, masks with their predicates, and values by head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from onnx import defs

from temport.custom_ops.mask import Rule
from temport.custom_ops.op import Host

OLDEST_OPSET = 18


class BodyGraph:
    """Collects the nodes of one FunctionProto with the inputs and attributes of `schema`.

    What is computed on `computing(x)` is float32, or float64 for `element_type="float64"`, so that the
    softmax of half types is taken in float32 whatever the runtime does with half-precision products.
    """

    def __init__(self, schema: defs.OpSchema, host: Host, forms: Sequence[str]) -> None:
        """`forms` are those that the op knows; ValueError for another one or an old opset."""
        op = schema.name
        if host.form not in ("auto", *forms):
            raise ValueError(f"{op}: the body form is {host.form!r}; it must be auto, {', '.join(forms)}.")
        if host.opset < OLDEST_OPSET:
            raise ValueError(f"{op}: a body needs opset {OLDEST_OPSET} or newer; it is {host.opset}.")
        self.schema, self.opset = schema, host.opset
        self.dtype = np.dtype("float64" if host.element_type == "float64" else "float32")
        self.inputs = {p.name: ir.Value(name=p.name) for p in schema.inputs}
        self.masks: dict[str, tuple[Rule, int, int]] = {}
        self._nodes: list[ir.Node] = []
        self._mask_values: dict[str, ir.Value] = {}

    def op(
        self, op_type: str, *inputs: ir.Value | None, name: str | None = None, **attributes: Any
    ) -> ir.Value:
        """Append one ai.onnx node and return its single output."""
        output = ir.Value(name=name or f"{op_type}_{len(self._nodes)}")
        node = ir.node(op_type, inputs, attributes, outputs=[output], name=f"node_{output.name}")
        self._nodes.append(node)
        return output

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> ir.Value:
        """A Constant node; `dtype` defaults to the computing type."""
        return self._constant(np.asarray(value, dtype or self.dtype))

    def integers(self, *values: int) -> ir.Value:
        """A Constant node with a list of int64."""
        return self.constant(values, np.int64)

    def mask(self, rule: Rule, T: int, S: int) -> ir.Value:
        """The rule's table as one Constant node, remembered with its predicate."""
        name = f"mask_{rule.label}_{T}x{S}"
        if name not in self._mask_values:
            self.masks[name] = (rule, T, S)
            self._mask_values[name] = self._constant(rule.array(T, S), name)
        return self._mask_values[name]

    def _constant(self, array: npt.NDArray[Any], name: str | None = None) -> ir.Value:
        # ir.tensor and ir.node would ask an array which of many protocols it follows: a quarter of the time of a body
        return self.op("Constant", name=name, value=ir.AttrTensor("value", ir.Tensor(array)))

    def slice(self, x: ir.Value, axis: int, start: int | ir.Value, stop: int | ir.Value) -> ir.Value:
        """x[start:stop] along `axis`; the bounds are integers or int64 values of shape [1]."""
        bounds = [self.integers(b) if isinstance(b, int) else b for b in (start, stop)]
        return self.op("Slice", x, *bounds, self.integers(axis))

    def size(self, x: ir.Value, axis: int) -> ir.Value:
        """The size of one axis as int64 of shape [1]."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def reshape(self, x: ir.Value, *shape: int) -> ir.Value:
        """Reshape; 0 keeps an axis and -1 is what is left."""
        return self.op("Reshape", x, self.integers(*shape))

    def unsqueeze(self, x: ir.Value, *axes: int) -> ir.Value:
        return self.op("Unsqueeze", x, self.integers(*axes))

    def swap_last(self, x: ir.Value, rank: int) -> ir.Value:
        """Transpose of the last two axes."""
        return self.op("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])

    def computing(self, x: ir.Value) -> ir.Value:
        """x in the computing type; no node in double, where x already has it."""
        return x if self.dtype == np.float64 else self.op("Cast", x, to=ir.DataType.FLOAT.value)

    def attend(
        self, scores: ir.Value, values: ir.Value, allowed: ir.Value | None, may_be_empty: bool
    ) -> ir.Value:
        """softmax(scores where allowed) values; a row with no allowed key is 0.

        The selected-out score is the lowest finite number: with -inf an empty row would be NaN.
        """
        if allowed is not None:
            lowest = self.constant(np.finfo(self.dtype).min)
            scores = self.op("Where", allowed, scores, lowest)
        weights = self.op("Softmax", scores, axis=-1)
        if allowed is not None and may_be_empty:
            weights = self.op("Where", allowed, weights, self.constant(0))
        return self.op("MatMul", weights, values)

    def function(self, *results: ir.Value, like: ir.Value) -> onnx.FunctionProto:
        """Finish: the results become the op's outputs, in the element type of `like`.

        A result that bears the name of its output already has that type.
        """
        outputs = [
            x if x.name == output.name else self.op("CastLike", x, like, name=output.name)
            for x, output in zip(results, self.schema.outputs, strict=True)
        ]
        graph = ir.Graph(
            list(self.inputs.values()), outputs, nodes=self._nodes, opset_imports={"": self.opset}
        )
        attributes = [
            ir.Attr(name, _ATTRIBUTE_TYPES[a.type], None) for name, a in self.schema.attributes.items()
        ]
        function = ir.Function(self.schema.domain, self.schema.name, graph=graph, attributes=attributes)
        return ir.to_proto(function)


def resolved_length(op: str, name: str, length: int | None, max_length: int | None) -> int:
    """The length to bake masks for: the fixed one, or the longest of a dynamic one."""
    if length is not None:
        return length
    if max_length is None or max_length < 2:  # at 1 a mask would broadcast over any length instead of failing
        raise ValueError(f"{op}: {name} is dynamic, so max_length must be at least 2; it is {max_length}.")
    return max_length


_ATTRIBUTE_TYPES = {
    defs.OpSchema.AttrType.INT: ir.AttributeType.INT,
    defs.OpSchema.AttrType.FLOAT: ir.AttributeType.FLOAT,
    defs.OpSchema.AttrType.STRING: ir.AttributeType.STRING,
}
