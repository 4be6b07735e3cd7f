"""Play TensorRT for one quickly deployable plugin: ask it everything a build asks, then launch its kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from temport.custom_ops.cuda.aot_kernels import AotKernel
from temport.custom_ops.cuda.aot_plugin import OPS
from temport.custom_ops.cuda.launch_arguments import LaunchArguments
from tests.tensorrt.kept_build import build_emulated_library
from tests.tensorrt.tensorrt_stand_in import (
    DynamicTensorDescription,
    ExpressionBuilder,
    Field,
    TensorDescription,
    symbol,
)

_LAUNCHER = Path(__file__).with_name("launch_aot.cc")


def text_of(source: Path, macros: tuple[str, ...]) -> str:
    """Stands for the PTX of a kernel."""
    return f"{source.name} {macros}"


class Setter(dict[int, Any]):
    """Where a plugin leaves its integer arguments."""

    nbSymExprs = 0


def launch_emulated(
    kernel: AotKernel,
    grid: Sequence[int],
    threads: int,
    shared: int,
    arguments: LaunchArguments,
) -> None:
    """As a driver launches it, on emulated threads."""
    assert (
        _emulated(kernel).launch_kernel(*grid, threads, ctypes.c_size_t(shared), arguments, len(arguments))
        == 0
    )


@cache
def _emulated(kernel: AotKernel) -> ctypes.CDLL:
    """The kernel compiled for emulated threads, one library per variant."""
    options = [f"-D{macro}" for macro in kernel.macros]
    options += [f'-DTEMPORT_SOURCE="{kernel.source}"', f"-DTEMPORT_ENTRY={kernel.entry}"]
    return ctypes.CDLL(str(build_emulated_library(_LAUNCHER, [*options, f"-I{kernel.source.parent}"])))


def run_plugin(
    trt: Any,
    name: str,
    kernel: AotKernel,
    attributes: dict[str, int],
    inputs: list[np.ndarray],
) -> list[np.ndarray]:
    """Outputs of plugin `name`, all input axes dynamic while it is built."""
    op = OPS[name]
    attributes = {key: attributes[key] for key in op.attributes}
    creator = trt.get_plugin_registry().get_creator(name, "1", "temport")
    fields = [Field(key, np.array([value]), trt.PluginFieldType.INT64) for key, value in attributes.items()]
    request = trt.QuickPluginCreationRequest.STRICT_AOT
    plugin = creator.create_plugin(name, "temport", fields, trt.TensorRTPhase.BUILD, request)

    types = [getattr(trt, str(x.dtype)) for x in inputs]
    sizes = {f"{i}.{axis}": n for i, x in enumerate(inputs) for axis, n in enumerate(x.shape)}
    shapes = [[symbol(f"{i}.{axis}") for axis in range(x.ndim)] for i, x in enumerate(inputs)]
    out_types = plugin.get_output_data_types(types, [x.ndim for x in inputs])
    out_shapes = plugin.get_output_shapes(shapes, [], ExpressionBuilder())
    out_sizes = [[d.at(sizes) for d in shape] for shape in out_shapes]

    linear = trt.TensorFormat.LINEAR
    dims = [list(x.shape) for x in inputs] + out_sizes
    plain = [TensorDescription(d, t, linear) for d, t in zip(dims, [*types, *out_types], strict=True)]
    described = [DynamicTensorDescription(d) for d in plain]
    offered = plugin.get_supported_format_combinations(described, len(inputs))
    assert [(d.type, d.format) for d in offered] == [(d.type, d.format) for d in plain]
    plugin.configure_plugin(described[: len(inputs)], described[len(inputs) :])
    (tactic,) = plugin.get_valid_tactics()
    plugin = plugin.clone()
    plugin.set_tactic(tactic)

    launch, setter = SimpleNamespace(), Setter()
    plugin.get_launch_params(shapes, described, len(inputs), launch, setter, ExpressionBuilder())
    entry, ptx = plugin.get_kernel(plain[: len(inputs)], plain[len(inputs) :])
    assert (entry, ptx.decode()) == (kernel.entry, text_of(kernel.source, kernel.macros))
    grid = [_value(getattr(launch, f"grid_{axis}"), sizes) for axis in "xyz"]
    integers = [_value(setter[i], sizes) for i in range(setter.nbSymExprs)]
    assert (_value(launch.block_y, sizes), _value(launch.block_z, sizes)) == (1, 1)

    numpy_of = {trt.float32: np.float32}
    outputs = [
        np.full(size, np.nan, numpy_of[kind] if kind in numpy_of else inputs[0].dtype)
        for size, kind in zip(out_sizes, out_types, strict=True)
    ]
    arguments = LaunchArguments([x.ctypes.data for x in inputs], integers, [x.ctypes.data for x in outputs])
    threads, shared = _value(launch.block_x, sizes), _value(launch.shared_mem, sizes)
    launch_emulated(kernel, grid, threads, shared, arguments)
    return outputs


def _value(expression: Any, sizes: dict[str, int]) -> int:
    return int(expression.expr.at(sizes))
