"""float16 or bfloat16: a typed pass over the graph, since strongly typed runtimes compute what the graph
says.

Matrix products and attention compute in the half type (attention takes its softmax in float32 inside);
element-wise operators and data movement follow their inputs; everything else stays float32: softmax,
normalisation, reductions, the depthwise convolution of a moving average, recurrences, exponentials and divisions,
graphs inside a node, arithmetic with what a stream carries, and any operator whose row in the operator table says no
more. Inputs and outputs of the model keep their types.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from temport.exporter.declare.declaration import AFTER, BEFORE, HALF
from temport.exporter.errors import UserError
from temport.exporter.graph import operators
from temport.exporter.graph.operator_row import Half
from temport.exporter.passes.notes import Notes

_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16}


@dataclass(frozen=True)
class PrecisionChange:
    """What the pass did.

    half      names of the tensors that are now in the half type
    float32   operators that still compute in float32, with their numbers
    casts     conversions inserted at the borders
    """

    precision: str
    half: tuple[str, ...]
    float32: dict[str, int]
    casts: int


def lower_precision(model: ir.Model, precision: str, notes: Notes | None = None) -> PrecisionChange:
    """Retype the float32 graph of `model` in place; run it before bodies are attached.

    precision  `float16` or `bfloat16`

    Raises ValueError for another one, `UserError` for a weight that the half type cannot hold.
    """
    if precision not in HALF:
        raise ValueError(f"{precision!r} is no half precision; they are {', '.join(HALF)}")
    return _Retyping(model, precision, notes).run()


class _Retyping:
    def __init__(self, model: ir.Model, precision: str, notes: Notes | None) -> None:
        self.notes = notes
        self.model, self.graph, self.precision = model, model.graph, precision
        self.half_type = ir.DataType[precision.upper()]
        self.opset = model.opset_imports.get("", onnx.defs.onnx_opset_version())
        self.converted: dict[tuple[str, ir.DataType], ir.Value] = {}
        self.half: list[str] = []
        self.float32: Counter[str] = Counter()
        self.casts = 0
        after = {value.name for value in self.graph.outputs}
        self.carried = {
            value
            for value in self.graph.inputs
            if (name := value.name or "").startswith(BEFORE) and AFTER + name.removeprefix(BEFORE) in after
        }

    def run(self) -> PrecisionChange:
        wanted = {id(value): value.dtype for value in self.graph.outputs}
        for node in list(self.graph):
            self._keep_inside(node)
            kind = self._kind(node)
            if kind is None:
                continue
            for index, value in enumerate(node.inputs):
                if value is not None and value.dtype in _FLOATS and value.dtype != kind:
                    node.replace_input_with(index, self._as(value, kind, node))
            if kind == self.half_type:
                for output in node.outputs:
                    if output.dtype in _FLOATS:
                        output.type = ir.TensorType(kind)
                        self.half.append(output.name or "")
            else:
                self.float32[node.op_type] += 1
                if self.notes is not None and operators.known(node) is None:
                    self.notes.add(
                        "precision", node, "has no row in the operator table, so it stays in float32"
                    )
        for index, value in enumerate(self.graph.outputs):
            if value.dtype != wanted[id(value)]:
                self._restore_output(index, value)
        common.RemoveUnusedNodesPass()(self.model)
        return PrecisionChange(self.precision, tuple(self.half), dict(self.float32.most_common()), self.casts)

    def _keep_inside(self, node: ir.Node) -> None:
        """The graphs inside a node stay in float32, and what they read of this graph is given to them so."""
        inside = [n for graph in graphs_inside(node) for n in graph.all_nodes()]
        for user in inside:
            for index, value in enumerate(user.inputs):
                if value is not None and value.dtype == self.half_type and value.graph is self.graph:
                    user.replace_input_with(index, self._as(value, ir.DataType.FLOAT, node))
        if inside and self._kind(node) is None:
            self.float32[node.op_type] += 1

    def _kind(self, node: ir.Node) -> ir.DataType | None:
        """The type `node` computes in; None where no float flows through it."""
        kind = self._wanted(node)
        if kind != self.half_type or _takes(node.op_type, node.domain, self.opset, self.precision):
            return kind
        if self.notes is not None:
            self.notes.add(
                "precision", node, f"has no {self.precision} in opset {self.opset}, so it stays in float32"
            )
        return ir.DataType.FLOAT

    def _wanted(self, node: ir.Node) -> ir.DataType | None:
        """The type by the operator table alone."""
        floats = [v for v in node.inputs if v is not None and v.dtype in _FLOATS]
        half = operators.of(node).half
        if not floats or half is Half.UNTYPED:
            return None
        if half is Half.SUMS and not _depthwise(node):
            return self.half_type
        flowing = [v for v in floats if not _is_constant(v)]
        if half is Half.FOLLOWS and self._carries(node, flowing):
            return ir.DataType.FLOAT
        if half is Half.FOLLOWS and any(v.dtype == self.half_type for v in flowing):
            constants = [v for v in floats if _is_constant(v)]
            return self.half_type if all(self._holds(v) for v in constants) else ir.DataType.FLOAT
        return ir.DataType.FLOAT

    def _carries(self, node: ir.Node, flowing: list[ir.Value]) -> bool:
        """Whether it computes with what a stream carries from frame to frame: in half, a sum of many frames would stand
        still."""
        row, carried = operators.of(node), any(v in self.carried for v in flowing)
        if carried and (row.renames or not row.moves):
            self.carried.update(node.outputs)
        return carried and not row.moves

    def _holds(self, value: ir.Value) -> bool:
        """Whether the half type keeps every element of a constant finite and apart from 0."""
        array = _array(value).astype(np.float32)
        with np.errstate(over="ignore"):
            rounded = array.astype(self.half_type.numpy()).astype(np.float32)
        return bool(
            np.all(np.isfinite(rounded) == np.isfinite(array)) and np.all((rounded == 0) == (array == 0))
        )

    def _as(self, value: ir.Value, kind: ir.DataType, user: ir.Node) -> ir.Value:
        key = (value.name or "", kind)
        if key not in self.converted:
            constant = _is_constant(value)
            self.converted[key] = self._constant(value, kind) if constant else self._cast(value, kind, user)
        return self.converted[key]

    def _constant(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        array = _array(value)
        with np.errstate(over="ignore"):
            rounded = array.astype(kind.numpy())
        if not np.all(np.isfinite(rounded.astype(np.float32)) == np.isfinite(array.astype(np.float32))):
            raise UserError(
                f"weight {value.name} reaches {np.abs(array).max():.3g}, which {self.precision} cannot hold; "
                "use --precision bf16 or fp32"
            )
        name = f"{value.name}.{self.precision}"
        new = ir.Value(
            name=name, shape=value.shape, type=ir.TensorType(kind), const_value=ir.tensor(rounded, name=name)
        )
        self.graph.register_initializer(new)
        return new

    def _cast(self, value: ir.Value, kind: ir.DataType, user: ir.Node) -> ir.Value:
        node = ir.Node("", "Cast", [value], ir.convenience.convert_attributes({"to": kind}), num_outputs=1)
        node.name = f"{value.name}/to_{kind.name.lower()}"
        out = node.outputs[0]
        out.name, out.type, out.shape = f"{node.name}/out", ir.TensorType(kind), value.shape
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(user, node)
        else:
            self.graph.insert_after(producer, node)
        self.casts += 1
        return out

    def _restore_output(self, index: int, value: ir.Value) -> None:
        """The model's output keeps its name and type; the tensor behind it becomes `<name>.<precision>`."""
        name = value.name
        producer = value.producer()
        assert producer is not None and name is not None
        value.name = f"{name}.{self.precision}"
        self.half[self.half.index(name)] = value.name
        out = self._cast(value, ir.DataType.FLOAT, producer)
        out.name = name
        self.graph.outputs[index] = out


def graphs_inside(node: ir.Node) -> list[ir.Graph]:
    """The branches or the body of a node of control flow."""
    graphs = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            graphs.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs += attribute.as_graphs()
    return graphs


@cache
def _takes(op_type: str, domain: str, opset: int, element_type: str) -> bool:
    """Whether an operator of that opset has inputs of a type: bfloat16 came to some of them late."""
    if domain not in ("", "ai.onnx") or not onnx.defs.has(op_type):
        return True
    schema = onnx.defs.get_schema(op_type, opset)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    first = schema.inputs[0].type_str if schema.inputs else ""
    return f"tensor({element_type})" in allowed.get(first, [f"tensor({element_type})"])


def _depthwise(node: ir.Node) -> bool:
    group = node.attributes.get("group")
    return node.op_type == "Conv" and group is not None and group.as_int() > 1


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    return value.is_initializer() or (producer is not None and producer.op_type == "Constant")


def _array(value: ir.Value) -> np.ndarray:
    tensor = ir.convenience.get_const_tensor(value)
    assert tensor is not None
    return tensor.numpy()
