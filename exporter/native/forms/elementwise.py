"""Operators that treat each element by itself."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from string import Formatter, ascii_lowercase
from typing import Any

import onnx

from temport.exporter.graph import operators
from temport.exporter.graph.elementwise import ELEMENTWISE
from temport.exporter.graph.operator_row import Native
from temport.exporter.native.call import Call, Form
from temport.exporter.native.loops import broadcast, nest
from temport.exporter.native.sizes import ONE, ZERO, strides
from temport.exporter.native.tensors import NoForm, Tensor

_POWERS = {-1.0: "1.0f / a", 0.5: "sqrt(a)", 1.0: "a", 2.0: "a * a", 3.0: "a * a * a"}
"""Powers of floats with these exponents."""


def elementwise(call: Call) -> None:
    row = operators.of(call.node).native
    assert row is not None, f"{call.node.op_type} has no expression"
    _write(call, row)


def pow_(call: Call) -> None:
    if call.input(0).type == "float" and call.is_constant(1) and call.constant(1).size == 1:
        known = _POWERS.get(float(call.constant(1).item()))
        if known is not None:
            return _write(call, Native(known))
    elementwise(call)


def _write(call: Call, row: Native) -> None:
    there = {ascii_lowercase[i]: call.input(i) for i in range(len(call.node.inputs)) if call.has(i)}
    y = call.output()
    vectors = row.floats is not None and {y.type, *(x.type for x in _used(row.floats, there).values())} == {
        "float"
    }
    expression = row.floats if vectors else row.others
    if expression is None:
        raise NoForm(f"of {next(iter(there.values())).type} it has no native form")
    used = _used(expression, there)
    letters = ascii_lowercase[: len(call.node.inputs)]
    text = expression.format(
        inputs=", ".join(letter if letter in there else "Missing()" for letter in letters),
        type=y.type,
        **{name: _literal(_attribute(call, name)) for name in _fields(expression) - {"inputs", "type"}},
    )
    write(call, text, list(used.values()), y, "map_vectors" if vectors else "map_elements", list(used))


def _used(expression: str, there: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs that an expression reads; of the others not even the shape has to fit."""
    if "{inputs}" in expression:
        return there
    return {letter: x for letter, x in there.items() if re.search(rf"\b{letter}\b", expression)}


def _fields(expression: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(expression) if name}


def _attribute(call: Call, name: str) -> Any:
    found = call.attribute(name)
    return _default(call.node.op_type, name) if found is None else found


@cache
def _default(operator: str, name: str) -> Any:
    """Of an attribute, as the schema has it."""
    default = onnx.helper.get_attribute_value(onnx.defs.get_schema(operator).attributes[name].default_value)
    return default.decode() if isinstance(default, bytes) else default


def _literal(value: Any) -> str:
    """In C++."""
    if isinstance(value, float):
        return (
            f"{value!r}f"
            if math.isfinite(value)
            else f"{'-' if value < 0 else ''}__builtin_{'nan' if value != value else 'inf'}f()"
        )
    return str(value)


def write(
    call: Call, expression: str, given: Sequence[Tensor], y: Tensor, how: str, names: Sequence[str] = "abc"
) -> None:
    """y = `expression` of elements of `given`, which have these names and are broadcast to y."""
    operands = [broadcast(tensor.shape, y.shape) for tensor in given]
    loops = nest(y.shape, [strides(y.shape), *operands])
    reads = []
    for i, (tensor, step) in enumerate(zip(given, loops.steps()[1:], strict=True), 1):
        if step not in (ZERO, ONE):
            raise NoForm("its operands are broadcast in a way that has no native form")
        reads.append(f"{'Same' if step == ZERO else 'Each'}<{tensor.type}>{{{loops.at(tensor.code, i)}}}")
    parameters = ", ".join(f"auto {name}" for name in names[: len(given)])
    call.line(
        *loops.around(
            [
                f"{how}({loops.inner.code}, {loops.at(y.code, 0)}, "
                f"[]({parameters}) {{ return {expression}; }}, {', '.join(reads)});"
            ]
        )
    )


FORMS: dict[str, Form] = {
    **{name: elementwise for name, row in ELEMENTWISE.items() if row.native is not None},
    "Pow": pow_,
}
