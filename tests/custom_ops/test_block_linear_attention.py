"""What is particular to BlockLinearAttention: forms of its body, and a denominator that may pass through 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from case import Case, error
from cases.block_linear_attention import CASES as TABLE
from cases.block_linear_attention import case
from one_node import body_of, model, native

from temport.custom_ops.op import Body


def body(of: Case, form: str = "auto") -> Body:
    return body_of(TABLE, model(TABLE, of), form)


@pytest.mark.parametrize(
    ("T", "block", "form"), [(60, 64, "dense"), (64, 16, "dense"), (128, 64, "blocked"), (512, 16, "blocked")]
)
def test_auto_takes_the_cheaper_form(T: int, block: int, form: str) -> None:
    of = case(T, block, packed=True)
    assert body(of).function == body(of, form).function


def test_one_block_has_no_linear_part() -> None:
    nodes = body(case(20, 64, packed=True), "dense").function.node
    assert [n.op_type for n in nodes].count("MatMul") == 2


def test_threads_do_not_change_a_bit() -> None:
    """Sums over blocks are added in one order, whoever computes them."""
    of = case(900, 32, B=1, H=1, D=24)
    one = native(TABLE, of)["Y"]
    for _ in range(5):
        np.testing.assert_array_equal(native(TABLE, of, threads=2)["Y"], one)


def test_a_wrong_block_size_is_seen() -> None:
    of = case(200, 64, B=1, D=16)
    got = native(TABLE, replace(of, attributes={**of.attributes, "block_size": 65}))
    assert TABLE.excess(got, of, "float32", TABLE.roundings)["Y"] > 100


def test_identity_with_key_sum_is_ill_conditioned() -> None:
    """A denominator that passes through 0: a change of 1e-9 in one key changes the output by a large factor."""
    attributes = {"num_heads": 1, "block_size": 1, "eps": 1e-30, "normalizer": "key_sum"}
    k = np.array([[[1.0], [-1.0 + 1e-9], [1.0]]])
    run = TABLE.op.reference
    q, v = np.ones((1, 3, 1)), np.array([[[1.0], [3.0], [1.0]]])
    first = run([q, k, v], attributes)[0, 2, 0]
    second = run([q, k + np.array([[[0], [1e-9], [0]]]), v], attributes)[0, 2, 0]
    assert abs(first) > 1e8 and abs(first / second - 1) > 0.4
    sound = {**attributes, "feature_map": "elu1"}
    assert abs(run([q, k, v], sound)[0, 2, 0]) < 10


def test_packed_inputs_say_the_same() -> None:
    of = case(7, 3, D=3)
    packed = {"Q": np.concatenate(list(of.inputs.values()), axis=2)}
    for compute in (TABLE.truth, lambda c: native(TABLE, c)):
        assert error(compute(replace(of, inputs=packed))["Y"], compute(of)["Y"]) == 0
