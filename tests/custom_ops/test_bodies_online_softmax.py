"""Bodies of OnlineSoftmaxAttention: every form, in every runtime, against the float64 reference."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from body_checks import computing_nodes, shift_masks, wrong_masks
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from one_node import RUNTIMES, Attention, bound, build, error, model, run_onnxruntime

from temport.custom_ops.online_softmax_attention import online_softmax_attention
from temport.custom_ops.online_softmax_attention.onnx_body import Bands
from temport.custom_ops.op import Specialisation
from temport.custom_ops.table import OPS

OP = OPS["OnlineSoftmaxAttention"]
OPSET = {"dense": 18, "banded": 20, "attention": 23}

CASES = [
    Attention(T=1, S=1, packed=True, window=60),
    Attention(T=5, S=9),
    Attention(T=40, S=40, causal=True, packed=True, batch=3),
    Attention(T=40, S=40, causal=True, key_mask=True),
    Attention(T=40, S=51, window=7, groups=2),
    Attention(T=7, S=3, causal=True),
    Attention(T=9, S=5, window=2, query_offset=6, Dv=3),
    Attention(T=75, S=75, window=20, packed=True, groups=3),
    Attention(T=33, S=90, window=100, key_mask=True, packed=False),
    Attention(T=6, S=11, key_mask=True, groups=2),
]
BANDED = [
    Attention(T=75, S=75, window=20, packed=True),
    Attention(T=64, S=64, window=16, packed=True, groups=2, key_mask=True),
    Attention(T=49, S=120, window=3, key_mask=True, Dv=5),
    Attention(T=100, S=130, window=30, query_offset=20),
    Attention(T=61, S=61, window=1),
]
FORMED = [("dense", c) for c in CASES] + [("banded", c) for c in BANDED] + [("attention", c) for c in CASES]


def torch_output(case, inputs):
    tensors = [None if x is None else torch.from_numpy(x) for x in inputs]
    return online_softmax_attention(*tensors, **case.attributes).numpy()


def check(case, form, runtime=run_onnxruntime, fixed=True, dtype="float32"):
    body = build(case, form, opset=OPSET[form], fixed=fixed, dtype=dtype)
    assert body.form == form and not wrong_masks(body) and not computing_nodes(body)
    inputs = case.inputs(dtype)
    proto = model(OP.name, case.attributes, inputs, body, opset=OPSET[form])
    onnx.checker.check_model(proto, full_check=True)
    truth = OP.reference(inputs, case.attributes)
    output = runtime(proto, inputs)
    assert output.shape == truth.shape and output.dtype == dtype
    assert error(output, truth) <= bound(truth, torch_output(case, inputs), dtype)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("form,case", FORMED, ids=str)
def test_fixed_lengths(form, case, runtime):
    check(case, form, RUNTIMES[runtime])


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("form,case", [fc for fc in FORMED if fc[0] != "banded"], ids=str)
def test_dynamic_lengths(form, case, runtime):
    check(case, form, RUNTIMES[runtime], fixed=False)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("form,case", [FORMED[2], FORMED[4], FORMED[12], FORMED[13], FORMED[17]], ids=str)
def test_other_dtypes(form, case, dtype):
    check(case, form, dtype=dtype)


@pytest.mark.parametrize("form", ["dense", "banded"])
def test_half_logits_beyond_the_half_range(form):
    """Scores near 1e6 do not fit float16 (65504): they must be taken in float32."""
    case = replace(BANDED[0], magnitude=1000.0)
    check(case, form, dtype="float16")


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        Attention,
        T=st.integers(1, 90),
        S=st.integers(1, 90),
        heads=st.integers(1, 2),
        groups=st.integers(1, 2),
        causal=st.booleans(),
        window=st.sampled_from([0, 1, 5, 17, 100]),
        query_offset=st.sampled_from([-1, 0, 3, 50]),
        packed=st.booleans(),
        key_mask=st.booleans(),
        batch=st.integers(1, 3),
    ).filter(lambda c: not c.packed or c.Dv == c.D),
    st.sampled_from(["dense", "banded", "attention"]),
    st.booleans(),
)
def test_any_case(case, form, fixed):
    if form == "banded":
        assume(fixed and Bands.of(_rule(case), case.T, case.keys) is not None)
    check(case, form, fixed=fixed)


def _rule(case):
    from temport.custom_ops.online_softmax_attention.attributes import OnlineSoftmaxAttributes

    return OnlineSoftmaxAttributes.parse(case.attributes).rule


def test_one_dynamic_model_serves_every_length():
    case = Attention(T=10, S=10, window=7)
    body = build(case, "dense", fixed=False)
    for T, S in ((1, 1), (1, 160), (160, 160), (160, 3), (33, 70)):
        sized = replace(case, T=T, S=S)
        inputs = sized.inputs()
        output = run_onnxruntime(model(OP.name, case.attributes, inputs, body, opset=18), inputs)
        truth = OP.reference(inputs, case.attributes)
        assert error(output, truth) <= bound(truth, torch_output(sized, inputs), "float32")


def test_a_length_beyond_the_baked_one_fails_loudly():
    case = Attention(T=170, S=170, causal=True, packed=True)
    inputs = case.inputs()
    proto = model(OP.name, case.attributes, inputs, build(case, "dense", fixed=False), opset=18)
    with pytest.raises(Exception, match="broadcast"):
        run_onnxruntime(proto, inputs)


@pytest.mark.parametrize("form,case", [FORMED[2], FORMED[4], FORMED[10], FORMED[17]], ids=str)
def test_a_shifted_mask_is_seen(form, case):
    if form == "attention":
        case = replace(case, key_mask=True)  # without one this case is written as is_causal, not as a mask
    body = shift_masks(build(case, form, opset=OPSET[form]))
    assert set(wrong_masks(body)) == set(body.masks) and body.masks
    inputs = case.inputs()
    truth = OP.reference(inputs, case.attributes)
    output = run_onnxruntime(model(OP.name, case.attributes, inputs, body, opset=OPSET[form]), inputs)
    assert error(output, truth) > 100 * bound(truth, torch_output(case, inputs), "float32")


@pytest.mark.parametrize("form", ["dense", "attention"])
def test_empty_rows_give_zero(form):
    case = Attention(T=9, S=4, causal=True, key_mask=True)
    inputs = case.inputs()
    body = build(case, form, opset=23)
    output = run_onnxruntime(model(OP.name, case.attributes, inputs, body, opset=23), inputs)
    assert not output[0].any() and not output[1, :5].any()


def test_where_selects_twice_only_where_rows_can_be_empty():
    def wheres(case):
        return sum(n.op_type == "Where" for n in build(case, "dense").function.node)

    assert wheres(Attention(T=9, S=9)) == 0
    assert wheres(Attention(T=9, S=9, causal=True)) == 1
    assert wheres(Attention(T=9, S=4, causal=True)) == 2
    assert wheres(Attention(T=9, S=9, key_mask=True)) == 2


def test_is_causal_stands_only_for_square_causal_attention():
    def masked(case):
        nodes = build(case, "attention", opset=23).function.node
        (node,) = [n for n in nodes if n.op_type == "Attention"]
        return len(node.input) > 3, any(a.name == "is_causal" and a.i for a in node.attribute)

    assert masked(Attention(T=9, S=9, causal=True)) == (False, True)
    assert masked(Attention(T=9, S=9, causal=True, query_offset=0)) == (False, True)
    assert masked(Attention(T=9, S=12, causal=True, query_offset=0)) == (True, False)
    assert masked(Attention(T=9, S=9, window=4)) == (True, False)
    assert masked(Attention(T=9, S=9, causal=True, key_mask=True)) == (True, False)
    assert masked(Attention(T=9, S=9)) == (False, False)


@pytest.mark.parametrize(
    "T,window,form",
    [
        (60, 60, "dense"),
        (64, 60, "dense"),
        (32, 8, "dense"),
        (180, 60, "banded"),
        (512, 60, "banded"),
        (512, 0, "dense"),
    ],
    ids=str,
)
def test_auto_takes_the_cheaper_form(T, window, form):
    assert build(Attention(T=T, S=T, window=window, causal=True, packed=True), "auto").form == form


def test_forms_that_cannot_serve_say_why():
    with pytest.raises(
        ValueError, match=r"^OnlineSoftmaxAttention: the banded body needs a window, fixed lengths"
    ):
        build(Attention(T=90, S=90, causal=True), "banded")
    with pytest.raises(ValueError, match=r"the attention body needs opset 23 or newer; it is 20"):
        build(Attention(T=9, S=9), "attention", opset=20)
    with pytest.raises(
        ValueError, match=r"the body form is 'flash'; it must be auto, dense, banded, attention"
    ):
        build(Attention(T=9, S=9), "flash")
    with pytest.raises(ValueError, match=r"a body needs opset 18 or newer; it is 17"):
        build(Attention(T=9, S=9), "dense", opset=17)
    attributes = Attention(T=9, S=9, causal=True).attributes
    dynamic = Specialisation(attributes=attributes, query_length=None, key_length=None, packed=True, opset=18)
    with pytest.raises(
        ValueError, match=r"the query length is dynamic, so max_length must be at least 2; it is None"
    ):
        OP.body(dynamic)


def test_two_builds_are_byte_identical():
    first, second = (build(BANDED[1], "banded").function.SerializeToString() for _ in range(2))
    assert first == second


def test_specialisations_stand_side_by_side_as_overloads():
    """Two nodes with different windows in one model, each with its own body."""
    cases = [Attention(T=20, S=20, window=w, packed=True, heads=1, D=4) for w in (3, 9)]
    inputs = cases[0].inputs()
    proto = model(OP.name, cases[0].attributes, inputs, build(cases[0], "dense"), opset=18, outputs="first")
    second = Specialisation(
        attributes=cases[1].attributes,
        query_length=20,
        key_length=20,
        packed=True,
        opset=18,
        overload="2",
    )
    other = OP.body(second)
    node = onnx.helper.make_node(OP.name, ["Q"], ["second"], domain="temport", **cases[1].attributes)
    node.overload = "2"
    proto.graph.node.append(node)
    proto.graph.node.append(onnx.helper.make_node("Concat", ["first", "second"], ["Y"], axis=2))
    proto.graph.output[0].name = "Y"
    proto.functions.append(other.function)
    onnx.checker.check_model(proto, full_check=True)
    truth = np.concatenate([OP.reference(inputs, case.attributes) for case in cases], axis=2)
    for run in RUNTIMES.values():
        assert error(run(proto, inputs), truth) <= 1e-5
