"""Operators that treat each element by itself."""

from __future__ import annotations

from temport.exporter.graph.operators import STANDARD
from temport.exporter.native.loops import broadcast, nest
from temport.exporter.native.plan import Call, Form, NoForm, Tensor
from temport.exporter.native.sizes import ONE, ZERO, strides

VECTORS = {
    "Add": "a + b",
    "Div": "a / b",
    "Max": "max(a, b)",
    "Min": "min(a, b)",
    "Mul": "a * b",
    "Neg": "-a",
    "Relu": "activate<Activation::kRelu>(a)",
    "Sigmoid": "sigmoid(a)",
    "Sub": "a - b",
    "Tanh": "tanh(a)",
}
"""What becomes of float32 elements, a vector of them at a time."""
ELEMENTS = {
    "Add": "a + b",
    "And": "a && b",
    "Equal": "a == b",
    "Greater": "a > b",
    "GreaterOrEqual": "a >= b",
    "Less": "a < b",
    "LessOrEqual": "a <= b",
    "Mul": "a * b",
    "Neg": "-a",
    "Not": "!a",
    "Or": "a || b",
    "Sub": "a - b",
    "Where": "a ? b : c",
    "Xor": "a != b",
}
"""What becomes of other elements, one by one."""


def elementwise(call: Call) -> None:
    given = [call.input(i) for i in range(len(call.node.inputs))]
    y = call.output()
    floats = all(tensor.type == "float" for tensor in (*given, y))
    name = call.node.op_type
    if floats and name in VECTORS:
        write(call, VECTORS[name], given, y, "map_vectors")
    elif name in ELEMENTS:
        write(call, ELEMENTS[name], given, y, "map_elements")
    else:
        raise NoForm(f"for {given[0].type} it has no native form")


def cast(call: Call) -> None:
    x, y = call.input(0), call.output()
    if y.type == "bool":
        return write(call, "a != 0", [x], y, "map_elements")
    write(call, f"static_cast<{y.type}>(a)", [x], y, "map_elements")


def mod(call: Call) -> None:
    x, m, y = call.input(0), call.input(1), call.output()
    if y.type == "float" or call.attribute("fmod", 0):
        raise NoForm("of floats, or with fmod, it has no native form")
    write(call, "(a % b + b) % b", [x, m], y, "map_elements")


def integer_div(call: Call) -> None:
    if call.input(0).type == "float":
        return elementwise(call)
    write(call, "a / b", [call.input(0), call.input(1)], call.output(), "map_elements")


def write(call: Call, expression: str, given: list[Tensor], y: Tensor, how: str) -> None:
    """y = `expression` of a, b, c, which are `given` and broadcast to y."""
    operands = [broadcast(tensor.shape, y.shape) for tensor in given]
    loops = nest(y.shape, [strides(y.shape), *operands])
    reads = []
    for i, (tensor, step) in enumerate(zip(given, loops.steps()[1:], strict=True), 1):
        if step not in (ZERO, ONE):
            raise NoForm("its operands are broadcast in a way that has no native form")
        reads.append(f"{'Same' if step == ZERO else 'Each'}<{tensor.type}>{{{loops.at(tensor.code, i)}}}")
    names = ", ".join(f"auto {letter}" for letter in "abc"[: len(given)])
    call.line(
        *loops.around(
            [
                f"{how}({loops.inner.code}, {loops.at(y.code, 0)}, "
                f"[]({names}) {{ return {expression}; }}, {', '.join(reads)});"
            ]
        )
    )


FORMS: dict[str, Form] = {
    **dict.fromkeys(sorted((VECTORS.keys() | ELEMENTS.keys()) & STANDARD.keys()), elementwise),
    "Cast": cast,
    "Div": integer_div,
    "Mod": mod,
}
