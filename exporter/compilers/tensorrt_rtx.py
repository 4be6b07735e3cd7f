"""TensorRT for RTX: builds ahead of time, on any machine, for the compute capabilities asked for.

The facts of this table were measured with 1.7.1 by building the construct in question; `tests/tensorrt`
builds the important ones again. Engines load only in the TensorRT-RTX version that built them.
"""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

from temport.exporter.compilers.contract import Backend, CompileError

_NO_EQUIVALENT = "it has no TensorRT equivalent; rewrite the model without it"
_PAIRS = "use QuantizeLinear and DequantizeLinear around MatMul or Conv"


def _unavailable() -> str | None:
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return "the package tensorrt_rtx is not installed (pip install 'temport[tensorrt-rtx]')"
    return None


BACKEND = Backend(
    name="tensorrt-rtx",
    module="tensorrt_rtx",
    libraries="tensorrt_rtx_libs",
    opsets=(17, 24),
    element_types=frozenset(
        {
            *("FLOAT", "FLOAT16", "BFLOAT16", "INT32", "INT64", "INT8", "INT4", "UINT8", "BOOL"),
            "FLOAT8E4M3FN",
        }
    ),
    fused_types=frozenset({"FLOAT16", "BFLOAT16"}),
    fused_head_dims=(16, 256),
    compute_capabilities=("75", "80", "86", "89", "120", "121"),
    refused_ops={
        "NonZero": _NO_EQUIVALENT,
        "ConvInteger": _PAIRS,
        "DynamicQuantizeLinear": "quantise with scales that are constants",
        "MatMulInteger": _PAIRS,
        "QLinearConv": _PAIRS,
        "QLinearMatMul": _PAIRS,
        "DFT": _NO_EQUIVALENT,
        "BitwiseAnd": _NO_EQUIVALENT,
        "BitwiseOr": _NO_EQUIVALENT,
        "BitwiseXor": _NO_EQUIVALENT,
        "BitwiseNot": _NO_EQUIVALENT,
    },
    unavailable=_unavailable,
    options=frozenset(
        {"compute_capabilities", "optimization_level", "workspace_mib", "plugin", "build_timeout"}
    ),
)

_MAGIC = b"vtrt"
_CAPABILITY_BITS = {"75": 0x1, "80": 0x2, "86": 0x4, "89": 0x8, "120": 0x10, "121": 0x20}


def engine_targets(engine: Path) -> tuple[str, ...]:
    """Compute capabilities named in an engine's header (bytes 32-35, a bit each; observed, not
    documented)."""
    with engine.open("rb") as file:
        header = file.read(36)
    if len(header) < 36 or not header.startswith(_MAGIC):
        raise CompileError(f"{engine.name} does not begin like a TensorRT engine; build it again")
    (bits,) = struct.unpack_from("<I", header, 32)
    return tuple(name for name, bit in _CAPABILITY_BITS.items() if bits & bit)
