"""Every body in runtimes that have nothing of ours, over the cases of its op's table, against the definition."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import onnx
import pytest
from case import Array, Case, OpCases
from cases import TABLES
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from one_node import RUNTIMES, body_model, body_of, in_onnxruntime, model
from onnx import numpy_helper

from temport.custom_ops.op import Body

OPS = pytest.mark.parametrize("op", TABLES)
FORMED = [(op, case, form) for op, table in TABLES.items() for case in table.cases for form in case.forms]
FIXED = ("banded", "blocked")
"""Forms that a model of open sizes cannot have."""
COMPUTES_MASKS = {"Range", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Trilu", "EyeLike", "Not"}
OPENVINO_COUNTS_TO = 2**24
"""Its CPU plugin takes the modulus of integers in float32: 77 hours at 60 frames a second."""


def wrong(table: OpCases, case: Case, got: Mapping[str, Array], dtype: str = "float32") -> dict[str, float]:
    """The outputs that are off by more than they may be."""
    excess = table.excess(got, case, dtype, table.body_roundings, least=1.0)
    return {name: times for name, times in excess.items() if not times <= 1}


def is_fixed(table: OpCases, case: Case) -> bool:
    """Only attention's bodies are made for sizes; and nobody fixes one at none, by which OpenVINO would divide."""
    return table.op.torch_op is not None and all(x.size for x in case.inputs.values())


def for_openvino(case: Case) -> Case:
    if not any(x.dtype == np.int64 for x in case.inputs.values()):
        return case
    inputs = {
        n: np.where(x >= OPENVINO_COUNTS_TO, OPENVINO_COUNTS_TO - 120 + x % 60, x)
        if x.dtype == np.int64
        else x
        for n, x in case.inputs.items()
    }
    return Case(inputs, case.attributes, case.forms)


@lru_cache(maxsize=8)
def checked(op: str, case: Case, form: str, opset: int, open_: bool) -> onnx.ModelProto:
    """The model of a body, which ONNX itself finds right; one for all runtimes."""
    proto = body_model(TABLES[op], case, form, opset=opset, open_=open_)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(proto), full_check=True)
    return proto


def check(op: str, case: Case, form: str, runtime: str, opset: int, fixed: bool) -> None:
    """In a model that serves any batch and length, and if `fixed` at fixed sizes too."""
    table = TABLES[op]
    case = for_openvino(case) if runtime == "openvino" else case
    for open_ in (False,) * (fixed and is_fixed(table, case)) + (True,) * (form not in FIXED):
        proto = checked(op, case, form, opset, open_)
        assert not wrong(table, case, RUNTIMES[runtime](proto, case)), (opset, open_)


def turn(op: str, case: Case, form: str) -> int:
    """The how-manieth case of that op and form it is."""
    return [c for c in TABLES[op].cases if form in c.forms].index(case)


LARGE = 100_000
"""Numbers in the inputs of a case that takes ONNX's own evaluator seconds."""


def is_rare(op: str, case: Case, form: str, runtime: str) -> bool:
    """OpenVINO compiles each for long: of its cases one in three. What is large is asked of runtimes that are fast."""
    large = sum(x.size for x in case.inputs.values()) > LARGE
    return turn(op, case, form) % 3 != 0 if runtime == "openvino" else runtime != "onnxruntime" and large


TRIED = [
    pytest.param(*f, runtime, marks=[pytest.mark.thorough] if is_rare(*f, runtime) else [])
    for f in FORMED
    for runtime in RUNTIMES
]


@pytest.mark.parametrize(("op", "case", "form", "runtime"), TRIED, ids=str)
def test_the_body_is_the_definition(op: str, case: Case, form: str, runtime: str) -> None:
    """In ONNX Runtime in each of the form's opsets; elsewhere in one, by turns."""
    number, opsets = turn(op, case, form), TABLES[op].opsets[form]
    # the model that serves any size is of the same nodes
    fixed = runtime != "openvino" or form in FIXED or number % 2 == 0
    for opset in opsets if runtime == "onnxruntime" else opsets[number // 2 % len(opsets) :][:1]:
        check(op, case, form, runtime, opset, fixed)


@pytest.mark.thorough
@pytest.mark.parametrize("runtime", [r for r in RUNTIMES if r != "onnxruntime"])
@pytest.mark.parametrize(("op", "case", "form"), FORMED, ids=str)
def test_every_opset_and_fixed_sizes_elsewhere(op: str, case: Case, form: str, runtime: str) -> None:
    """All of what the test above takes turns with."""
    for opset in TABLES[op].opsets[form]:
        check(op, case, form, runtime, opset, fixed=True)


@pytest.mark.parametrize(("op", "case", "form"), [f for f in FORMED if f[2] in FIXED], ids=str)
def test_a_body_of_fixed_sizes_serves_no_others(op: str, case: Case, form: str) -> None:
    table = TABLES[op]
    for opset in table.opsets[form]:
        with pytest.raises(ValueError, match=f"the {form} body needs a"):
            body_model(table, case, form, opset=opset, open_=True)


ATTENTIONS = [(op, form) for op, t in TABLES.items() if t.op.torch_op is not None for form in t.opsets]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize(("op", "form"), ATTENTIONS)
def test_other_types(op: str, form: str, dtype: str) -> None:
    """Attention's sums are float32 at least; double keeps its digits. Other ops are as exact as their operators."""
    table = TABLES[op]
    case = next(c for c in table.cases[1:] if form in c.forms and all(c.inputs[n].size for n in c.inputs))
    case = case.rounded(dtype)
    got = in_onnxruntime(body_model(table, case, form, opset=max(table.opsets[form]), dtype=dtype), case)
    assert not wrong(table, case, got, dtype)


@OPS
def test_the_body_anywhere(op: str) -> None:
    table = TABLES[op]

    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(case=table.anywhere, data=st.data())
    def check(case: Case, data: st.DataObject) -> None:
        assume(case.forms)
        form = data.draw(st.sampled_from(case.forms))
        filled = all(x.size for x in case.inputs.values())
        open_ = form not in FIXED and (not filled or data.draw(st.booleans()))
        proto = body_model(table, case, form, opset=max(table.opsets[form]), open_=open_)
        assert not wrong(table, case, in_onnxruntime(proto, case))

    check()


def boolean_constants(function: onnx.FunctionProto) -> dict[str, Array]:
    constants = {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t)
        for n in function.node
        if n.op_type == "Constant" and n.attribute[0].name == "value"
    }
    return {name: x for name, x in constants.items() if x.dtype == np.bool_}


def wrong_masks(body: Body) -> list[str]:
    """Names of boolean constants that are not, bit for bit, the table of their declared rule."""
    constants = boolean_constants(body.function)
    declared = {name: rule.array(T, S) for name, (rule, T, S) in body.masks.items()}
    return [*(declared.keys() ^ constants.keys())] + [
        name
        for name in declared.keys() & constants.keys()
        if not np.array_equal(declared[name], constants[name])
    ]


def shift_masks(body: Body) -> onnx.FunctionProto:
    """The body with every mask moved by one key: the classic window off by one."""
    function = onnx.FunctionProto()
    function.CopyFrom(body.function)
    for node in function.node:
        if node.op_type == "Constant" and node.output[0] in body.masks:
            array = numpy_helper.to_array(node.attribute[0].t)
            node.attribute[0].t.CopyFrom(numpy_helper.from_array(np.roll(array, -1, axis=1)))
    return function


@pytest.mark.parametrize(("op", "case", "form"), [f for f in FORMED if f[::2] in ATTENTIONS], ids=str)
def test_masks_are_constants_from_their_predicate(op: str, case: Case, form: str) -> None:
    """And a body is the same each time that it is built."""
    table = TABLES[op]
    proto = model(table, case, opset=max(table.opsets[form]))
    body = body_of(table, proto, form)
    assert not wrong_masks(body)
    assert not COMPUTES_MASKS & {node.op_type for node in body.function.node}
    if body.masks:
        moved = {
            n for n, x in boolean_constants(body.function).items() if (x != np.roll(x, -1, axis=1)).any()
        }
        assert set(wrong_masks(Body(shift_masks(body), body.masks))) == moved
    assert body_of(table, proto, form).function.SerializeToString() == body.function.SerializeToString()


def break_body(function: onnx.FunctionProto) -> None:
    """The last node that computes the first output takes its negative."""
    node = next(n for n in reversed(function.node) if function.output[0] in n.output)
    node.output[list(node.output).index(function.output[0])] = "right"
    function.node.append(onnx.helper.make_node("Neg", ["right"], [function.output[0]]))


@OPS
def test_a_wrong_body_is_seen(op: str) -> None:
    """The suite itself: shifted masks, and an output that has another sign, are no bodies of the op."""
    table = TABLES[op]
    case = table.cases[0]
    form = case.forms[0]
    proto = body_model(table, case, form, opset=max(table.opsets[form]))
    break_body(proto.functions[0])
    assert wrong(table, case, in_onnxruntime(proto, case)).keys() == {table.outputs[0]}
    body = body_of(table, model(table, case, opset=max(table.opsets[form])), form)
    if body.masks:
        proto.functions[0].CopyFrom(shift_masks(body))
        assert max(wrong(table, case, in_onnxruntime(proto, case)).values()) > 100


@OPS
def test_bodies_that_cannot_be_say_why(op: str) -> None:
    table = TABLES[op]
    case = table.cases[0]
    with pytest.raises(ValueError, match=f"^{op}: a body needs opset 18 or newer; it is 17"):
        body_of(table, model(table, case, opset=17), case.forms[0])
    if "auto" not in table.opsets:
        forms = r"auto, \w+.*"
        with pytest.raises(ValueError, match=rf"^{op}: the body form is 'flash'; it must be {forms}\."):
            body_of(table, model(table, case), "flash")
    if "attention" in table.opsets:
        with pytest.raises(ValueError, match="the attention body needs opset 23 or newer; it is 20"):
            body_of(table, model(table, case), "attention")
