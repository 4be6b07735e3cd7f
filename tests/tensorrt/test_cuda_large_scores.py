"""The CUDA kernels, on emulated threads, at scores of any size and over masked keys that hold anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from temport.custom_ops.cuda.library import CudaKernels, Sizes
from tests.numerics.attention_nodes import NODES, Products
from tests.numerics.masked_keys import poison_keys
from tests.numerics.one_node import Array, Node
from tests.numerics.test_large_scores import LINEAR, SIZES, infinite_scores, softmax_in_torch
from tests.tensorrt.test_cuda_kernels import DTYPES, EPS, address

KERNELS = ("window", "causal", "key mask", "key mask and window", "one row", "one block", "blocks")


@pytest.fixture(scope="module")
def kernels(emulated_library: Path) -> CudaKernels:
    return CudaKernels(emulated_library)


def run(kernels: CudaKernels, node: Node, dtype: str) -> Array:
    """Y in float64."""
    q, k, v = (node.inputs[name].astype(DTYPES[dtype]) for name in "QKV")
    a, mask = dict(node.attributes), node.inputs.get("key_mask")
    heads = a.pop("num_heads")
    kv_heads = a.pop("kv_num_heads", heads)
    dim, value_dim = q.shape[2] // heads, v.shape[2] // kv_heads
    sizes = Sizes(len(q), q.shape[1], k.shape[1], heads, kv_heads, dim, value_dim, dtype)
    y = np.full((len(q), q.shape[1], heads * value_dim), np.nan, DTYPES[dtype])
    pointers = (q.ctypes.data, k.ctypes.data, v.ctypes.data)
    if node.op == "BlockLinearAttention":
        space = np.full(kernels.block_linear_workspace(sizes, a["block_size"]) // 4 + 1, np.nan, np.float32)
        kernels.block_linear_attention(sizes, *pointers, y.ctypes.data, space.ctypes.data, **a)
    else:
        a["causal"] = bool(a["causal"])
        kernels.online_softmax_attention(sizes, *pointers, address(mask), y.ctypes.data, **a)
    return y.astype(np.float64)


def allowed(dtype: str) -> float:
    """Half types round the weights and the result; all are at most 1, and 2 where a linear part is added."""
    return 64 * EPS["float32"] if dtype == "float32" else 2 * EPS[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_scores_of_any_size(kernels: CudaKernels, name: str, dtype: str) -> None:
    for power, common in SIZES[::2]:
        node = NODES[name](Products.fitting(dtype, power, common))
        assert np.abs(run(kernels, node, dtype) - node.truth()[0]).max() <= allowed(dtype), (power, common)


@pytest.mark.parametrize("scale", [0.0, -0.25, 2.0**-110, -(2.0**60), 2.0**101])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scales_of_any_size(kernels: CudaKernels, dtype: str, scale: float) -> None:
    node = NODES["key mask and window"](Products(-60 if abs(scale) > 1 else 4, 6))
    node = replace(node, attributes={**node.attributes, "scale": scale})
    assert np.abs(run(kernels, node, dtype) - node.truth()[0]).max() <= allowed(dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", infinite_scores())
def test_infinite_scores(kernels: CudaKernels, case: str, dtype: str) -> None:
    """As the native kernels: NaN for +inf and where all are -inf, whose row sees keys."""
    k = infinite_scores()[case]
    q = np.zeros((1, 3, 4), np.float32)
    q[0, 1, 0], q[0, [0, 2], 1] = 1e25, 1
    v = np.array([[[1, 0, 0.5, 2], [1, 1, 0.25, 4], [1, -1, 0.125, 8]]], np.float32)
    rule = {"num_heads": 1, "kv_num_heads": 1, "scale": 0.5, "window": 0, "query_offset": -1}
    block = {"num_heads": 1, "block_size": 3, "scale": 0.5, **LINEAR}
    for causal in (False, True):
        expected = softmax_in_torch(q, k, v, causal)
        nodes = [Node("OnlineSoftmaxAttention", {"Q": q, "K": k, "V": v}, {**rule, "causal": int(causal)})]
        nodes += [Node("BlockLinearAttention", {"Q": q, "K": k, "V": v}, block)] if causal else []
        for node in nodes:
            y = run(kernels, node, dtype)
            np.testing.assert_allclose(y, expected, rtol=2 * EPS[dtype], atol=8 * EPS[dtype])


# The half types are float32 when they are computed with: there an infinity is what it is in float32.
POISONED = [
    pytest.param(dtype, poison, marks=pytest.mark.thorough if poison == np.inf and dtype != "float32" else ())
    for dtype in DTYPES
    for poison in (np.nan, np.inf)
]


@pytest.mark.parametrize(("dtype", "poison"), POISONED)
@pytest.mark.parametrize("name", KERNELS)
def test_a_key_that_a_row_may_not_see_has_no_influence(
    kernels: CudaKernels, name: str, dtype: str, poison: float
) -> None:
    """The last key and value and one in the middle: rows that see neither stay what they are, the others are not."""
    node = NODES[name](Products(dim=24))
    clean = run(kernels, node, dtype)
    seen = poison_keys(node, poison)
    dirty = run(kernels, node, dtype)
    np.testing.assert_allclose(dirty[~seen], clean[~seen], rtol=0, atol=allowed(dtype))
    assert not np.isfinite(dirty[seen]).all(-1).any()
