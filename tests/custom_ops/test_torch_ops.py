"""Every torch op over the cases of its table: values, gradients, shapes without data, and its way into a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from case import EPS, Case, OpCases, error, largest, tensors_of
from cases import TABLES
from hypothesis import HealthCheck, given, settings
from one_node import open_shapes

CALLED = {op: table for op, table in TABLES.items() if table.op.torch_op is not None}
OPS = pytest.mark.parametrize("op", CALLED)
CASES = [
    (op, case)
    for op, t in CALLED.items()
    for case in t.cases
    if case.forms and all(x.size for x in case.inputs.values())
]
"""Those without a form are there for the tiles of the kernel."""
SMALL = [(op, case) for op, case in CASES if sum(x.size for x in case.inputs.values()) < 250]
MIDDLE = [(op, case) for op, case in CASES if sum(x.size for x in case.inputs.values()) < 30_000]


def judged(table: OpCases) -> list[str]:
    """Outputs that have a derivative: a difference of what is equal but for rounding has none."""
    return [name for name in table.outputs if name not in table.floor]


def floats(table: OpCases, case: Case) -> dict[str, torch.Tensor]:
    tensors = tensors_of(case, "float64")
    return {name: x.requires_grad_() for name, x in tensors.items() if x.is_floating_point()}


def called(table: OpCases, case: Case) -> Callable[..., tuple[torch.Tensor, ...]]:
    """The op as a function of its floating-point tensors."""
    names = list(floats(table, case))

    def compute(*given_: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tensors = tensors_of(case, "float64") | dict(zip(names, given_, strict=True))
        outputs = table.call(*(tensors.get(name) for name in table.inputs), **case.attributes)
        found = dict(zip(table.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
        return tuple(found[name] for name in judged(table))

    return compute


def compare(table: OpCases, case: Case) -> None:
    exact = case.rounded("float64")
    for (name, y), truth in zip(
        table.of_torch_op(exact, "float64").items(), table.truth(exact).values(), strict=True
    ):
        assert y.shape == truth.shape
        assert error(y.numpy(), truth) <= 1e-11 * max(1.0, largest(truth)), name


@pytest.mark.parametrize(("op", "case"), CASES, ids=str)
def test_the_op_is_the_definition_in_double(op: str, case: Case) -> None:
    """And it writes into none of its inputs."""
    table = CALLED[op]
    before = {name: x.copy() for name, x in case.inputs.items()}
    compare(table, case)
    for name, x in before.items():
        np.testing.assert_array_equal(case.inputs[name], x)


@OPS
def test_the_op_anywhere(op: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(case=CALLED[op].anywhere)
    def check(case: Case) -> None:
        compare(CALLED[op], case)

    check()


@pytest.mark.parametrize(("op", "case"), MIDDLE, ids=str)
def test_the_error_in_each_type(op: str, case: Case) -> None:
    """Sums are float32 at least: off by twice the peer's error and four roundings of the largest output."""
    table = CALLED[op]
    for dtype in ("float32", "float16", "bfloat16"):
        outputs = table.of_torch_op(case.rounded(dtype), dtype)
        got = {name: outputs[name] for name in judged(table)}
        assert {y.dtype for y in got.values()} == {getattr(torch, dtype)}
        excess = table.excess({n: y.double().numpy() for n, y in got.items()}, case, dtype, 4, least=1.0)
        assert max(excess.values()) <= 1, (dtype, excess)


@pytest.mark.parametrize(("op", "case"), SMALL, ids=str)
def test_gradients_are_finite_differences(op: str, case: Case) -> None:
    table = CALLED[op]
    assert torch.autograd.gradcheck(called(table, case), list(floats(table, case).values()))


def gradients(compute: Callable[..., Any], given_: list[torch.Tensor]) -> list[torch.Tensor]:
    """Of a weighted sum of all outputs."""
    generator = torch.Generator().manual_seed(0)
    total = sum(
        (y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in compute(*given_)
    )
    found = torch.autograd.grad(total, given_, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, given_, strict=True)]


@pytest.mark.parametrize(("op", "case"), MIDDLE, ids=str)
def test_gradients_are_those_of_the_peer(op: str, case: Case) -> None:
    """What torch differentiates of an independent computation."""
    table = CALLED[op]
    values = floats(table, case)

    def peer(*given_: torch.Tensor) -> list[torch.Tensor]:
        tensors = tensors_of(case, "float64") | dict(zip(values, given_, strict=True))
        found = dict(zip(table.outputs, table.peer(tensors, case.attributes), strict=True))
        return [found[name] for name in judged(table)]

    mine, truth = (gradients(f, list(values.values())) for f in (called(table, case), peer))
    for name, g, expected in zip(values, mine, truth, strict=True):
        assert error(g.numpy(), expected.numpy()) <= 1e3 * EPS["float64"] * max(
            1.0, largest(expected.numpy())
        ), name


@OPS
def test_registration_is_sound(op: str) -> None:
    """Shapes without data, autograd, dispatch and compilation at open sizes, as torch checks them."""
    table = CALLED[op]
    case = table.cases[0]
    tensors = tensors_of(case, "float64") | floats(table, case)
    assert table.op.torch_op is not None
    attributes = {
        argument.name: bool(case.attributes[argument.name])
        if str(argument.type) == "bool"
        else case.attributes[argument.name]
        for argument in table.op.torch_op._schema.arguments[len(table.inputs) :]
    }
    inputs = (tensors.get(name) for name in table.inputs)
    torch.library.opcheck(table.op.torch_op, (*inputs, *attributes.values()))


@OPS
def test_a_second_derivative_is_refused(op: str) -> None:
    table = CALLED[op]
    values = list(floats(table, table.cases[0]).values())
    with pytest.raises(NotImplementedError, match=f"{op} has no second derivative"):
        y = called(table, table.cases[0])(*values)[0]
        (grad,) = torch.autograd.grad(y.sum(), values[:1], create_graph=True)
        grad.sum().backward()


@OPS
def test_a_wrong_op_is_seen(op: str) -> None:
    """The suite itself: another attribute is another op."""
    table = CALLED[op]
    case = table.cases[0]
    truth = table.truth(case.rounded("float64"))[table.outputs[0]]
    wider = {
        name: x + 1 if name in ("window", "block_size") else x * 1.001 if name == "scale" else x
        for name, x in case.attributes.items()
    }
    wider |= {"normalizer": "none"} if "normalizer" in wider else {}
    got = table.of_torch_op(Case(case.inputs, wider), "float64")[table.outputs[0]]
    assert error(got.numpy(), truth) > 1e-5


class Layer(torch.nn.Module):
    """The op as a model calls it."""

    def __init__(self, table: OpCases, case: Case) -> None:
        super().__init__()
        self.table, self.attributes, self.names = table, dict(case.attributes), list(case.inputs)

    def forward(self, *tensors: torch.Tensor) -> Any:
        given_ = dict(zip(self.names, tensors, strict=True))
        return self.table.call(*(given_.get(name) for name in self.table.inputs), **self.attributes)


@pytest.fixture(scope="module", params=list(CALLED))
def traced(request: pytest.FixtureRequest) -> tuple[OpCases, Case, torch.export.ExportedProgram]:
    """With the axes that the table leaves open."""
    table = CALLED[request.param]
    case = table.cases[0]
    dims: dict[str, Any] = {}
    shapes = []
    for name, shape in open_shapes(table, case).items():
        assert len(shape) == case.inputs[name].ndim
        shapes.append(
            {
                i: dims.setdefault(s, torch.export.Dim(s, min=1, max=64))
                for i, s in enumerate(shape)
                if isinstance(s, str)
            }
        )
    example = tuple(tensors_of(case, "float32").values())
    program = torch.export.export(Layer(table, case).eval(), example, dynamic_shapes=(tuple(shapes),))
    return table, case, program


def test_a_trace_keeps_the_op_whole(traced: tuple[OpCases, Case, torch.export.ExportedProgram]) -> None:
    table, case, program = traced
    assert [n for n in program.graph.nodes if n.target is table.op.torch_op]
    tensors = tuple(tensors_of(case, "float32").values())
    mine, whole = program.module()(*tensors), Layer(table, case)(*tensors)
    for one, other in zip(*((x if isinstance(x, tuple) else (x,)) for x in (mine, whole)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore::UserWarning:torch.*", "ignore::FutureWarning:copyreg")
def test_it_becomes_one_node_that_writes_every_attribute(
    traced: tuple[OpCases, Case, torch.export.ExportedProgram],
) -> None:
    """With absent inputs empty, no Split around packed ones, and batch and length by name."""
    table, case, program = traced
    translations = {table.op.torch_op: table.op.translate()}
    exported = torch.onnx.export(
        program, dynamo=True, opset_version=18, custom_translation_table=translations, verbose=False
    )
    assert exported is not None
    proto = exported.model_proto
    onnx.checker.check_model(proto, full_check=True)
    (node,) = proto.graph.node
    assert (node.op_type, node.domain) == (table.op.name, table.op.domain)
    written = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert written.keys() == table.op.schema.attributes.keys()
    for name, value in written.items():
        expected = case.attributes[name]
        assert value == pytest.approx(expected.encode() if isinstance(expected, str) else expected)
    given_ = [name in case.inputs for name in table.inputs]
    assert [bool(name) for name in node.input] + [False] * (len(given_) - len(node.input)) == given_
    first = proto.graph.output[0].type.tensor_type.shape.dim[0]
    assert first.dim_param
