"""A registered architecture to a `Declaration` and the torch module behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import nn

from temport.exporter.declare.construct import seeded
from temport.exporter.declare.declaration import DYNAMIC_BATCH, DYNAMIC_SEQ, Axis, Declaration, TensorSpec
from temport.exporter.declare.observe import output_specs
from temport.exporter.declare.options import configure
from temport.exporter.errors import UserError, did_you_mean
from temport.graphs.architecture import Architecture
from temport.graphs.options import effective, is_ignored
from temport.graphs.registry import ARCHITECTURES, find, offered
from temport.plugins import PluginError


def architecture(name: str) -> Architecture:
    """The architecture of that name, also of another distribution, or a sentence with the nearest name."""
    try:
        found = find(name)
    except PluginError as error:
        raise UserError(str(error)) from error
    if found is None:
        known = [*ARCHITECTURES, *(plugin.name for plugin in offered() if plugin.refusal is None)]
        raise UserError(f"unknown architecture {name!r}; {did_you_mean(name, known)}")
    return found


def declare(
    arch_name: str,
    settings: Sequence[str] = (),
    *,
    batch: str = "1",
    seq: str = "60",
    memory: str | None = None,
    opset: int = 20,
    ops: str = "custom",
    seed: int = 0,
) -> tuple[Declaration, nn.Module, Any]:
    """Declaration, module (seeded initial weights, eval mode) and config of a registered architecture."""
    arch = architecture(arch_name)
    axes = {
        "batch": Axis.parse("batch", batch, DYNAMIC_BATCH),
        "seq": Axis.parse("seq", seq, DYNAMIC_SEQ),
    }
    axes["memory"] = Axis.parse("memory", memory or seq, DYNAMIC_SEQ)
    config, notes = configure(arch, settings, seq_len=axes["seq"].max)
    inputs = tuple(
        TensorSpec(spec.name, spec.dtype, tuple(axes[a] if isinstance(a, str) else a for a in spec.axes))
        for spec in arch.inputs(config)
    )
    if memory is not None and not any(axis.name == "memory" for s in inputs for axis in s.axes()):
        raise UserError(f"{arch.name} has no memory axis; leave --memory out")
    module, told = seeded(lambda: arch.build(config), seed)
    declaration = Declaration(
        arch=arch.name,
        options=effective(config),
        inputs=inputs,
        outputs=output_specs(module, inputs),
        opset=opset,
        ops=ops,
        seed=seed,
        notes=(*notes, *told),
    )
    return declaration, module, config


def rebuild(declaration: Declaration) -> nn.Module:
    """The module of a registered architecture from the complete options of its declaration.

    Ignored ones are left out of them: earlier versions wrote them, with any value.
    """
    arch = architecture(declaration.arch)
    unused = {field.name for field in dataclasses.fields(arch.config) if is_ignored(field)}
    options = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in declaration.options.items()
        if name not in unused
    }
    try:
        config = arch.config(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"the options of {declaration.arch} do not fit this version: {error}") from error
    return seeded(lambda: arch.build(config), declaration.seed)[0]
