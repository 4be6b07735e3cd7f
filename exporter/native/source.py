"""The C++ source of an engine, from its plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from temport.exporter.declare.declaration import Axis, Declaration, TensorSpec
from temport.exporter.native.blob import ALIGNMENT
from temport.exporter.native.plan import Plan

_ONNX_TYPES = {name: ir.DataType.from_numpy(__import__("numpy").dtype(name)).value for name in ("float32", "int64", "int32", "int16", "int8", "uint8", "bool")}


def source(plan: Plan, declaration: Declaration, model_sha256: str, version: str) -> str:
    """One file: the run, the layouts of states, and the table that the C interface hands out."""
    axes = [axis for axis in declaration.axes.values()]
    states = {before for before, _ in declaration.states}
    following = {after for _, after in declaration.states}
    inputs = [spec for spec in declaration.inputs if spec.name not in states]
    outputs = [spec for spec in declaration.outputs if spec.name not in following]
    carried = [spec for spec in declaration.inputs if spec.name in states]
    named = [f"const int64_t {axis.name} = {axis.max if axis.static else f'sizes[{i}]'};" for i, axis in enumerate(axes)]
    sizes = [f"  {line}\n  (void){axis.name};" for line, axis in zip(named, axes, strict=True)]
    memory_bytes = plan.state_bytes + plan.scratch.bytes
    checks = [
        f"  if (!pass && !all_finite(static_cast<const float*>(inputs[{i}]), {_elements(spec)})) return TEMPORT_ENGINE_NONFINITE;"
        for i, spec in enumerate(inputs)
        if spec.dtype == "float32"
    ]
    ranges = [
        f"  if ({axis.name} < {axis.min} || {axis.name} > {axis.max}) return TEMPORT_ENGINE_SIZE;"
        for axis in axes
        if not axis.static
    ]
    loads, stores = [], []
    for index, state in enumerate(plan.states):
        kind = _C[carried[index].dtype]
        loads += [f"  {{\n    const auto* from = static_cast<const {kind}*>(states[{index}]);", *(f"    {x}" for x in state.load), "  }"]
        stores += [f"  {{\n    auto* to = static_cast<{kind}*>(states[{index}]);", *(f"    {x}" for x in state.store), "  }"]
    return "\n".join(
        [
            f"// Written by temport {version} from a model whose file has the SHA-256",
            f"// {model_sha256}.",
            f"#define TEMPORT_ISA {plan.isa.name}",
            '#include "kernels/engine/run.h"',
            "",
            "namespace temport::TEMPORT_ISA {",
            "namespace {",
            "",
            f'static_assert(kPanel == {plan.isa.panel}, "the weights were packed for {plan.isa.name}; compile with its flags");',
            f"constexpr int64_t kStateBytes = {plan.state_bytes}, kScratchBytes = {plan.scratch.bytes};",
            "",
            "void reset(void* given) { __builtin_memset(given, 0, kStateBytes); }",
            "",
            "temport_engine_code run(void* given, const int64_t* sizes, const void* const* inputs, void* const* outputs,",
            "                        uint32_t flags) {",
            "  (void)sizes, (void)flags;",
            *sizes,
            *ranges,
            "  [[maybe_unused]] const bool pass = (flags & TEMPORT_ENGINE_PASS_NONFINITE) != 0;",
            *checks,
            "  const NoDenormals guard;",
            "  auto* const memory = static_cast<unsigned char*>(given);",
            "  [[maybe_unused]] auto* const scratch = memory + kStateBytes;",
            *(f"  {line}" for line in plan.lines),
            "  return TEMPORT_ENGINE_OK;",
            "}",
            "",
            "void load(void* given, const int64_t* sizes, const void* const* states) {",
            "  (void)sizes, (void)states;",
            *sizes,
            "  [[maybe_unused]] auto* const memory = static_cast<unsigned char*>(given);",
            *loads,
            "}",
            "",
            "void store(const void* given, const int64_t* sizes, void* const* states) {",
            "  (void)sizes, (void)states;",
            *sizes,
            "  [[maybe_unused]] auto* const memory = static_cast<unsigned char*>(const_cast<void*>(given));",
            *stores,
            "}",
            "",
            *_table("kAxis", "temport_engine_axis", [f'{{"{a.name}", {a.min}, {a.max}}}' for a in axes]),
            *_tensors("Input", inputs, axes),
            *_tensors("Output", outputs, axes),
            *_tensors("State", carried, axes),
            "",
            "const temport_engine kEngine = {",
            f'    TEMPORT_ENGINE_ABI, "{version}", "{model_sha256}", "{plan.isa.name}",',
            f"    {memory_bytes}, {ALIGNMENT}, kStateBytes, {plan.blob.bytes},",
            f"    {len(axes)}, {len(inputs)}, {len(outputs)}, {len(carried)},",
            "    kAxis, kInput, kOutput, kState, reset, run, load, store};",
            "",
            "}  // namespace",
            "}  // namespace temport::TEMPORT_ISA",
            "",
            'extern "C" __attribute__((visibility("default"))) const temport_engine* temport_engine_of_this_library(void) {',
            f"  return &temport::{plan.isa.name}::kEngine;",
            "}",
            "",
        ]
    )


_C = {"float32": "float", "int64": "int64_t", "int32": "int32_t", "int16": "int16_t", "int8": "int8_t", "uint8": "uint8_t", "bool": "bool"}


def _elements(spec: TensorSpec) -> str:
    return " * ".join(f"int64_t{{{d}}}" if isinstance(d, int) else d.name for d in spec.shape) or "1"


def _table(name: str, kind: str, rows: Sequence[str]) -> list[str]:
    if not rows:
        return [f"const {kind}* const {name} = nullptr;"]
    return [f"const {kind} {name}[] = {{", *(f"    {row}," for row in rows), "};"]


def _tensors(name: str, specs: Sequence[TensorSpec], axes: Sequence[Axis]) -> list[str]:
    lines, rows = [], []
    numbers = {axis.name: i for i, axis in enumerate(axes)}
    for index, spec in enumerate(specs):
        shape = [d.max if isinstance(d, Axis) else d for d in spec.shape]
        open_axes = [numbers.get(d.name, -1) if isinstance(d, Axis) and not d.static else -1 for d in spec.shape]
        lines.append(f"const int64_t k{name}{index}Shape[] = {{{', '.join(map(str, shape or [1]))}}};")
        lines.append(f"const int32_t k{name}{index}Axes[] = {{{', '.join(map(str, open_axes or [-1]))}}};")
        rows.append(f'{{"{spec.name}", {_ONNX_TYPES[spec.dtype]}, {len(shape)}, k{name}{index}Shape, k{name}{index}Axes}}')
    return [*lines, *_table(f"k{name}", "temport_engine_tensor", rows)]
