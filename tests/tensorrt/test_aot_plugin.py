"""Quickly deployable plugins: NVIDIA's own `tensorrt.plugin` package asks them, emulated threads run their kernels.

What is not seen here: the builder that puts the PTX into an engine, and the GPU that runs it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from temport.custom_ops.block_linear_attention.reference import reference as block_linear_reference
from temport.custom_ops.cuda import aot_kernels, aot_plugin
from temport.custom_ops.cuda.build import nvcc
from temport.custom_ops.cuda.launch_arguments import LaunchArguments, float_bits
from temport.custom_ops.online_softmax_attention.reference import reference
from tests.tensorrt.aot_harness import run_plugin, text_of
from tests.tensorrt.tensorrt_stand_in import plugin_package, tensorrt
from tests.tensorrt.test_cuda_kernels import DTYPES, bound

needs_package = pytest.mark.skipif(
    plugin_package() is None,
    reason="the wheel tensorrt-cu13-bindings, which has tensorrt.plugin, is not installed",
)


@pytest.fixture
def trt() -> Iterator[Any]:
    with tensorrt() as module:
        yield module


def entry(kernel: aot_kernels.AotKernel) -> dict[str, Any]:
    """What `register` is given."""
    text = text_of(kernel.source, kernel.macros)
    launch = {"rows": kernel.rows, "threads": kernel.threads, "shared": kernel.shared}
    return {"entry": kernel.entry, "ptx": text, **launch}


SIZES = [
    ({"causal": 1}, 70, 70, 4, 2, 64, 64),
    ({"causal": 1}, 9, 33, 2, 1, 17, 5),
    ({}, 40, 40, 2, 2, 32, 32),
    ({"window": 7}, 150, 150, 1, 1, 24, 24),
    ({"window": 3, "query_offset": 0}, 30, 11, 1, 1, 96, 96),
    ({"causal": 1}, 40, 40, 1, 1, 256, 256),
]
CASES = [
    *(
        pytest.param("qkv", t, *sizes, marks=pytest.mark.thorough if i > (3 if t == "float32" else 0) else ())
        for t in DTYPES
        for i, sizes in enumerate(SIZES)  # each is a compiler's run; of half types one
    ),
    ("packed", "float16", {"causal": 1}, 40, 40, 4, 2, 32, 32),
    ("packed__mask", "bfloat16", {"window": 9}, 40, 40, 2, 2, 32, 32),
    ("qkv__mask", "float32", {"causal": 1}, 20, 33, 2, 1, 32, 32),
]


@needs_package
@pytest.mark.parametrize(("layout", "element_type", "rule", "T", "S", "H", "kv", "D", "Dv"), CASES, ids=str)
def test_attention(
    trt: Any, layout: str, element_type: str, rule: dict[str, int], T: int, S: int, H: int,
    kv: int, D: int, Dv: int,
) -> None:  # fmt: skip
    packed, masked = layout.startswith("packed"), layout.endswith("mask")
    random = np.random.default_rng(T)
    widths, lengths = [H * D, kv * D, kv * Dv], [T, S, S]
    if packed:
        widths, lengths = [sum(widths)], [T]
    inputs = [
        random.standard_normal((2, n, w)).astype(DTYPES[element_type])
        for n, w in zip(lengths, widths, strict=True)
    ]
    mask = random.random((2, S)) < 0.6 if masked else None
    name, kernel = f"attention__{layout}", aot_kernels.attention(element_type, D, Dv, packed, "mask" * masked)
    aot_plugin.register([entry(kernel)])
    attributes = {
        "variant": 0, "num_heads": H, "kv_num_heads": kv, "head_dim": D, "value_dim": Dv, "block": 0,
        "causal": rule.get("causal", 0), "window": rule.get("window", 0),
        "first_position": rule.get("query_offset", -1) + 1, "scale_bits": float_bits(D**-0.5),
    }  # fmt: skip
    given = [*inputs, *([] if mask is None else [mask])]
    (y,) = run_plugin(trt, name, kernel, attributes, given)
    q, k, v = [*inputs, None, None][:3]
    truth = reference(
        [q, k, v, mask], {"num_heads": H, "kv_num_heads": kv, "causal": 0, "window": 0, "query_offset": -1,
                          "scale": D**-0.5, **rule}
    )  # fmt: skip
    assert np.abs(y.astype(np.float64) - truth).max() <= bound(element_type, truth, inputs)


@needs_package
@pytest.mark.parametrize(
    ("element_type", "packed"),
    [
        ("float32", False),
        pytest.param("float16", False, marks=pytest.mark.thorough),
        ("bfloat16", True),
    ],
)
@pytest.mark.parametrize(
    ("length", "block", "feature_map", "normalizer"),
    [
        (70, 16, "elu1", "key_sum"),
        (9, 200, "identity", "none"),
        pytest.param(70, 16, "identity", "none", marks=pytest.mark.thorough),
        pytest.param(9, 200, "elu1", "key_sum", marks=pytest.mark.thorough),
    ],
)
def test_block_linear_is_four_plugins(
    trt: Any, element_type: str, packed: bool, length: int, block: int, feature_map: str,
    normalizer: str,
) -> None:  # fmt: skip
    H, D = 2, 32 if element_type == "float32" else 24  # kernels of another file, and an odd width
    random = np.random.default_rng(length)
    shapes = [(2, length, 3 * H * D)] if packed else [(2, length, H * D)] * 3
    inputs = [(0.5 * random.standard_normal(shape)).astype(DTYPES[element_type]) for shape in shapes]
    layout = "packed" if packed else "qkv"
    attributes = {
        "num_heads": H, "kv_num_heads": H, "head_dim": D, "value_dim": D, "block": block, "causal": 1, "window": 0,
        "first_position": 1, "scale_bits": float_bits(D**-0.5), "elu1": int(feature_map == "elu1"),
        "key_sum": int(normalizer == "key_sum"), "eps_bits": float_bits(1e-8),
    }  # fmt: skip
    names = [
        f"block_states__{layout}",
        "earlier_blocks",
        f"linear_part__{layout}",
        f"attention__{layout}__linear",
    ]
    kernels = [
        *(aot_kernels.block_linear(n.partition("__")[0], element_type, D, packed) for n in names[:3]),
        aot_kernels.attention(element_type, D, D, packed, "linear"),
    ]
    aot_plugin.register([entry(kernel) for kernel in kernels])

    def run(step: int, given: list[np.ndarray]) -> list[np.ndarray]:
        return run_plugin(trt, names[step], kernels[step], {**attributes, "variant": step}, given)

    states = run(1, run(0, inputs if packed else inputs[1:]))
    (linear,) = run(2, [inputs[0], *states])
    (y,) = run(3, [*inputs, linear])
    q, k, v = [*inputs, None, None][:3]
    truth = block_linear_reference(
        [q, k, v], {"num_heads": H, "block_size": block, "scale": D**-0.5, "feature_map": feature_map,
                    "normalizer": normalizer, "eps": 1e-8}
    )  # fmt: skip
    assert np.abs(y.astype(np.float64) - truth).max() <= bound(element_type, truth, inputs)


def every_kernel() -> list[aot_kernels.AotKernel]:
    kernels = [aot_kernels.attention(t, d, d, False) for t in DTYPES for d in (32, 64, 128, 256)]
    kernels += [aot_kernels.attention("float16", 64, 64, packed, more)
                for packed in (False, True) for more in ("", "mask", "linear")]  # fmt: skip
    return [
        *kernels,
        *(aot_kernels.block_linear("linear_part", t, 64, p) for t in DTYPES for p in (False, True)),
    ]


def test_a_launch_that_needs_permission_is_no_kernel() -> None:
    """More than 48 KiB of shared memory has to be asked for, which an engine does not do."""
    with pytest.raises(
        ValueError, match=r"temport_linear_part needs 65536 bytes of shared memory.*takes 49152"
    ):
        aot_kernels.block_linear("linear_part", "float32", 1024, False)
    with pytest.raises(ValueError, match=r"head dim 257 .* takes 1 to 256"):
        aot_kernels.attention("float16", 64, 257, False)


def test_integers_of_a_launch_are_not_cut() -> None:
    assert len(LaunchArguments([1, 2], [-(2**31), 2**31 - 1], [3])) == 5
    with pytest.raises(ValueError, match="32-bit integers, and 2147483648 is none"):
        LaunchArguments([], [2**31], [])


@pytest.mark.skipif(nvcc() is None, reason="no nvcc on this machine")
@pytest.mark.parametrize(
    "kernel",
    [pytest.param(k, marks=pytest.mark.thorough if i % 9 else ()) for i, k in enumerate(every_kernel())],
    ids=lambda k: k.macros[0],
)
def test_ptx(kernel: aot_kernels.AotKernel, tmp_path: Path) -> None:
    """nvcc checks the shared memory against the tile; the assembler takes the text for old and new devices."""
    text = kernel.ptx()
    assert f".visible .entry {kernel.entry}(" in text and ".target sm_80" in text
    assembler = shutil.which("ptxas", path=str(Path(nvcc() or "").resolve().parent)) or shutil.which("ptxas")
    if assembler is not None:
        (tmp_path / "kernel.ptx").write_text(text)
        for target in ("sm_80", "sm_90"):
            subprocess.run(
                [assembler, f"-arch={target}", "-o", "/dev/null", tmp_path / "kernel.ptx"], check=True
            )


def test_missing_nvcc_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aot_kernels, "nvcc", lambda: None)
    with pytest.raises(RuntimeError, match="nvcc was not found; install the CUDA toolkit"):
        aot_kernels.AotKernel(aot_kernels.ATTENTION, ("NEVER_COMPILED",), "x", 1, 1, 0).ptx()


@pytest.mark.skipif(nvcc() is None, reason="no nvcc on this machine")
def test_wrong_shared_memory_does_not_compile() -> None:
    kernel = aot_kernels.attention("float16", 64, 64, False)
    macros = tuple(m.replace(f"SHARED={kernel.shared}", "SHARED=1024") for m in kernel.macros)
    with pytest.raises(RuntimeError, match="launch parameter"):
        aot_kernels.AotKernel(kernel.source, macros, kernel.entry, kernel.rows, kernel.threads, 1024).ptx()
