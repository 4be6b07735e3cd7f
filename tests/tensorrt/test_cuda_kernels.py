"""The CUDA kernels on emulated threads against the float64 reference, and their compilation by nvcc."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temport.custom_ops.block_linear_attention.reference import reference as block_linear_reference
from temport.custom_ops.cuda.build import ARCHITECTURES, build_cuda, nvcc
from temport.custom_ops.cuda.library import CudaKernels, Sizes
from temport.custom_ops.online_softmax_attention.reference import reference
from tests.tensorrt.kept_build import keep, kernel_sources

DTYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
EPS = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@pytest.fixture(scope="module")
def kernels(emulated_library: Path) -> CudaKernels:
    return CudaKernels(emulated_library)


def tensors(sizes: Sizes, packed: bool, seed: int = 0, spread: float = 1.0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    dtype = DTYPES[sizes.element_type]
    widths = [sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim, sizes.kv_heads * sizes.value_dim]
    lengths = [sizes.query_length, sizes.key_length, sizes.key_length]
    if packed:
        widths, lengths = [sum(widths)], lengths[:1]
    return [
        (spread * random.standard_normal((sizes.batch, n, w))).astype(dtype)
        for n, w in zip(lengths, widths, strict=True)
    ]


def address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def attend(
    kernels: CudaKernels,
    sizes: Sizes,
    inputs: list[np.ndarray],
    key_mask: np.ndarray | None = None,
    **rule: Any,
) -> np.ndarray:
    q, k, v = [*inputs, None, None][:3]
    y = np.full(
        (sizes.batch, sizes.query_length, sizes.heads * sizes.value_dim), np.nan, DTYPES[sizes.element_type]
    )
    kernels.online_softmax_attention(
        sizes, q.ctypes.data, address(k), address(v), address(key_mask), y.ctypes.data,
        scale=sizes.head_dim**-0.5, **rule,
    )  # fmt: skip
    return y.astype(np.float64)


def truth(
    sizes: Sizes, inputs: list[np.ndarray], key_mask: np.ndarray | None = None, **rule: Any
) -> np.ndarray:
    attributes = {
        "num_heads": sizes.heads, "kv_num_heads": sizes.kv_heads, "scale": sizes.head_dim**-0.5,
        "causal": int(rule.get("causal", False)), "window": rule.get("window", 0),
        "query_offset": rule.get("query_offset", -1),
    }  # fmt: skip
    q, k, v = [*inputs, None, None][:3]
    return reference([q, k, v, key_mask], attributes)


def bound(element_type: str, exact: np.ndarray, inputs: list[np.ndarray]) -> float:
    """Half types round the weights and the result once; float32 sums up to 300 terms of the values' size."""
    size = max(
        1.0, np.abs(exact).max(initial=0.0), *(float(np.abs(x.astype(np.float64)).max()) for x in inputs)
    )
    return (16 if element_type == "float32" else 2) * EPS[element_type] * size


SIZES = Sizes(2, 65, 65, 2, 2, 64, 64, "float16")


@pytest.mark.parametrize("element_type", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "rule"),
    [
        (SIZES, {}),
        (SIZES, {"causal": True}),
        (replace(SIZES, query_length=130, key_length=130), {"window": 60}),
        (replace(SIZES, query_length=200, key_length=200, batch=1, heads=1, kv_heads=1), {"window": 7}),
        (replace(SIZES, query_length=1, key_length=70), {"causal": True}),
        (replace(SIZES, query_length=9, key_length=4), {"causal": True}),
        (replace(SIZES, query_length=70, key_length=20), {"window": 3, "query_offset": 0}),
        (replace(SIZES, heads=4, kv_heads=2, head_dim=32, value_dim=32), {"window": 200}),
        (replace(SIZES, head_dim=16, value_dim=16), {"causal": True}),
        (replace(SIZES, head_dim=24, value_dim=40), {"causal": True}),
        (replace(SIZES, head_dim=17, value_dim=5), {"window": 9}),
        (replace(SIZES, head_dim=128, value_dim=128, batch=1), {"causal": True}),
        (replace(SIZES, head_dim=256, value_dim=256, batch=1, heads=1, kv_heads=1), {"causal": True}),
    ],
    ids=lambda x: "-".join(f"{k}{v}" for k, v in x.items()) or "full" if isinstance(x, dict)
    else f"T{x.query_length}-S{x.key_length}-H{x.heads}.{x.kv_heads}-D{x.head_dim}.{x.value_dim}",
)  # fmt: skip
def test_online_softmax(kernels: CudaKernels, sizes: Sizes, rule: dict[str, Any], element_type: str) -> None:
    sizes = replace(sizes, element_type=element_type)
    inputs = tensors(sizes, packed=False)
    exact = truth(sizes, inputs, **rule)
    assert np.abs(attend(kernels, sizes, inputs, **rule) - exact).max() <= bound(element_type, exact, inputs)


@settings(max_examples=15, deadline=None)
@given(
    T=st.integers(1, 90),
    S=st.integers(1, 90),
    causal=st.booleans(),
    window=st.integers(0, 100),
    offset=st.integers(-1, 20),
    masked=st.booleans(),
    dim=st.integers(1, 40),
    element_type=st.sampled_from(sorted(DTYPES)),
)
def test_any_rule(
    kernels: CudaKernels,
    T: int,
    S: int,
    causal: bool,
    window: int,
    offset: int,
    masked: bool,
    dim: int,
    element_type: str,
) -> None:
    sizes = Sizes(2, T, S, 1, 1, dim, dim, element_type)
    rule = {"causal": causal, "window": window, "query_offset": offset}
    inputs = tensors(sizes, packed=False, seed=T)
    key_mask = None
    if masked:
        key_mask = np.random.default_rng(S).random((2, S)) < 0.5
        key_mask[1] = False
    exact = truth(sizes, inputs, key_mask, **rule)
    got = attend(kernels, sizes, inputs, key_mask, **rule)
    assert np.abs(got - exact).max() <= bound(element_type, exact, inputs)
    assert not np.any(got[exact == 0])  # rows without a key are exactly 0


@pytest.mark.parametrize("element_type", DTYPES)
def test_packed(kernels: CudaKernels, element_type: str) -> None:
    sizes = Sizes(2, 40, 40, 4, 2, 32, 32, element_type)
    inputs = tensors(sizes, packed=True)
    exact = truth(sizes, inputs, window=9)
    assert np.abs(attend(kernels, sizes, inputs, window=9) - exact).max() <= bound(
        element_type, exact, inputs
    )


@pytest.mark.parametrize("element_type", DTYPES)
def test_large_logits(kernels: CudaKernels, element_type: str) -> None:
    """Scores of several hundred: the running maximum keeps every exponential finite."""
    sizes = Sizes(1, 70, 70, 1, 1, 32, 32, element_type)
    inputs = tensors(sizes, packed=False, spread=8.0)
    exact = truth(sizes, inputs, causal=True)
    # a score of size s carries an error of s*eps32 into its weight
    loose = bound(element_type, exact, inputs) + 4 * 600 * EPS["float32"] * np.abs(exact).max()
    assert np.abs(attend(kernels, sizes, inputs, causal=True) - exact).max() <= loose


@pytest.mark.parametrize("element_type", DTYPES)
def test_keys_outside_the_window_are_never_read(kernels: CudaKernels, element_type: str) -> None:
    """The kernel would turn a NaN that it reads into a NaN that it writes: 0 * NaN is NaN."""
    sizes = Sizes(1, 5, 300, 1, 1, 32, 32, element_type)
    inputs = tensors(sizes, packed=False)
    exact = truth(sizes, inputs, window=7)
    for x in inputs[1:]:
        x[:, : 300 - 5 - 6] = np.nan
    assert np.abs(attend(kernels, sizes, inputs, window=7) - exact).max() <= bound(
        element_type, exact, inputs
    )
    inputs[2][:, 296] = np.nan
    assert np.isnan(attend(kernels, sizes, inputs, window=7)).any()


@pytest.mark.parametrize("element_type", DTYPES)
@pytest.mark.parametrize("packed", [False, True], ids=["qkv", "packed"])
@pytest.mark.parametrize(
    ("length", "block"), [(1, 4), (16, 16), (70, 16), (130, 64), (9, 200)], ids=lambda n: str(n)
)
@pytest.mark.parametrize(
    ("feature_map", "normalizer"), [("elu1", "key_sum"), ("identity", "none")], ids=lambda n: n
)
def test_block_linear(
    kernels: CudaKernels,
    length: int,
    block: int,
    feature_map: str,
    normalizer: str,
    packed: bool,
    element_type: str,
) -> None:
    sizes = Sizes(2, length, length, 2, 2, 24, 24, element_type)
    inputs = tensors(sizes, packed, spread=0.5)
    y = np.full((2, length, 48), np.nan, DTYPES[element_type])
    workspace = np.full(kernels.block_linear_workspace(sizes, block) // 4 + 1, np.nan, np.float32)
    q, k, v = [*inputs, None, None][:3]
    options = {
        "block_size": block,
        "scale": 24**-0.5,
        "feature_map": feature_map,
        "normalizer": normalizer,
        "eps": 1e-8,
    }
    kernels.block_linear_attention(
        sizes, q.ctypes.data, address(k), address(v), y.ctypes.data, workspace.ctypes.data, **options
    )
    exact = block_linear_reference([q, k, v], {"num_heads": 2, **options})
    assert np.abs(y.astype(np.float64) - exact).max() <= bound(element_type, exact, inputs)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"head_dim": 257, "value_dim": 257}, "head dims must be 1 to 256"),
        ({"heads": 3, "kv_heads": 2}, "kv_heads must divide heads"),
        ({"batch": -1}, "sizes are negative"),
        ({"query_length": 2**31}, "at most 2\\^30"),
    ],
    ids=["head-dim", "heads", "batch", "length"],
)
def test_refused(kernels: CudaKernels, change: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        kernels.online_softmax_attention(replace(SIZES, **change), 16, 16, 16, None, 16, scale=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a required pointer is null"):
        kernels.online_softmax_attention(SIZES, 16, None, 16, None, 16, scale=1.0)
    with pytest.raises(ValueError, match="window must be at least 0"):
        kernels.online_softmax_attention(SIZES, 16, 16, 16, None, 16, window=-1, scale=1.0)


@pytest.mark.thorough
@pytest.mark.skipif(nvcc() is None, reason="no nvcc on this machine")
def test_nvcc_builds_every_architecture() -> None:
    library = keep(kernel_sources(nvcc() or ""), build_cuda)
    content = library.read_bytes()
    for architecture in ARCHITECTURES:
        assert f"-arch sm_{architecture} ".encode() in content
    for generation in ("80", "90"):  # PTX, for devices that none of the machine code is for
        assert f".target sm_{generation}".encode() in content
    symbols = subprocess.run(["nm", "-D", library], capture_output=True, text=True, check=True).stdout
    for name in ("temport_cuda_online_softmax", "temport_cuda_block_linear", "temport_cuda_error"):
        assert f" T {name}" in symbols
