"""torch module -> ONNX graph with `temport` nodes, before any body is attached.

The trace goes through `torch.onnx.export(dynamo=True)`; each torch custom op becomes one node of domain
`temport` by the translation its op folder provides.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from temport.custom_ops.table import OPS
from temport.exporter.declare.declaration import Axis, Declaration
from temport.exporter.declare.observe import drawn
from temport.exporter.declare.slow_path import slow_path
from temport.exporter.errors import UserError, users_code
from temport.exporter.graph import traced_attention
from temport.exporter.quiet import quiet
from temport.exporter.trace.advice import advice
from temport.exporter.trace.batch_first_attention import batch_first_attention
from temport.exporter.trace.close_tanhshrink import close_tanhshrink
from temport.exporter.trace.composite_ops import composite_ops_looked_up_once
from temport.exporter.trace.entered_kernels import kernels_entered_without_annotations
from temport.exporter.trace.no_fourier import refusals
from temport.exporter.trace.open_sizes import numbers_told_once, sizes_computed_once, sizes_read_as_they_are
from temport.exporter.trace.pattern_matching import patterns_tried_at_their_operator
from temport.exporter.trace.promoted_types import types_promoted_without_a_run
from temport.exporter.trace.recurrent import whole_layers
from temport.exporter.trace.small_addends import keep_small_addends
from temport.exporter.trace.torch_translations import domains_told, translations_read_once
from temport.exporter.trace.translate_activations import translate_log_sigmoid, translate_rrelu
from temport.exporter.trace.translate_attention import translate_attention
from temport.exporter.trace.translate_cummax import spell_running_extremes, translate_extreme
from temport.exporter.trace.translate_division import translate_division
from temport.exporter.trace.translate_erfc import translate_erfc
from temport.exporter.trace.translate_index import translate_index
from temport.exporter.trace.translate_recurrent import (
    GRU,
    RNN_RELU,
    RNN_TANH,
    translate_lstm,
    translate_lstm_layers,
    translate_one_state,
)
from temport.exporter.trace.translate_scalar import translate_scalar
from temport.exporter.trace.uncompiled_graphs import graphs_compiled_when_called
from temport.exporter.trace.untold_nodes import nodes_made_without_layouts, nodes_made_without_stacks

OLDEST_OPSET, NEWEST_OPSET = 18, 24
_ALONE = threading.Lock()
"""Held for a trace: torch's exporter and what is replaced for it belong to the process, not to a thread."""


def example_inputs(declaration: Declaration) -> tuple[torch.Tensor, ...]:
    """Tensors to trace with: every symbolic axis at 2 or more, since torch specialises on 0 and 1."""

    def size(axis: Axis) -> int:
        return axis.opt if axis.static else min(max(axis.opt, 2), axis.max)

    sizes = {name: size(axis) for name, axis in declaration.axes.items()}
    return drawn(declaration.inputs, sizes, declaration.seed)


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Torch ops that stay whole in the trace, with the ONNX node that each becomes."""
    return {
        **{op.torch_op: op.translate() for op in OPS.values() if op.torch_op},
        torch.ops.temport.lstm.default: translate_lstm,
        torch.ops.temport.lstm_layers.default: translate_lstm_layers,
        torch.ops.temport.gru_layers.default: translate_one_state(GRU),
        torch.ops.temport.rnn_tanh_layers.default: translate_one_state(RNN_TANH),
        torch.ops.temport.rnn_relu_layers.default: translate_one_state(RNN_RELU),
        torch.ops.aten.erfc.default: translate_erfc,
        **refusals(),
        torch.ops.aten.cummax.default: translate_extreme("Max"),
        torch.ops.aten.cummin.default: translate_extreme("Min"),
        torch.ops.aten.div.Tensor_mode: translate_division,
        torch.ops.aten.index.Tensor: translate_index,
        torch.ops.aten.log_sigmoid.default: translate_log_sigmoid,
        torch.ops.aten.rrelu_with_noise_functional.default: translate_rrelu,
        torch.ops.aten.scalar_tensor.default: translate_scalar,
        torch.ops.aten.scaled_dot_product_attention.default: translate_attention,
    }


def to_onnx(module: nn.Module, declaration: Declaration) -> ir.Model:
    """Trace `module` (eval mode, baked) into an ONNX graph with the declaration's names, opset and axes."""
    if not OLDEST_OPSET <= declaration.opset <= NEWEST_OPSET:
        raise UserError(
            f"--opset {declaration.opset} is outside what can be exported; "
            f"give {OLDEST_OPSET} to {NEWEST_OPSET} (LayerNormalization and Split need {OLDEST_OPSET})"
        )
    dims = {
        name: torch.export.Dim(name, min=axis.min, max=axis.max)
        for name, axis in declaration.axes.items()
        if not axis.static
    }
    dynamic = tuple(
        {i: dims[d.name] for i, d in enumerate(spec.shape) if isinstance(d, Axis) and not d.static}
        for spec in declaration.inputs
    )
    own = (
        contextlib.nullcontext()
        if declaration.module is None
        else users_code(f"{declaration.module} cannot be traced", advice)
    )
    layers = (slow_path(), batch_first_attention(), whole_layers(), close_tanhshrink())
    quicker = (
        translations_read_once(),
        domains_told(),
        composite_ops_looked_up_once(),
        kernels_entered_without_annotations(),
        sizes_read_as_they_are(),
        numbers_told_once(),
        sizes_computed_once(),
        graphs_compiled_when_called(),
        nodes_made_without_stacks(),
        nodes_made_without_layouts(),
        types_promoted_without_a_run(),
        patterns_tried_at_their_operator(),
    )
    with own, _ALONE, quiet(), contextlib.ExitStack() as stack:
        for change in (*layers, *quicker):
            stack.enter_context(change)
        program = torch.onnx.export(
            module,
            example_inputs(declaration),
            dynamo=True,
            opset_version=declaration.opset,
            input_names=[spec.name for spec in declaration.inputs],
            output_names=[spec.name for spec in declaration.outputs],
            dynamic_shapes=_as_called(module, dynamic),
            custom_translation_table=translations(),
            verbose=False,
            optimize=False,
        )
        assert program is not None
        keep_small_addends(program.model)
        program.optimize()
        spell_running_extremes(program.model)
    program.model.opset_imports[traced_attention.DOMAIN] = traced_attention.VERSION
    part_outputs(program.model.graph, declaration)
    _check_symbolic(program.model, declaration)
    return program.model


def _as_called(module: nn.Module, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """One entry per parameter of forward: what goes to a `*args` stands together in one entry."""
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        return shapes
    first = kinds.index(inspect.Parameter.VAR_POSITIONAL)
    return (*shapes[:first], shapes[first:])


def part_outputs(graph: ir.Graph, declaration: Declaration) -> None:
    """An output that is an input, or another output, as a value of its own: one value has one name."""
    taken = {*graph.inputs, *graph.initializers.values()}
    for index, (value, spec) in enumerate(zip(graph.outputs, declaration.outputs, strict=True)):
        if value in taken:
            part = ir.Value(name=spec.name, type=value.type, shape=value.shape)
            graph.append(ir.node("Identity", [value], outputs=[part]))
            graph.outputs[index] = part
        taken.add(value)
    for values, specs in ((graph.inputs, declaration.inputs), (graph.outputs, declaration.outputs)):
        for value, spec in zip(values, specs, strict=True):
            value.name = spec.name


class FrozenAxis(UserError):
    """A module takes one size of an axis alone, whatever was asked for; `told` says which."""

    def __init__(self, axis: str, told: str) -> None:
        super().__init__(
            f"{told}; make it independent of the size (a Python loop over frames is not), or export it with a fixed "
            f"--{axis}"
        )
        self.axis, self.told = axis, told


def _check_symbolic(model: ir.Model, declaration: Declaration) -> None:
    """A dynamic axis that the trace froze to the example's size is an error, not a surprise at run time."""
    for value, spec in zip(model.graph.inputs, declaration.inputs, strict=True):
        if value.shape is None:
            raise UserError(f"input {spec.name} has no shape after tracing; give it one with --shape")
        for dim, wanted in zip(value.shape, spec.onnx_shape(), strict=True):
            if isinstance(wanted, str) and isinstance(dim, int):
                raise FrozenAxis(wanted, f"the module freezes axis {wanted} of {spec.name} to {dim}")
