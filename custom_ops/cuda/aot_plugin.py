"""Quickly deployable plugins of enterprise TensorRT, ahead-of-time form: the kernels' PTX travels in the engine.

An engine built with them needs no library of ours, in C++ neither. A plugin launches one kernel without scratch
memory, so BlockLinearAttention is four of them. Launch grids and lengths are symbolic: dynamic shapes work.

Loaded by path in the process that builds the engine; it needs TensorRT (10.9 or newer) and nothing else.
Attributes are integers only; a float travels as its bits. Source of the contract: the documentation of
`tensorrt.plugin.aot_impl`: a kernel takes the tensors read, 32-bit integers, the tensors written.
"""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMESPACE, VERSION = "temport", "1"
TACTIC = 1
"""One tactic per plugin; naming it keeps TensorRT's default one, 0, out of the question."""

_SIZES = ("num_heads", "head_dim", "value_dim")
_RULE = ("kv_num_heads", "causal", "window", "first_position", "block", "scale_bits")


@dataclass(frozen=True)
class AotOp:
    """One plugin: names of its inputs and of its integer attributes, both in order."""

    name: str
    inputs: tuple[str, ...]
    attributes: tuple[str, ...]

    @property
    def packed(self) -> bool:
        return "qkv" in self.inputs

    @property
    def family(self) -> str:
        return self.name.partition("__")[0]


def _variants() -> list[AotOp]:
    ops = [AotOp("earlier_blocks", ("states", "sums"), ("variant", *_SIZES))]
    for layout, q, kv in (("qkv", ("q",), ("k", "v")), ("packed", ("qkv",), ("qkv",))):
        both = tuple(dict.fromkeys(q + kv))
        for more in ((), ("mask",), ("linear",)):
            name = "__".join(("attention", layout, *more))
            ops.append(AotOp(name, (*both, *more), ("variant", *_SIZES, *_RULE)))
        blocks = ("variant", *_SIZES, "block", "elu1")
        ops.append(AotOp(f"block_states__{layout}", kv, blocks))
        ops.append(AotOp(f"linear_part__{layout}", (*q, "states", "sums"), (*blocks, "key_sum", "eps_bits")))
    return ops


OPS = {op.name: op for op in _variants()}
"""Every plugin by its name. `variant` is the index of its kernel in what `register` is given."""


def register(kernels: Sequence[Mapping[str, Any]]) -> None:
    """Register every op with TensorRT; `kernels` have `entry`, `ptx`, `rows`, `threads`, `shared`."""
    trt: Any = importlib.import_module("tensorrt")
    trtp: Any = importlib.import_module("tensorrt.plugin")
    for op in OPS.values():
        _register(trt, trtp, op, kernels)


def _register(trt: Any, trtp: Any, op: AotOp, kernels: Sequence[Mapping[str, Any]]) -> None:
    """TensorRT reads what a plugin takes from the functions' signatures, so each gets one."""
    count = len(op.inputs)
    describe, tune, implement = _functions(trt, trtp, op, kernels)
    tensors = [_parameter(name, trtp.TensorDesc) for name in op.inputs]
    attributes = [_parameter(name, int) for name in op.attributes]
    outputs: Any = types.GenericAlias(tuple, (trtp.TensorDesc,) * len(_outputs(op)))
    written = _parameter("outputs", outputs)
    launch = tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]

    def described(*tensors: Any, **named: int) -> Any:
        return describe(tensors, named)

    def tuned(*given: Any) -> Any:
        return tune(given[:count], given[-1])

    def implemented(*given: Any) -> Any:
        named = dict(zip(op.attributes, given[count : count + len(op.attributes)], strict=True))
        return implement(given[:count], named)

    taken = [*tensors, *attributes]
    plugin = f"{NAMESPACE}::{op.name}"
    trtp.register(plugin)(_signed(described, taken, outputs))
    trtp.autotune(plugin)(_signed(tuned, [*taken, written], list[trtp.AutoTuneCombination]))
    trtp.aot_impl(plugin)(_signed(implemented, [*taken, written, _parameter("tactic", int)], launch))


def _signed(function: Any, parameters: Sequence[inspect.Parameter], returned: Any) -> Any:
    """The function with a signature as if it had been written with these parameters."""
    function.__signature__ = inspect.Signature(parameters, return_annotation=returned)
    return function


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)


def _outputs(op: AotOp) -> tuple[str, ...]:
    return ("states", "sums") if op.family in ("block_states", "earlier_blocks") else ("y",)


def _functions(trt: Any, trtp: Any, op: AotOp, kernels: Sequence[Mapping[str, Any]]) -> tuple[Any, Any, Any]:
    """What the op writes, which types it takes, and how its kernel is launched."""

    def describe(tensors: Sequence[Any], a: Mapping[str, int]) -> Any:
        batch, length = tensors[0].shape_expr[0], tensors[0].shape_expr[1]
        heads, dim, value_dim = a["num_heads"], a["head_dim"], a["value_dim"]
        if op.family == "earlier_blocks":
            return tuple(tensor.like() for tensor in tensors)
        if op.family == "block_states":
            blocks = trtp.cdiv(length, a["block"])
            sizes = (batch, heads, blocks, dim, value_dim), (batch, heads, blocks, dim)
            return tuple(trtp.from_shape_expr(size, trt.float32) for size in sizes)
        kind = trt.float32 if op.family == "linear_part" else tensors[0].dtype
        return (trtp.from_shape_expr((batch, length, heads * value_dim), kind),)

    def tune(tensors: Sequence[Any], outputs: Sequence[Any]) -> Any:
        names = {trt.float32: "FP32", trt.float16: "FP16", trt.bfloat16: "BF16", trt.bool: "BOOL"}
        kinds = ", ".join(names[tensor.dtype] for tensor in (*tensors, *outputs))
        return [trtp.AutoTuneCombination(kinds, "LINEAR", [TACTIC])]

    def implement(tensors: Sequence[Any], a: Mapping[str, int]) -> Any:
        kernel = kernels[a["variant"]]
        grid, arguments = launch_of(trtp, op, tensors, a, kernel["rows"], kernel["threads"])
        launch = trtp.KernelLaunchParams()
        launch.grid_x, launch.grid_y, launch.grid_z = grid
        launch.block_x, launch.shared_mem = kernel["threads"], kernel["shared"]
        expressions = trtp.SymIntExprs(len(arguments))
        for index, argument in enumerate(arguments):
            expressions[index] = trtp.SymInt32(argument)
        return kernel["entry"], kernel["ptx"], launch, expressions

    return describe, tune, implement


def launch_of(
    trtp: Any, op: AotOp, tensors: Sequence[Any], a: Mapping[str, int], rows: int, threads: int
) -> tuple[tuple[Any, Any, Any], list[Any]]:
    """Grid and integer arguments, as `aot_attention.cu` and `aot_block_linear.cu` take them."""
    shape = tensors[0].shape_expr
    batch, length, heads = shape[0], shape[1], a["num_heads"]
    sizes = [a["head_dim"], a["value_dim"]]
    if op.family == "attention":
        keys = length if op.packed else tensors[1].shape_expr[1]
        rule = [a[name] for name in ("causal", "window", "first_position", "block", "scale_bits")]
        grid = (trtp.cdiv(length, rows), heads, batch)
        return grid, [length, keys, heads, a["kv_num_heads"], *sizes, *rule]
    entries = a["head_dim"] * a["value_dim"]
    if op.family == "earlier_blocks":
        return (-(-(entries + a["head_dim"]) // threads), batch * heads, 1), [shape[2], *sizes]
    blocks = trtp.cdiv(length, a["block"])
    common = [length, heads, *sizes, a["block"], a["elu1"]]
    if op.family == "block_states":
        return (-(-entries // threads), blocks, batch * heads), common
    parts = -(-a["block"] // rows)
    return (blocks * parts, batch * heads, 1), [*common, a["key_sum"], a["eps_bits"]]
