"""A prepared evaluator says what ONNX's says, to the last bit and in its words, and computes constants once."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from temport.custom_ops import stored_weight
from temport.exporter.graph.prepared_evaluator import PreparedEvaluator
from temport.exporter.runtimes.op_reference import REFERENCE_OPS

HEAD = '<ir_version: 10, opset_import: ["" : 21, "temport" : 1]> g '
PLAIN = """(float[2, 3] x, float[] n) => (float[a, b] y, float[] z, float[3] told, float[c] turns, bool[2, 3] more)
<float[3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}, float[3] told = {1, 2, 3}, int64[2] shape = {3, 3}, int64 many = {3}> {
  twice = Constant <value = float {2}> ()
  doubled = Mul(w, twice)
  turned = Transpose <perm = [1, 0]> (doubled)
  rows = Reshape(turned, shape)
  like = CastLike(shape, x)
  widest = ReduceMax <keepdims = 0> (like)
  product = MatMul(x, rows)
  low = Neg(n)
  clipped = Clip(product, , n)
  shifted = Add(clipped, low)
  normal = LayerNormalization <axis = -1> (shifted, told)
  y = Max(normal, shifted, x)
  z = Mul(n, widest)
  more = Greater(x, normal)
  going = Constant <value = bool {1}> ()
  last, turns = Loop(many, going, z) <
    body = inside (int64 i, bool on, float[] held) => (bool still, float[] next, float[] row) {
      still = Identity(on)
      step = Constant <value = float {0.5}> ()
      half = Mul(step, step)
      sum = Add(held, half)
      next = Add(sum, z)
      row = Identity(next)
  }>
}"""
DENSE = """(float[2, 4] x) => (float[2, 3] y) <{w}, float[3] b = {{1, 2, 3}}{scale}> {{
  y = temport.FusedDense <activation = "silu"> (x, w, b{given})
}}"""
KINDS = {
    "float32": DENSE.format(w="float[4, 3] w = {1,2,3,4,5,6,7,8,9,10,11,12}", scale="", given=""),
    "float16": DENSE.format(w="float16[4, 3] w = {1,2,3,4,5,6,7,8,9,10,11,12}", scale="", given=""),
    "int8": DENSE.format(
        w="int8[4, 3] w = {1,2,3,4,5,6,7,8,9,10,11,12}", scale=", float[3] s = {0.3,0.1,0.7}", given=", , , s"
    ),
}


def both(text: str, *new: type[OpRun]) -> tuple[PreparedEvaluator, ReferenceEvaluator]:
    model, operators = parser.parse_model(HEAD + text), [*new, *REFERENCE_OPS]
    return PreparedEvaluator(model, new_ops=operators), ReferenceEvaluator(model, new_ops=operators)


def feeds(evaluator: ReferenceEvaluator, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    shapes = {
        i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in evaluator.proto_.graph.input
    }
    return {name: np.asarray(random.standard_normal(s), np.float32) for name, s in shapes.items()}


@pytest.mark.parametrize("text", [PLAIN, *KINDS.values()], ids=["plain", *KINDS])
def test_every_run_is_the_same_to_the_last_bit(text: str) -> None:
    quick, usual = both(text)
    for seed in (0, 1, 2):
        found, right = (e.run(None, feeds(usual, seed)) for e in (quick, usual))
        for mine, other in zip(found, right, strict=True):
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other, strict=True)
    assert quick._plan is not None and not quick._usual


class Counted(OpRun):
    op_domain = "temport"
    runs = 0

    def _run(self, x: Any) -> tuple[Any, ...]:
        Counted.runs += 1
        return (x + 1,)


def test_what_depends_on_constants_is_computed_once() -> None:
    text = "(float[2] x) => (float[2] y) <float[2] c = {1, 2}> { a = temport.Counted(c) y = Add(a, x) }"
    quick, usual = both(text, Counted)
    for evaluator, runs in ((quick, 1), (usual, 3)):
        Counted.runs = 0
        for seed in range(3):
            evaluator.run(None, feeds(usual, seed))
        assert Counted.runs == runs


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_is_widened_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the definition of the op it is in float64 already, in each run."""
    quick, usual = both(KINDS[kind])
    widened: list[bool] = []
    numbers = stored_weight.numbers

    def watched(weight: Any, scale: Any, outputs: int) -> Any:
        widened.append(weight.dtype != np.float64)
        return numbers(weight, scale, outputs)

    monkeypatch.setattr(stored_weight, "numbers", watched)
    definition = import_module(
        "temport.custom_ops.fused_dense.reference"
    )  # its package has a function of this name
    monkeypatch.setattr(definition, "numbers", watched)
    for seed in range(3):
        quick.run(None, feeds(usual, seed))
    assert widened == [True, False, False, False]


def test_integers_whose_scale_is_an_input_are_left_as_they_are() -> None:
    text = (
        KINDS["int8"]
        .replace(", float[3] s = {0.3,0.1,0.7}", "")
        .replace("(float[2, 4] x)", "(float[2, 4] x, float[3] s)")
    )
    quick, usual = both(text)
    for seed in (0, 1):
        np.testing.assert_array_equal(*(e.run(None, feeds(usual, seed))[0] for e in (quick, usual)))
    assert not quick._usual


def test_random_numbers_are_drawn_in_each_run() -> None:
    quick, _ = both("(float[2] x) => (float[2] y) { r = RandomUniform <shape = [2]> () y = Add(x, r) }")
    x = {"x": np.zeros(2, np.float32)}
    assert (quick.run(None, x)[0] != quick.run(None, x)[0]).any()


class Doubling(OpRun):
    """It works in place, as some of ONNX's evaluator do."""

    op_domain = "temport"

    def _run(self, x: Any) -> tuple[Any, ...]:
        x *= 2
        return (x,)


def test_a_constant_is_not_written_to() -> None:
    """Neither by an operator, nor by who is handed an output."""
    text = "(float[2] x) => (float[2] y) <float[2] c = {1, 2}> { a = Neg(c) d = temport.Doubling(a) y = Add(d, x) }"
    quick, _ = both(text, Doubling)
    constant, _ = both("(float[2] x) => (float[2] y) <float[2] c = {1, 2}> { y = Neg(c) }")
    for _ in range(3):
        np.testing.assert_array_equal(quick.run(None, {"x": np.zeros(2, np.float32)})[0], [-2, -4])
        (y,) = constant.run(None, {"x": np.zeros(2, np.float32)})
        np.testing.assert_array_equal(y, [-1, -2])
        y[:] = 7


def test_a_constant_may_be_fed() -> None:
    quick, usual = both("(float[2] x) => (float[2] y) <float[2] c = {1, 2}> { a = Neg(c) y = Add(a, x) }")
    given = feeds(usual, 0)
    quick.run(None, given)
    np.testing.assert_array_equal(*(e.run(None, given | {"c": given["x"]})[0] for e in (quick, usual)))


WRONG = {
    "two types": ("(float[2] x, double[2] n) => (float[2] y) { y = Add(x, n) }", {"n": np.zeros(2)}),
    "shapes": ("(float[2] x, float[3] n) => (float[2] y) { y = MatMul(x, n) }", {}),
    "no input": ("(float[2] x) => (float[2] y) { y = Add(x, x) }", {"x": None}),
    "sizes of a weight": (KINDS["float32"].replace("x)", "x)", 1).replace("[2, 4]", "[2, 5]"), {}),
}


@pytest.mark.parametrize("text, given", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_the_same_words(text: str, given: dict[str, Any]) -> None:
    said = []
    for evaluator in both(text):
        inputs = {name: x for name, x in (feeds(evaluator, 0) | given).items() if x is not None}
        with pytest.raises(Exception) as caught:  # whatever ONNX's evaluator raises
            evaluator.run(None, inputs)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


def test_tensors_inside_are_all_there() -> None:
    quick, usual = both(PLAIN)
    given = feeds(usual, 0)
    quick.run(None, given)
    found, right = (e.run(None, given, intermediate=True) for e in (quick, usual))
    assert list(found) == list(right)


def test_the_model_stays_as_it_is() -> None:
    quick, usual = both(PLAIN)
    before = onnx.ModelProto()
    before.CopyFrom(quick.proto_)
    quick.run(None, feeds(usual, 0))
    assert quick.proto_ == before
