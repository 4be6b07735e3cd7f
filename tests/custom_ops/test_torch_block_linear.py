"""The blocked torch op: against the float64 reference, its gradients and its memory."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_node import EPS, error

from temport.custom_ops.block_linear_attention import block_linear_attention
from temport.custom_ops.mask import BlockRule
from temport.custom_ops.table import OPS

REFERENCE = OPS["BlockLinearAttention"].reference
MAPS = list(product(["identity", "elu1"], ["key_sum", "none"]))


def naive(q, k, v, num_heads, block_size, feature_map, normalizer):
    """Both parts from whole T x T tables; an independent way to the same numbers, and torch's own error."""
    q, k, v = (x.unflatten(2, (num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    T = q.shape[2]
    own, earlier = (torch.from_numpy(BlockRule(block_size, part).array(T, T)) for part in (False, True))
    scores = (q @ k.mT) * q.shape[-1] ** -0.5
    intra = scores.masked_fill(~own, -torch.inf).softmax(-1) @ v
    phi_q, phi_k = (x if feature_map == "identity" else torch.nn.functional.elu(x) + 1 for x in (q, k))
    products = torch.where(earlier, phi_q @ phi_k.mT, 0)
    inter = products @ v
    if normalizer == "key_sum":
        inter = inter / (products.sum(-1, keepdim=True) + 1e-8)
    return (intra + inter).transpose(1, 2).flatten(2)


def draw(T, H, D, Dv, seed=0, batch=2, dtype=torch.float64):
    """Positive q and k, so that the denominator of identity + key_sum stays away from 0."""
    generator = torch.Generator().manual_seed(seed)
    q, k = (torch.rand(batch, T, H * D, generator=generator, dtype=torch.float64) + 0.1 for _ in range(2))
    return [
        x.to(dtype) for x in (q, k, torch.randn(batch, T, H * Dv, generator=generator, dtype=torch.float64))
    ]


@settings(max_examples=100, deadline=None)
@given(
    T=st.sampled_from([1, 2, 7, 64, 65, 130]),
    block=st.sampled_from([1, 2, 16, 64, 200]),
    H=st.integers(1, 3),
    D=st.sampled_from([1, 5, 8]),
    Dv=st.sampled_from([1, 4, 7]),
    maps=st.sampled_from(MAPS),
    batch=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_is_the_reference_in_float64(T, block, H, D, Dv, maps, batch, seed):
    q, k, v = draw(T, H, D, Dv, seed, batch)
    options = {
        "num_heads": H,
        "block_size": block,
        "feature_map": maps[0],
        "normalizer": maps[1],
    }
    truth = REFERENCE([q.numpy(), k.numpy(), v.numpy()], options)
    output = block_linear_attention(q, k, v, **options)
    largest = max(1.0, np.abs(truth).max())
    assert error(output.numpy(), truth) <= 8 * T * EPS["float64"] * largest
    if Dv == D:
        assert torch.equal(block_linear_attention(torch.cat([q, k, v], dim=2), **options), output)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("maps", MAPS, ids="-".join)
@pytest.mark.parametrize("T,block", [(1, 4), (130, 16), (100, 64)], ids=str)
def test_error_in_each_dtype(T, block, maps, dtype):
    kind = getattr(torch, dtype)
    inputs = draw(T, 2, 16, 16, dtype=kind)
    options = {
        "num_heads": 2,
        "block_size": block,
        "feature_map": maps[0],
        "normalizer": maps[1],
    }
    truth = REFERENCE([x.double().numpy() for x in inputs], options)
    own = error(naive(*(x.float() for x in inputs), **options).to(kind).double().numpy(), truth)
    output = block_linear_attention(*inputs, **options)
    assert output.dtype == kind
    bound = 2 * own + 4 * EPS[dtype] * max(1.0, np.abs(truth).max())
    assert error(output.double().numpy(), truth) <= bound


@pytest.mark.parametrize("maps", MAPS, ids="-".join)
@pytest.mark.parametrize("block", [1, 3, 9], ids=lambda c: f"C{c}")
def test_gradcheck(maps, block):
    inputs = [x.requires_grad_() for x in draw(7, 2, 3, 2)]
    options = {
        "num_heads": 2,
        "block_size": block,
        "feature_map": maps[0],
        "normalizer": maps[1],
    }
    assert torch.autograd.gradcheck(lambda *x: block_linear_attention(*x, **options), inputs)


@pytest.mark.parametrize("maps", MAPS, ids="-".join)
@pytest.mark.parametrize("T,block", [(1, 1), (65, 16), (130, 64), (20, 64)], ids=str)
def test_gradient_is_that_of_the_naive_computation(T, block, maps):
    options = {
        "num_heads": 2,
        "block_size": block,
        "feature_map": maps[0],
        "normalizer": maps[1],
    }
    gradients = []
    for compute in (block_linear_attention, naive):
        inputs = [x.requires_grad_() for x in draw(T, 2, 5, 5)]
        gradients.append(torch.autograd.grad(compute(*inputs, **options).square().sum(), inputs))
    for mine, truth in zip(*gradients, strict=True):
        assert error(mine.numpy(), truth.numpy()) <= 1e3 * EPS["float64"] * max(1.0, truth.abs().max().item())


def test_gradient_of_negative_features():
    """elu1 on both sides of 0, packed input."""
    x = torch.randn(
        2, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    assert torch.autograd.gradcheck(
        lambda x: block_linear_attention(x, num_heads=2, block_size=4, feature_map="elu1"), x
    )


def test_a_wrong_block_size_is_seen():
    q, k, v = draw(40, 2, 4, 4)
    truth = REFERENCE([x.numpy() for x in (q, k, v)], {"num_heads": 2, "block_size": 9})
    assert error(block_linear_attention(q, k, v, num_heads=2, block_size=8).numpy(), truth) > 1e-3


def test_second_derivative_is_refused():
    x = torch.randn(1, 3, 12, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(
        block_linear_attention(x, num_heads=2, block_size=2).sum(), x, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="BlockLinearAttention has no second derivative"):
        grad.sum().backward()


def test_registration_is_sound():
    inputs = [x.requires_grad_() for x in draw(7, 2, 3, 3)]
    torch.library.opcheck(OPS["BlockLinearAttention"].torch_op, (*inputs, 2, 3, 0.5, "elu1", "key_sum", 1e-8))


class Layer(torch.nn.Module):
    def forward(self, x):
        return block_linear_attention(x, num_heads=2, block_size=4, feature_map="elu1")


def test_exports_with_dynamic_batch_and_length():
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("seq", min=1, max=1024)}
    program = torch.export.export(Layer(), (torch.randn(2, 10, 18),), dynamic_shapes=(axes,))
    assert [n for n in program.graph.nodes if n.target is OPS["BlockLinearAttention"].torch_op]
    for B, T in ((1, 1), (3, 33)):
        x = torch.randn(B, T, 18)
        assert torch.equal(program.module()(x), Layer()(x))


_MEASURE = """
import resource, torch
from temport.custom_ops.block_linear_attention import block_linear_attention
torch.set_num_threads(1)
def once(length):
    x = torch.ones(1, length, 3 * 32, requires_grad=True)
    block_linear_attention(x, num_heads=1, block_size=64).sum().backward()
once(64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
once(8192)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_grows_with_the_length_not_its_square():
    """Peak resident KiB of forward and backward; the T x T table alone would be 256 MiB at 8192."""
    command = [sys.executable, "-c", _MEASURE]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    weights = 4 * 8192 * 64 * 4  # block_size scores per row: the weights, their gradient and temporaries
    tensors = 24 * 8192 * 96 * 4  # blocks, features, states and gradients: all O(T)
    assert grown * 1024 < weights + tensors < 8192 * 8192 * 4 / 3
