"""The tiled torch op: against the float64 reference, its gradients, its memory, and what it never touches."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_node import EPS, Attention, error

from temport.custom_ops.mask import MaskRule
from temport.custom_ops.online_softmax_attention import online_softmax_attention, torch_op
from temport.custom_ops.table import OPS

REFERENCE = OPS["OnlineSoftmaxAttention"].reference

CASES = st.builds(
    Attention,
    T=st.sampled_from([1, 2, 7, 127, 128, 129, 300]),
    S=st.sampled_from([1, 3, 90, 513, 700]),
    heads=st.integers(1, 3),
    groups=st.integers(1, 3),
    D=st.sampled_from([1, 5, 16]),
    Dv=st.sampled_from([1, 4, 7]),
    causal=st.booleans(),
    window=st.sampled_from([0, 0, 1, 4, 60, 900]),
    query_offset=st.sampled_from([-1, 0, 17, 600]),
    packed=st.booleans(),
    key_mask=st.booleans(),
    batch=st.integers(1, 2),
    seed=st.integers(0, 99),
)


def torch_inputs(case, dtype="float64"):
    return [None if x is None else torch.from_numpy(x) for x in case.inputs(dtype)]


def run(case, inputs):
    return online_softmax_attention(*inputs, **case.attributes)


def by_head_with_rule(case, q, k, v, key_mask):
    """Queries, keys and values `[B, H, length, dim]`, heads repeated for groups, and the table of allowed keys."""
    H, kv = case.heads * case.groups, case.heads
    if k is None:
        q, k, v = q.split([H * case.D, kv * case.D, kv * case.D], dim=2)
    q, k, v = (x.unflatten(2, (n, -1)).transpose(1, 2) for x, n in ((q, H), (k, kv), (v, kv)))
    k, v = (x.repeat_interleave(case.groups, dim=1) for x in (k, v))
    offset = None if case.query_offset == -1 else case.query_offset
    allowed = torch.from_numpy(MaskRule(case.causal, case.window, offset).array(case.T, case.keys))
    return q, k, v, allowed if key_mask is None else allowed & key_mask[:, None, None, :]


def naive(case, *inputs):
    """The whole table at once, differentiated by torch."""
    q, k, v, allowed = by_head_with_rule(case, *inputs)
    scores = (q @ k.mT * case.attributes["scale"]).masked_fill(~allowed, torch.finfo(q.dtype).min)
    return (torch.where(allowed, scores.softmax(-1), 0) @ v).transpose(1, 2).flatten(2)


def sdpa(case, *inputs):
    """torch's own attention in the dtype of the inputs; an empty row is set to 0."""
    q, k, v, allowed = by_head_with_rule(case, *inputs)
    output = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, allowed, scale=case.attributes["scale"]
    )
    return output.masked_fill(~allowed.any(-1, keepdim=True), 0).transpose(1, 2).flatten(2)


@settings(max_examples=150, deadline=None)
@given(CASES)
def test_is_the_reference_in_float64(case):
    truth = REFERENCE(case.inputs("float64"), case.attributes)
    output = run(case, torch_inputs(case))
    assert output.shape == truth.shape
    assert error(output.numpy(), truth) <= 64 * EPS["float64"] * max(1.0, np.abs(truth).max())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("magnitude", [1.0, 30.0], ids=["normal", "large-logits"])
@pytest.mark.parametrize(
    "case",
    [
        Attention(T=1, S=1),
        Attention(T=150, S=600, D=64, causal=True),
        Attention(T=300, S=300, D=32, window=60, packed=True),
        Attention(T=33, S=70, D=16, groups=2, key_mask=True),
    ],
    ids=str,
)
def test_error_in_each_dtype(case, dtype, magnitude):
    case = Attention(**{**case.__dict__, "magnitude": magnitude})
    kind = getattr(torch, dtype)
    inputs = [x if x is None or x.dtype == torch.bool else x.to(kind) for x in torch_inputs(case, "float32")]
    as_numpy = [None if x is None else x.to(torch.float64).numpy() for x in inputs]
    truth = REFERENCE(as_numpy, case.attributes)
    own = error(sdpa(case, *inputs).to(torch.float64).numpy(), truth)
    output = run(case, inputs)
    assert output.dtype == kind
    bound = 2 * own + 4 * EPS[dtype] * max(1.0, np.abs(truth).max())
    assert error(output.to(torch.float64).numpy(), truth) <= bound


@pytest.mark.parametrize(
    "case",
    [
        Attention(T=5, S=7, D=3, Dv=2, groups=2, window=3, key_mask=True),
        Attention(T=6, S=6, D=2, causal=True, packed=True),
        Attention(T=4, S=3, D=2, causal=True, query_offset=0),
        Attention(T=6, S=2, D=2, causal=True),
    ],
    ids=str,
)
def test_gradcheck(case):
    q, k, v, key_mask = (
        x if x is None or x.dtype == torch.bool else x.requires_grad_() for x in torch_inputs(case)
    )
    given_inputs = [x for x in (q, k, v) if x is not None]
    assert torch.autograd.gradcheck(lambda *x: run(case, [*[*x, None, None][:3], key_mask]), given_inputs)


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_gradient_is_that_of_the_naive_computation(case):
    gradients = []
    for compute in (lambda x: run(case, x), lambda x: naive(case, *x)):
        inputs = [x if x is None or x.dtype == torch.bool else x.requires_grad_() for x in torch_inputs(case)]
        output = compute(inputs)
        weight = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        gradients.append(
            torch.autograd.grad((output * weight).sum(), [x for x in inputs[:3] if x is not None])
        )
    for mine, truth in zip(*gradients, strict=True):
        assert error(mine.numpy(), truth.numpy()) <= 1e3 * EPS["float64"] * max(1.0, truth.abs().max().item())


def test_fully_masked_rows_are_zero_with_zero_gradients():
    case = Attention(
        T=9, S=4, causal=True, key_mask=True
    )  # rows before the first key, and a batch row masked
    inputs = [x if x.dtype == torch.bool else x.requires_grad_() for x in torch_inputs(case)]
    output = run(case, inputs)
    output.sum().backward()
    assert not output[0].any() and not output[1, :5].any() and output[1, 5:].any()
    for x in inputs[:3]:
        assert torch.isfinite(x.grad).all() and not x.grad[0].any()
    assert not inputs[0].grad[1, :5].any()


def test_tiles_outside_the_rule_are_not_touched():
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


def test_a_wrong_window_is_seen():
    """The comparison above would not be worth much if it let a window of one key more pass."""
    case = Attention(T=40, S=40, window=7)
    truth = REFERENCE(case.inputs("float64"), {**case.attributes, "window": 8})
    assert error(run(case, torch_inputs(case)).numpy(), truth) > 1e-3


def test_second_derivative_is_refused():
    q = torch.randn(1, 3, 12, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(online_softmax_attention(q, num_heads=2).sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="OnlineSoftmaxAttention has no second derivative"):
        grad.sum().backward()


def test_registration_is_sound():
    case = Attention(T=5, S=7, groups=2, window=3, key_mask=True)
    q, k, v, key_mask = torch_inputs(case)
    inputs = [x.requires_grad_() for x in (q, k, v)]
    attributes = [bool(a) if name == "causal" else a for name, a in case.attributes.items()]
    torch.library.opcheck(OPS["OnlineSoftmaxAttention"].torch_op, (*inputs, key_mask, *attributes))


class Layer(torch.nn.Module):
    def forward(self, x, key_mask):
        q, k, v = x.chunk(3, dim=-1)
        packed = online_softmax_attention(x, num_heads=2, window=4)
        return packed + online_softmax_attention(q, k, v, key_mask, num_heads=2, causal=True)


def test_exports_with_dynamic_batch_and_length():
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("seq", min=1, max=1024)}
    example = (torch.randn(2, 10, 18), torch.ones(2, 10, dtype=torch.bool))
    program = torch.export.export(Layer(), example, dynamic_shapes=(axes, axes))
    nodes = [n for n in program.graph.nodes if n.target is OPS["OnlineSoftmaxAttention"].torch_op]
    assert len(nodes) == 2
    for B, T in ((1, 1), (3, 33), (2, 300)):
        x, mask = torch.randn(B, T, 18), torch.rand(B, T) > 0.3
        assert torch.equal(program.module()(x, mask), Layer()(x, mask))


def test_compiles_with_gradients():
    compiled = torch.compile(Layer(), backend="aot_eager", fullgraph=True)
    x, mask = torch.randn(2, 10, 18, requires_grad=True), torch.ones(2, 10, dtype=torch.bool)
    (mine,) = torch.autograd.grad(compiled(x, mask).square().sum(), x)
    (truth,) = torch.autograd.grad(Layer()(x, mask).square().sum(), x)
    torch.testing.assert_close(mine, truth)


_MEASURE = """
import resource, sys, torch
from temport.custom_ops.online_softmax_attention import online_softmax_attention
torch.set_num_threads(1)
T, window = int(sys.argv[1]), int(sys.argv[2])
def once(length):
    x = torch.zeros(1, length, 3 * 32, requires_grad=True)
    online_softmax_attention(x, num_heads=1, causal=True, window=window).sum().backward()
once(64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
once(T)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("window", [0, 60], ids=["causal", "window60"])
def test_memory_grows_with_the_length_not_its_square(window):
    """Peak resident KiB of forward and backward; the T x T table alone would be 256 MiB at 8192."""
    command = [sys.executable, "-c", _MEASURE, "8192", str(window)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    strip = 3 * torch_op.QUERY_TILE * 8192 * 4  # scores, their gradient and a temporary of one row of tiles
    tensors = 16 * 8192 * 96 * 4  # copies by head, gradients and outputs: all O(T)
    assert grown * 1024 < strip + tensors < 8192 * 8192 * 4 / 4
