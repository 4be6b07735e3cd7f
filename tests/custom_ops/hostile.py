"""Models that nobody means, by op: every attribute, input and output of its first cases spoilt, one at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import onnx
from case import Array, Case, OpCases
from one_node import NODE, model
from onnx import TensorProto, helper, numpy_helper
from onnx.defs import OpSchema

LEAST, MOST = -(2**63), 2**63 - 1
WRAPS = (2**64 + 2) // 3
"""Three times as much is 2 in 64 bits, and three times one less is -1."""
INTEGERS = (LEAST, -1, 0, 1, 2**20 + 1, 2**31, 2**40 + 1, 2**62, WRAPS, WRAPS - 1, MOST - 1, MOST)
NUMBERS = (0.0, -0.0, -1.0, 1e-45, 3.4e38, -3.4e38, float("inf"), float("nan"))
WILD = (np.nan, np.inf, -np.inf, 3e38, 1e-42, -1.0, 0.0)
TEXTS = ("", "nope", "relu\0x", b"\xff\xfe", "A" * 2**16, "\x1b[31mred")
OTHER_KINDS = ([2, 2], [2.0], "2", 2.0, 2, numpy_helper.from_array(np.array(2)))
KINDS = {
    OpSchema.AttrType.INT: (int, INTEGERS),
    OpSchema.AttrType.FLOAT: (float, NUMBERS),
    OpSchema.AttrType.STRING: (str, TEXTS),
}


@dataclass(frozen=True)
class Hostile:
    """One model and what is fed to it.

    says    what a refusal has to hold, a regular expression
    table   the op, and
    case    what its definition is asked for where the model runs; None where it is only to end well
    told    whether the shapes that the model states are true, and those inferred must be
    """

    name: str
    proto: onnx.ModelProto
    feeds: Mapping[str, Array] = field(default_factory=dict)
    says: str = NODE
    table: OpCases | None = None
    case: Case | None = None
    told: bool = True


def bases(table: OpCases) -> list[Case]:
    """The first case, and a small one with as many inputs as there are."""
    small = [case for case in table.cases if 0 < sum(x.size for x in case.inputs.values()) < 5000]
    full = max(small, key=lambda case: len(case.inputs))
    return [table.cases[0]] if len(full.inputs) == len(table.cases[0].inputs) else [table.cases[0], full]


def alone(table: OpCases, case: Case, name: str, exact: bool = True, **options: Any) -> Hostile:
    """The case as a model of its own, whose inputs are declared as they are."""
    feeds = {n: x for n, x in case.inputs.items() if n not in options.get("constants", ())}
    proto = model(table, case, **options)
    return Hostile(f"{table.op.name}-{name}", proto, feeds, NODE, table, case if exact else None)


def attributes(table: OpCases, case: Case) -> Iterator[Hostile]:
    for name, schema in table.op.schema.attributes.items():
        own, values = KINDS[schema.type]
        for i, value in enumerate(values):
            exact = not isinstance(value, float) or abs(value) < 1e30
            yield alone(table, Case(case.inputs, {**case.attributes, name: value}), f"{name}-{i}", exact)
        for i, value in enumerate(x for x in OTHER_KINDS if not isinstance(x, own)):
            wrong = Case(case.inputs, {**case.attributes, name: value})
            yield refused(alone(table, wrong, f"{name}-kind{i}"))
        left = {n: x for n, x in case.attributes.items() if n != name}
        yield alone(table, Case(case.inputs, left), f"{name}-missing")


def stored_weights(table: OpCases) -> list[str]:
    """Inputs that may have another floating-point type than the first one."""
    first, *others = table.op.schema.inputs
    return [p.name for p in others if first.types < p.types]


def refused(hostile: Hostile) -> Hostile:
    """No definition takes it: it must not run."""
    return replace(hostile, case=Case({}, {}))


def shapes(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    yield ()
    yield (*shape, 1)
    yield (1, *shape)
    yield shape[:-1]
    for axis, size in enumerate(shape):
        for other in {0, 1, size + 1, 3 * size}:
            yield (*shape[:axis], other, *shape[axis + 1 :])


def inputs(table: OpCases, case: Case) -> Iterator[Hostile]:
    for index, (name, x) in enumerate(case.inputs.items()):
        for i, shape in enumerate(shapes(x.shape)):
            given = {**case.inputs, name: np.resize(x, shape)}
            yield alone(table, Case(given, case.attributes), f"{name}-shape{i}")
            if index > 0 and i % 3 == 0:  # some are read when the model is loaded
                yield alone(table, Case(given, case.attributes), f"{name}-constant{i}", constants=(name,))
        for kind in (np.float16, np.float64, np.int32):
            given = {**case.inputs, name: x.astype(kind)}
            other = alone(table, Case(given, case.attributes), f"{name}-{np.dtype(kind)}")
            yield other if name in stored_weights(table) and kind == np.float16 else refused(other)
        rest = {n: y for n, y in case.inputs.items() if n != name}
        yield alone(table, Case(rest, case.attributes), f"{name}-missing")
        yield unknown_rank(table, case, name)
        if x.dtype == np.int64:
            for i, value in enumerate(INTEGERS):
                given = {**case.inputs, name: np.full_like(x, value)}
                yield alone(table, Case(given, case.attributes), f"{name}-value{i}")
        if x.dtype == np.bool_:
            yield bytes_of_mask(table, case, name)


def unknown_rank(table: OpCases, case: Case, name: str) -> Hostile:
    """What is inferred from the others must still be true."""
    made = alone(table, case, f"{name}-unknown")
    for value in made.proto.graph.input:
        if value.name == name:
            value.type.tensor_type.ClearField("shape")
    return made


def bytes_of_mask(table: OpCases, case: Case, name: str) -> Hostile:
    """A file may hold any byte for a truth value."""
    x = case.inputs[name]
    held = (np.arange(x.size) * 37 % 256).astype(np.uint8).reshape(x.shape)
    true = Case({**case.inputs, name: held != 0}, case.attributes)
    made = alone(table, true, f"{name}-bytes", constants=(name,))
    (constant,) = (c for c in made.proto.graph.initializer if c.name == name)
    constant.raw_data = held.tobytes()
    return made


def same(table: OpCases, case: Case, one: str, other: str) -> Hostile:
    """Two inputs that are one tensor."""
    case = Case({**case.inputs, other: case.inputs[one]}, case.attributes)
    made = alone(table, case, f"{one}-is-{other}")
    for index, name in enumerate(made.proto.graph.node[0].input):
        if name == other:
            made.proto.graph.node[0].input[index] = one
    return made


def outputs(table: OpCases, case: Case) -> Iterator[Hostile]:
    for i, name in enumerate(table.outputs):
        for empty in (True, False):
            kept = [n for n in table.outputs if n != name] if empty else table.outputs[:i]
            made = alone(table, case, f"without-{name}-{empty}", outputs=kept)
            (node,) = made.proto.graph.node
            if empty:
                del node.output[:]
                node.output.extend("" if n == name else n for n in table.outputs)
            if not kept:
                identity = helper.make_node("Identity", [table.inputs[0]], ["other"])
                made.proto.graph.node.append(identity)
                made.proto.graph.output.append(
                    helper.make_tensor_value_info("other", TensorProto.FLOAT, None)
                )
            yield made
    more = alone(table, case, "one-more-output", exact=False)
    more.proto.graph.node[0].output.append("more")
    yield more
    more = alone(table, case, "one-more-input", exact=False)
    given = more.proto.graph.node[0].input
    given.extend([""] * (len(table.inputs) - len(given)) + [table.inputs[0]])
    yield more


def around(table: OpCases, case: Case) -> Iterator[Hostile]:
    """Domains, names, declared shapes, and graphs that hold the node."""
    op, first = table.op.name, table.inputs[0]
    for i, domain in enumerate(("temport.17", "temport.02", "temport.", "Temport")):
        made = alone(table, case, f"domain{i}", exact=False)
        made.proto.graph.node[0].domain = made.proto.opset_import[1].domain = domain
        yield replace(made, says=op)
    for i, name in enumerate(("", "A" * 200, "\x1b]0;title\x07", "%s%n%n", "\u202etxt")):
        made = alone(
            table, Case(case.inputs, {**case.attributes, "num_heads": 0, "taps": 0, "groups": 0}), f"name{i}"
        )
        made.proto.graph.node[0].name = name
        yield replace(made, says=re.escape(name) if name.isprintable() else op)

    lie = alone(table, case, "declared-otherwise")
    graph, x, last = lie.proto.graph, case.inputs[first], table.outputs[0]
    graph.node[0].input[0], graph.node[0].output[0] = "reshaped", "made"
    graph.node.insert(0, helper.make_node("Reshape", [first, "sizes"], ["reshaped"]))
    graph.node.append(helper.make_node("Identity", ["made"], [last]))
    graph.input.append(helper.make_tensor_value_info("sizes", TensorProto.INT64, [x.ndim]))
    for name, shape in (("reshaped", (x.shape[0] + 1, *x.shape[1:])), ("made", [1] * x.ndim)):
        graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    yield replace(lie, feeds={**lie.feeds, "sizes": np.array(x.shape)}, told=False)

    spoilt = {
        n: y if y.dtype != np.float32 else np.resize(np.float32(WILD), y.shape)
        for n, y in case.inputs.items()
    }
    yield alone(table, Case(spoilt, case.attributes), "wild", exact=False)
    yield from (same(table, case, *pair) for pair in combinations(case.inputs, 2))

    inner = alone(table, case, "own-body")
    signature = {"attributes": list(case.attributes), "opset_imports": list(inner.proto.opset_import)}
    again = inner.proto.graph.node[0]
    inner.proto.functions.append(
        helper.make_function(table.op.domain, op, again.input, again.output, [again], **signature)
    )
    yield replace(inner, says=op)

    loop = alone(table, case, "in-a-loop", exact=False)
    node = loop.proto.graph.node[0]
    go = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    went = helper.make_tensor_value_info("went", TensorProto.BOOL, [])
    trip = helper.make_tensor_value_info("trip", TensorProto.INT64, [])
    body = helper.make_graph(
        [node, helper.make_node("Identity", ["go"], ["went"])],
        "body",
        [trip, go],
        [went, *loop.proto.graph.output],
    )
    scans = [f"all_{o.name}" for o in loop.proto.graph.output]
    del loop.proto.graph.node[:], loop.proto.graph.output[:]
    loop.proto.graph.node.append(helper.make_node("Loop", ["trips", "truth"], scans, body=body))
    loop.proto.graph.initializer.append(numpy_helper.from_array(np.array(3), "trips"))
    loop.proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "truth"))
    loop.proto.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in scans)
    yield loop
