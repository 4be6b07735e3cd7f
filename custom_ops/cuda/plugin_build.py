"""Build the TensorRT plugin library: `python -m temport.custom_ops.cuda.plugin_build [OUT]`.

It needs NvInferRuntime.h of the user's TensorRT (or TensorRT-RTX) SDK, which no package registry carries; say
where it is with TEMPORT_TENSORRT_INCLUDE.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from temport.custom_ops.cuda.build import DEFAULT, build_cuda, build_emulated, nvcc

_HEADER = "NvInferRuntime.h"
_PLACES = (
    "/usr/include/x86_64-linux-gnu",
    "/usr/include/aarch64-linux-gnu",
    "/usr/include",
    "/usr/local/tensorrt/include",
)
PLUGIN = DEFAULT.with_name("libtemport_plugin.so")
SOURCE = Path(__file__).with_name("plugin.cc")


def tensorrt_include() -> Path | None:
    """The directory with TensorRT's headers, or None."""
    places = [*filter(None, [os.environ.get("TEMPORT_TENSORRT_INCLUDE")]), *_PLACES]
    return next((Path(place) for place in places if (Path(place) / _HEADER).is_file()), None)


def unavailable() -> str | None:
    """Why the plugin library cannot be built here, or None."""
    if tensorrt_include() is None:
        return (
            f"{_HEADER} was not found; set TEMPORT_TENSORRT_INCLUDE to the include folder of the TensorRT SDK"
        )
    if nvcc() is None:
        return "nvcc was not found; install the CUDA toolkit or set NVCC to its compiler"
    return None


def build_plugin(out: Path = PLUGIN, emulated: bool = False) -> Path:
    """Kernels and plugin in one library. `emulated` builds engines and cannot run them: for tests without a GPU."""
    if (why := unavailable()) is not None:
        raise RuntimeError(f"the TensorRT plugin is not built: {why}")
    build = build_emulated if emulated else build_cuda
    return build(out, extra=(str(SOURCE), f"-I{tensorrt_include()}", *_toolkit_include()))


def _toolkit_include() -> list[str]:
    """Where cuda_runtime_api.h is, which TensorRT's headers include; nvcc itself knows, a host compiler does not."""
    places = [
        str(Path(nvcc() or "nvcc").resolve().parent.parent),
        os.environ.get("CUDA_HOME", ""),
        "/usr/local/cuda",
    ]
    return [
        f"-I{place}/include" for place in places if (Path(place) / "include" / "cuda_runtime_api.h").is_file()
    ][:1]


if __name__ == "__main__":
    print(build_plugin(Path(sys.argv[1]) if len(sys.argv) > 1 else PLUGIN))
