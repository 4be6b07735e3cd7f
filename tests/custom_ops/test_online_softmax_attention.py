"""What is particular to OnlineSoftmaxAttention: forms of its body, keys that leave no trace, memory."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from case import Case, error, tensors_of
from cases.online_softmax_attention import CASES as TABLE
from cases.online_softmax_attention import case
from one_node import LONGEST, RUNTIMES, body_model, body_of, in_onnxruntime, model, native, open_shapes
from test_bodies import wrong

from temport.custom_ops.online_softmax_attention import online_softmax_attention, torch_op
from temport.custom_ops.op import Body


def body(of: Case, form: str = "auto", opset: int = 23, open_: bool = False) -> Body:
    shapes = open_shapes(TABLE, of) if open_ else None
    return body_of(TABLE, model(TABLE, of, opset=opset, shapes=shapes), form)


@pytest.mark.parametrize(
    ("T", "window", "form"),
    [
        (60, 60, "dense"),
        (64, 60, "dense"),
        (32, 8, "dense"),
        (180, 60, "banded"),
        (512, 60, "banded"),
        (512, 0, "dense"),
    ],
)
def test_auto_takes_the_cheaper_form(T: int, window: int, form: str) -> None:
    of = case(T, window=window, causal=True, packed=True)
    assert body(of).function == body(of, form).function


def test_the_banded_form_needs_a_window() -> None:
    with pytest.raises(
        ValueError, match=r"^OnlineSoftmaxAttention: the banded body needs a window, fixed lengths"
    ):
        body(case(90, causal=True), "banded")


def test_where_selects_twice_only_where_rows_can_be_empty() -> None:
    def wheres(of: Case) -> int:
        return sum(n.op_type == "Where" for n in body(of, "dense").function.node)

    assert wheres(case(9)) == 0
    assert wheres(case(9, causal=True)) == 1
    assert wheres(case(9, 4, causal=True)) == 2
    assert wheres(case(9, key_mask=True)) == 2


def test_is_causal_stands_only_for_square_causal_attention() -> None:
    def masked(of: Case) -> tuple[bool, bool]:
        (node,) = [n for n in body(of, "attention").function.node if n.op_type == "Attention"]
        return len(node.input) > 3, any(a.name == "is_causal" and a.i for a in node.attribute)

    assert masked(case(9, causal=True)) == (False, True)
    assert masked(case(9, causal=True, query_offset=0)) == (False, True)
    assert masked(case(9, 12, causal=True, query_offset=0)) == (True, False)
    assert masked(case(9, window=4)) == (True, False)
    assert masked(case(9, causal=True, key_mask=True)) == (True, False)
    assert masked(case(9)) == (False, False)


@pytest.mark.parametrize("form", ["dense", "attention"])
def test_one_body_serves_every_length(form: str) -> None:
    """At open lengths no length is in it, up to the longest; beyond that it fails loudly."""
    whole = body(case(10, window=7), form, open_=True)
    for T, S in ((1, 1), (1, 160), (160, 160), (160, 3), (33, 70)):
        sized = case(T, S, window=7)
        assert body(sized, form, open_=True).function == whole.function
        got = in_onnxruntime(body_model(TABLE, sized, form, opset=23, open_=True), sized)
        assert not wrong(TABLE, sized, got)
    longer = case(LONGEST + 10, kv=1, B=1, causal=True, packed=True)
    proto = body_model(TABLE, longer, form, opset=23, open_=True)
    if form == "dense":
        with pytest.raises(Exception, match="broadcast"):
            in_onnxruntime(proto, longer)


def test_an_open_length_needs_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("one_node.LONGEST", None)
    sentence = r"the query length is dynamic, so max_length must be at least 2; it is None"
    with pytest.raises(ValueError, match=sentence):
        body(case(9, causal=True, packed=True), "dense", open_=True)


@pytest.mark.parametrize("form", ["dense", "banded"])
def test_half_logits_beyond_the_half_range(form: str) -> None:
    """Scores near 1e6 do not fit float16 (65504): they must be taken in float32."""
    of = case(75, window=20, packed=True, magnitude=1000.0).rounded("float16")
    got = in_onnxruntime(body_model(TABLE, of, form, dtype="float16"), of)
    assert not wrong(TABLE, of, got, "float16")


def test_bodies_of_two_nodes_stand_side_by_side_as_overloads() -> None:
    """Two nodes with different windows in one model, each with its own body."""
    first, second = (case(20, window=w, packed=True, kv=1) for w in (3, 9))
    proto = body_model(TABLE, first, "dense", outputs=["first"])
    other = body(second, "dense", opset=20).function
    other.overload = "2"
    proto.functions.append(other)
    proto.graph.node.append(
        onnx.helper.make_node(
            "OnlineSoftmaxAttention", ["Q"], ["second"], domain="temport", overload="2", **second.attributes
        )
    )
    proto.graph.node.append(onnx.helper.make_node("Concat", ["first", "second"], ["Y"], axis=2))
    proto.graph.output[0].name = "Y"
    truth = np.concatenate(
        [TABLE.truth(replace(first, attributes=c.attributes))["Y"] for c in (first, second)], axis=2
    )
    for run in RUNTIMES.values():
        assert error(run(proto, first)["Y"], truth) <= 1e-5


@pytest.mark.parametrize("poison", [np.nan, np.inf], ids=["nan", "inf"])
def test_excluded_keys_leave_no_trace_in_the_kernel(poison: float) -> None:
    """Future keys, keys before the window and masked keys may hold anything."""
    of = case(90, B=1, D=16, causal=True, window=20)
    mask = np.random.default_rng(0).random((1, 90)) < 0.7
    mask[:, 60:], mask[:, 0] = False, True
    clean = replace(of, inputs={**of.inputs, "key_mask": mask})
    dirty = {name: x.copy() for name, x in clean.inputs.items()}
    dirty["K"][:, 60:], dirty["V"][:, 60:] = poison, poison
    dirty["V"][:, 0] = poison  # only rows 0..19 may see it
    y, expected = native(TABLE, replace(of, inputs=dirty))["Y"], native(TABLE, clean)["Y"]
    np.testing.assert_allclose(y[:, 20:], expected[:, 20:], rtol=0, atol=1e-6)
    assert not np.isfinite(y[:, :20]).any()


@pytest.mark.parametrize("runtime", ["kernel", "dense", "attention"])
def test_rows_without_keys_are_zero(runtime: str) -> None:
    """Rows before the first key, and an entry of which every key is masked."""
    of = case(9, 4, causal=True, key_mask=True)
    y = (
        native(TABLE, of)["Y"]
        if runtime == "kernel"
        else in_onnxruntime(body_model(TABLE, of, runtime, opset=23), of)["Y"]
    )
    assert not y[0].any() and not y[1, :5].any() and y[1, 5:].any()


def test_a_window_that_is_off_by_one_is_seen() -> None:
    of = case(100, B=1, D=16, causal=True, window=8)
    got = native(TABLE, replace(of, attributes={**of.attributes, "window": 9}))
    assert TABLE.excess(got, of, "float32", TABLE.roundings)["Y"] > 100


def test_large_logits_do_not_overflow_the_definition() -> None:
    q, k, v = 1e4 * np.random.default_rng(0).standard_normal((3, 1, 5, 4))
    assert np.isfinite(TABLE.op.reference([q, k, v], {"num_heads": 1})).all()


def test_fully_masked_rows_have_zero_gradients() -> None:
    of = case(9, 4, causal=True, key_mask=True)
    q, k, v, mask = tensors_of(of, "float64").values()
    for x in (q, k, v):
        x.requires_grad_()
    output = online_softmax_attention(q, k, v, mask, **of.attributes)
    output.sum().backward()
    assert not output[0].any() and not output[1, :5].any()
    for x in (q, k, v):
        assert x.grad is not None and torch.isfinite(x.grad).all() and not x.grad[0].any()
    assert q.grad is not None and not q.grad[1, :5].any()


def test_tiles_outside_the_rule_are_not_touched() -> None:
    """Keys that no row of a query tile may see hold NaN: one touched value would spread through the products."""
    T, window = 3 * torch_op.QUERY_TILE, 20
    q, k, v = torch.randn(3, 1, T, 8, generator=torch.Generator().manual_seed(0))
    truth = online_softmax_attention(q, k, v, num_heads=2, window=window)
    last = slice(2 * torch_op.QUERY_TILE, T)
    for x in (k, v):
        x[:, : last.start - window + 1] = math.nan
    output = online_softmax_attention(q, k, v, num_heads=2, window=window)
    assert torch.equal(output[:, last], truth[:, last])
    assert output[:, : last.start].isnan().any()
    q.requires_grad_()
    k.requires_grad_()
    late = online_softmax_attention(q[:, last], k, v, num_heads=2, window=window)
    grad_q, grad_k = torch.autograd.grad(late.sum(), (q, k))
    assert torch.isfinite(grad_q[:, last]).all() and torch.isfinite(grad_k[:, last]).all()


def test_dtypes_that_do_not_fit() -> None:
    x = torch.zeros(1, 3, 4)
    with pytest.raises(ValueError, match=r"Q has dtype torch.int64; it must be a floating-point tensor"):
        online_softmax_attention(torch.zeros(1, 3, 12, dtype=torch.int64), num_heads=2)
    with pytest.raises(ValueError, match=r"Q has dtype torch.float32 but K has torch.float16"):
        online_softmax_attention(x, x.half(), x, num_heads=2)
    with pytest.raises(ValueError, match=r"key_mask has dtype torch.float32; it must be bool"):
        online_softmax_attention(x, x, x, torch.zeros(1, 3), num_heads=2)


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor, key_mask: torch.Tensor) -> torch.Tensor:
        q, k, v = x.chunk(3, dim=-1)
        packed = online_softmax_attention(x, num_heads=2, window=4)
        return packed + online_softmax_attention(q, k, v, key_mask, num_heads=2, causal=True)


def test_compiles_with_gradients() -> None:
    compiled = torch.compile(Twice(), backend="aot_eager", fullgraph=True)
    x, mask = torch.randn(2, 10, 18, requires_grad=True), torch.ones(2, 10, dtype=torch.bool)
    (mine,) = torch.autograd.grad(compiled(x, mask).square().sum(), x)
    (truth,) = torch.autograd.grad(Twice()(x, mask).square().sum(), x)
    torch.testing.assert_close(mine, truth)


MEASURE = """
import torch
from temport.custom_ops.block_linear_attention import block_linear_attention
from temport.custom_ops.online_softmax_attention import online_softmax_attention
torch.set_num_threads(1)
calls = {
    "causal": lambda x: online_softmax_attention(x, num_heads=1, causal=True),
    "window": lambda x: online_softmax_attention(x, num_heads=1, window=60),
    "blocks": lambda x: block_linear_attention(x, num_heads=1, block_size=64),
}
def once(call, length):
    x = torch.ones(1, length, 3 * 32, requires_grad=True)
    call(x).sum().backward()
def peak():  # getrusage would give that of the process which started this one, where it was higher
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1])
for call in calls.values():
    once(call, 64)
before = peak()
for name, call in calls.items():
    once(call, 8192)
    print(name, peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory from /proc")
def test_memory_of_the_torch_ops_grows_with_the_length_not_its_square() -> None:
    """Peak resident KiB of forward and backward, one after the other; a T x T table alone would be 256 MiB at 8192."""
    result = subprocess.run([sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True)
    grown = {name: 1024 * int(kib) for name, kib in map(str.split, result.stdout.splitlines())}
    strip = 3 * torch_op.QUERY_TILE * 8192 * 4  # scores, their gradient and a temporary of one row of tiles
    tensors = 16 * 8192 * 96 * 4  # copies by head, gradients and outputs: all O(T)
    assert grown.keys() == {"causal", "window", "blocks"}
    assert min(grown.values()) > 8192 * 96 * 4  # the input alone: it is seen
    assert max(grown.values()) < strip + tensors < 8192 * 8192 * 4 / 4
