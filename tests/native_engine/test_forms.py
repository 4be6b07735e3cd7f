"""Every native form against ONNX's own evaluator in float64, many nodes in one engine, at several sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from temport.exporter.declare.declaration import Declaration
from temport.exporter.errors import UserError
from temport.exporter.graph import operators
from temport.exporter.graph.layers import keep_layer
from temport.exporter.graph.operator_row import Native
from temport.exporter.native import forms
from temport.exporter.native.einsum import spell_einsums
from temport.exporter.native.graph import prepared
from temport.exporter.native.isa import ISAS
from temport.exporter.native.plan import Plan
from temport.exporter.native.shapes import complete_shapes
from temport.exporter.native.sizes import size_of
from tests.native_engine import (
    elementwise_cases,
    movement_cases,
    product_cases,
    recurrent_layer_cases,
    reduction_cases,
    window_cases,
)
from tests.native_engine.engine_of_graphs import (
    AS_USERS,
    AXES,
    OPSET,
    QUICK,
    SIZES,
    Cases,
    case,
    declared,
    model_of,
)
from tests.native_engine.movement_cases import ints

GROUPS = (
    elementwise_cases.CASES,
    movement_cases.CASES,
    product_cases.CASES,
    reduction_cases.CASES,
    window_cases.CASES,
    recurrent_layer_cases.CASES,
)
"""In one engine: its kernels are most of what a compiler reads."""
COVERED = (
    forms.elementwise,
    forms.movement,
    forms.normalise,
    forms.picks,
    forms.recurrent,
    forms.reduce,
    forms.windows,
)
"""The files whose forms have their cases here."""


@pytest.fixture(
    scope="module", params=[f"{QUICK} -ftrapv", pytest.param(AS_USERS, marks=pytest.mark.thorough)]
)
def cases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(GROUPS, tmp_path_factory.mktemp("forms"), request.param)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_form_gives_what_onnx_says(cases: Cases, sizes: dict[str, int]) -> None:
    assert [line for seed in range(2) for line in cases.wrong(sizes, seed)] == []


def test_every_form_has_a_case() -> None:
    """Each of these files, but for our own ops, which the bundles of the architectures have."""
    has = {name for file in COVERED for name in file.FORMS} & operators.STANDARD.keys()
    assert has - {case.op for group in GROUPS for case in group} == set()


def test_every_operator_has_a_form_or_a_reason() -> None:
    defined = {op for op in operators.STANDARD if onnx.defs.get_schema(op).has_context_dependent_function}
    known = forms.FORMS.keys() | forms.REFUSED.keys() | defined
    assert operators.STANDARD.keys() - known == set()
    assert forms.FORMS.keys() & forms.REFUSED.keys() == set()


def test_a_wrong_form_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One of every kind: an expression, a place, a sum, and a function that is right nearly everywhere."""

    def spoiled(name: str, change: Callable[[str], str]) -> None:
        def form(call: Any) -> None:
            first = len(call.plan.lines)
            right(call)
            call.plan.lines[first:] = map(change, call.plan.lines[first:])

        right = forms.FORMS[name]
        monkeypatch.setitem(forms.FORMS, name, form)

    spoiled("Slice", lambda line: line.replace("slice_start(1,", "slice_start(0,"))
    spoiled("ReduceSum", lambda line: line.replace("<Sums>", "<Means>"))
    spoiled("CumSum", lambda line: line.replace("running_sums<false", "running_sums<true"))
    row = operators.Operator(native=Native("select(magnitude(a) > 4.0f, a, tanh(a))"))
    monkeypatch.setitem(operators.STANDARD, "Tanh", row)
    wrong = [
        case("Slice", ("n", 5), ints(1), ints(4), ints(1)),
        case("ReduceSum", ("n", 5), ints(1)),
        case("CumSum", ("n", 5), np.array(1)),
        case("Tanh", ("n", 500)),
    ]
    found = Cases([[*wrong, case("Exp", ("n", 5))]], tmp_path).wrong(SIZES[1])
    assert [line.split()[0] for line in found] == [each.op for each in wrong]


def _refusal(model: onnx.ModelProto) -> str:
    declaration: Declaration = declared(model, AXES)
    given = ir.from_proto(model)
    for node in given.graph:
        keep_layer(node, "encoder.2")
    with pytest.raises(UserError) as refused:
        Plan(prepared(given, declaration.axes), declaration, ISAS["portable"], forms.FORMS)
    return str(refused.value)


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (case("Conv", (1, 2, 5), (3, 2, 2)), "Conv in encoder.2: its input 1 is no constant"),
        (case("Conv", (1, 2, 5, 5, 5), reduction_cases.floats(3, 2, 2, 2, 2)), "it has 3 spatial axes"),
        (case("MaxPool", (1, 2, 5), kernel_shape=[2], outputs=2), "the places of what it picks"),
        (recurrent_layer_cases.layer("LSTM", clip=3.0), "LSTM in encoder.2: it has clip"),
        (recurrent_layer_cases.layer("GRU", activations=["Relu", "Tanh"]), "its activations are Relu, Tanh"),
        (case("LayerNormalization", (3, "n"), ("n",)), "the width of its rows is open"),
        (case("Slice", ("n", 5), ints(1), ints(-1), ints(0)), "does not follow from the open axes"),
        (case("Sqrt", elementwise_cases.Given((3,), "float64")), "has element type DOUBLE"),
        (case("Einsum", (3, 3), (3, 3), equation="ii,ij->j"), "no form of Einsum in encoder.2, for it is no product"),
        (case("Det", (3, 3)), "no form of Det in encoder.2"),
    ],
    ids=lambda value: value.op if hasattr(value, "op") else "",
)  # fmt: skip
def test_what_has_no_form_is_refused_by_its_layer_with_a_reason(refused: Any, reason: str) -> None:
    assert reason in _refusal(model_of(refused, ""))


def test_a_weight_is_stored_once() -> None:
    """As panels, and not as the file has it too; a constant that is read where it lies, as it is."""
    for each, floats in (
        (case("MatMul", (1, 64), reduction_cases.floats(64, 48)), 64 * 48 + 48),
        (case("Add", (1, 64), reduction_cases.floats(1, 64)), 64),
    ):
        model = model_of(each, "")
        declaration = declared(model, AXES)
        graph = prepared(ir.from_proto(model), declaration.axes)
        assert Plan(graph, declaration, ISAS["portable"], forms.FORMS).blob.bytes == 4 * floats


def test_an_output_that_no_node_computes_is_refused() -> None:
    model = model_of(case("Neg", (3,)), "")
    model.graph.output.append(model.graph.input[0])
    assert "outputs that no node computes" in _refusal(model)


@pytest.mark.parametrize(
    "equation", ["bhqd,bkhd->bhqk", "bqd,bd->bq", "bq,bk->bqk", "qd,kd->kq", "bqd,kd->bqk", "bd,d->b"]
)
def test_einsum_as_a_product(equation: str) -> None:
    lengths = {"b": 2, "h": 3, "q": 4, "k": 5, "d": 6}
    *terms, result = equation.replace("->", ",").split(",")
    shapes = [[lengths[label] for label in labels] for labels in (*terms, result)]
    inputs = [np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate(shapes[:2])]
    kind = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)
        for name, shape in zip("xwy", shapes, strict=True)
    ]
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    model = ir.from_proto(
        helper.make_model(
            helper.make_graph([node], "g", kind[:2], kind[2:]),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=10,
        )
    )
    spell_einsums(model.graph)
    assert "Einsum" not in {node.op_type for node in model.graph}
    spelled = ir.to_proto(model)
    onnx.checker.check_model(spelled, full_check=True)
    found = onnx.reference.ReferenceEvaluator(spelled).run(None, dict(zip("xw", inputs, strict=True)))
    np.testing.assert_allclose(found[0], np.einsum(equation, *inputs), rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "code", "most"),
    [
        ("3 * (seq // 2)", "3 * (n_seq / 2)", 30),
        ("seq * 2 * batch", "2 * n_batch * n_seq", 80),
        ("(seq + 1) // 2 + 1", "(((n_seq + 1) / 2) + 1)", 11),
        ("-seq % 4", "floor_remainder((-n_seq), 4)", 3),
        ("max(seq, batch) - 1", "(most(n_seq, n_batch) - 1)", 19),
    ],
)
def test_sizes_in_cpp(text: str, code: str, most: int) -> None:
    found = size_of(ir.SymbolicDim(text), {"seq": (1, 20), "batch": (1, 2)})
    assert found is not None and (str(found), found.most) == (code, most)


def test_sizes_that_inference_loses_are_found() -> None:
    """A group of channels and a computed length are; what no expression says stays open."""
    model = ir.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 10, opset_import: ["" : 20]>
            g (float[b, 6, m] x) => (float[?, ?, ?] grouped, int64[?] counted, float[?, ?] chosen)
            <int64[3] by_group = {0, 3, -1}, int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64[1] first = {2}>
            {
                made = Reshape(x, by_group)
                grouped = Relu(made)
                sizes = Shape(x)
                length = Gather(sizes, first)
                limit = Squeeze(length)
                half = Div(limit, two)
                counted = Range(zero, half, one)
                flat = Flatten(x)
                positive = NonZero(flat)
                chosen = Cast<to = 1>(positive)
            }"""
        )
    )
    axes = {name: AXES[name] for name in ("b", "m")}
    complete_shapes(model, axes)
    found = [[str(dim) for dim in value.shape or ()] for value in model.graph.outputs[:2]]
    assert found == [["b", "3", "2 * m"], ["m // 2"]]
    ranges = {name: (axis.min, axis.max) for name, axis in axes.items()}
    assert size_of((model.graph.outputs[2].shape or ir.Shape([1, 1]))[1], ranges) is None
