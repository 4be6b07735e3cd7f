"""TensorRT (enterprise), 10.14 or newer: builds on, and for, the machine's own GPU.

Never yet run by this project: its table is that of TensorRT-RTX, whose parser and builder it shares.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

from temport.exporter.compilers.contract import Backend
from temport.exporter.compilers.tensorrt_rtx import BACKEND as RTX

OLDEST = (10, 14)
"""The first version whose ONNX parser reads `Attention`."""
_MAJOR_AND_MINOR = (75, 76)
"""`CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR` of cuda.h."""


def _unavailable() -> str | None:
    if importlib.util.find_spec("tensorrt") is None:
        return "the package tensorrt is not installed (NVIDIA's own package index carries it)"
    # importing creates no context; asking a builder without a device returns junk, so ask CUDA first
    if not cuda_device_count():
        return "no GPU: tensorrt builds only on the GPU it builds for; use --target tensorrt-rtx here"
    import tensorrt

    version = tuple(int(part) for part in tensorrt.__version__.split(".")[:2])
    if version < OLDEST:
        return f"tensorrt {tensorrt.__version__} is too old; {OLDEST[0]}.{OLDEST[1]} or newer is needed"
    return None


def cuda_device_count() -> int:
    """Number of CUDA devices according to the driver; 0 without a driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if cuda.cuInit(0) != 0 or cuda.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def compute_capability(cuda: ctypes.CDLL) -> str:
    """Major and minor number of the first device together, such as 89; `cuda` is the initialised driver library."""
    device, numbers = ctypes.c_int(), (ctypes.c_int(), ctypes.c_int())
    codes = [cuda.cuDeviceGet(ctypes.byref(device), 0)]
    for attribute, number in zip(_MAJOR_AND_MINOR, numbers, strict=True):
        codes.append(cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device))
    if any(codes):
        raise RuntimeError(f"CUDA does not tell the device's compute capability: error {max(codes)}")
    return "".join(str(number.value) for number in numbers)


def engine_targets(engine: Path) -> tuple[str, ...]:
    """The compute capability of this machine's GPU: an engine that was built here is for nothing else."""
    return (compute_capability(ctypes.CDLL("libcuda.so.1")),)


BACKEND = Backend(
    name="tensorrt",
    module="tensorrt",
    libraries="tensorrt_libs",
    opsets=RTX.opsets,
    element_types=RTX.element_types,
    fused_types=RTX.fused_types,
    fused_head_dims=RTX.fused_head_dims,
    compute_capabilities=(),
    refused_ops=RTX.refused_ops,
    unavailable=_unavailable,
    options=frozenset(
        {"optimization_level", "workspace_mib", "timing_cache", "plugin", "aot_plugin", "build_timeout"}
    ),
)
